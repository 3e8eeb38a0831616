package benchmarks

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// settle lets all come to rest, and finds out what was committed. Then the
// nodes are drained, so that an event that comes twice at the very end counts.
func (s *storm) settle(progress Progress) (truth, error) {
	s.tell("enough is written")
	close(s.enough)
	close(s.hurry)
	s.writing.Wait()
	if err := s.direct(s.emptied); err != nil {
		return nil, err
	}
	committed := make(truth, s.Topics)
	for _, w := range s.writers {
		if err := s.direct(func(conn *pgx.Conn) error { return w.resolve(s.ctx, conn) }); err != nil {
			return nil, err
		}
		for topic := range committed {
			committed[topic] = append(committed[topic], w.known[topic])
		}
	}
	s.tell("all is in the log")
	if err := s.deliver(committed, progress); err != nil {
		return nil, err
	}
	s.tell("all has arrived, or nothing more does")
	close(s.over)
	for _, node := range s.nodes {
		node.measure()
		if err := node.ready(s.ctx); err != nil { // it may be starting anew, in an epoch that a fail-over began
			return nil, err
		}
		s.tally(node)
		if err := node.stop(); err != nil {
			s.broken = append(s.broken, err.Error())
		}
	}
	for _, c := range s.clients {
		c.cut() // the nodes have closed them; whoever is between two, not
	}
	s.reading.Wait()
	s.tell("all have ended")
	return committed, nil
}

// tally adds what a node has counted since it was started last.
func (s *storm) tally(node *process) {
	text, err := node.get(s.ctx, "/metrics")
	if err != nil {
		s.broken = append(s.broken, err.Error())
		return
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			s.counted[name] += int64(n)
		}
	}
}

// emptied waits until no writer is connected and the outbox is empty: then
// what is not in the log was not committed.
func (s *storm) emptied(conn *pgx.Conn) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	late := time.NewTimer(standstill)
	defer late.Stop()
	for {
		var left int64
		if err := conn.QueryRow(s.ctx, `SELECT (SELECT count(*) FROM sluice_outbox) +
			(SELECT count(*) FROM pg_stat_activity WHERE application_name = $1)`, writersName).Scan(&left); err != nil {
			return fmt.Errorf("look whether the outbox is empty: %w", err)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-late.C:
			return fmt.Errorf("benchmarks: after %v the outbox is not empty: %d left", standstill, left)
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// deliver waits until each client has all, or nothing arrives any more.
func (s *storm) deliver(committed truth, progress Progress) error {
	due := make([]int64, len(s.clients))
	var all int64
	for i, c := range s.clients {
		for _, seat := range c.seats {
			for _, numbers := range committed[seat.topic] {
				due[i] += numbers.without(nil)
			}
		}
		all += due[i]
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		var arrived int64
		waiting := false
		for i, c := range s.clients {
			has := c.arrived.Load()
			arrived += min(has, due[i])
			waiting = waiting || has < due[i]
		}
		progress.tell("deliveries", arrived, all)
		if arrived > seen {
			seen, moved = arrived, time.Now()
		}
		if !waiting || time.Since(moved) > chaosPatience {
			return nil
		}
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// report sums up. Everybody must have ended.
func (s *storm) report(committed truth) Result {
	r := Result{Scenario: s.Name(), Params: s.params(), Events: s.committed.Load(), Seconds: time.Since(s.began).Seconds()}
	var sessions, refused, strange, rolledBack, lostSight, struck int64
	for _, c := range s.clients {
		for topic, seat := range c.seats {
			check, unknown := seat.against(committed[seat.topic])
			if !check.Sound() {
				s.tell("a %s client of %s: %+v; its last offset is %d, its place %d, joined %v by %s in %d connections",
					c.temper, topic, check, seat.last, *cmp.Or(seat.after, new(int64)), seat.joined, seat.join, c.sessions)
			}
			r.Check = r.Plus(check)
			strange += unknown
		}
		r.Deliveries += c.arrived.Load()
		sessions += c.sessions
		refused += c.refused
		s.broken = append(s.broken, c.broken...)
	}
	for _, w := range s.writers {
		rolledBack += w.rolledBack
		lostSight += w.lostSight
	}
	r.EventsPerSecond, r.DeliveriesPerSecond = float64(r.Events)/r.Seconds, float64(r.Deliveries)/r.Seconds
	for _, kind := range slices.Sorted(maps.Keys(s.struck)) {
		r.Figures = append(r.Figures, Param{string(kind), s.struck[kind]})
		struck += s.struck[kind]
	}
	r.Figures = append(r.Figures,
		Param{"faults", struck},
		Param{"catch-ups since the nodes' last starts", s.counted["sluice_catchups_total"]},
		Param{"messages replayed in them", s.counted["sluice_messages_replayed_total"]},
		Param{"connections", sessions}, Param{"joins refused", refused},
		Param{"transactions rolled back", rolledBack}, Param{"commits without an answer", lostSight},
		Param{"delivered without a commit", strange})
	if strange > 0 {
		s.broken = append(s.broken, fmt.Sprintf("%d events were delivered that nobody committed", strange))
	}
	s.weigh(&r)
	for _, node := range s.nodes {
		s.broken = append(s.broken, node.log.alarm()...)
	}
	r.Broken = briefly(s.broken)
	return r
}

// fewBroken are enough to begin looking: what breaks often breaks the same way.
const fewBroken = 5

// briefly is the first of many words, and how many more there are.
func briefly(words []string) string {
	if more := len(words) - fewBroken; more > 0 {
		words = append(words[:fewBroken:fewBroken], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, "; ")
}

// weigh compares the nodes' memory with their budget.
func (s *storm) weigh(r *Result) {
	if !memoryTold {
		r.Figures = append(r.Figures, Param{"peak memory", "not told by this system"})
		return
	}
	var peak int64
	for _, node := range s.nodes {
		peak = max(peak, node.peak())
	}
	bound := s.bound()
	r.Figures = append(r.Figures, Param{"peak memory of a node", mebibytes(peak)}, Param{"its bound", mebibytes(bound)})
	if peak == 0 || peak > bound {
		s.broken = append(s.broken, fmt.Sprintf("a node needed %s of memory: the bound is %s", mebibytes(peak), mebibytes(bound)))
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
