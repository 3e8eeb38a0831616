package chaos

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

	"github.com/sluicehq/sluice/benchmarks/report"
)

// settle lets all come to rest, and finds out what came into the log. Then the
// nodes are drained, so that an event that comes twice at the very end counts.
func (s *storm) settle(progress report.Progress) (a *audit, err error) {
	s.tell("enough is written")
	close(s.enough)
	close(s.hurry)
	s.writing.Wait()
	if err := s.direct(s.emptied); err != nil {
		return nil, err
	}
	if err := s.direct(func(conn *pgx.Conn) error {
		a, err = readAudit(s.ctx, conn)
		return err
	}); err != nil {
		return nil, err
	}
	for _, w := range s.writers {
		w.resolve(a)
	}
	s.tell("all is in the log")
	if err := s.deliver(a, progress); err != nil {
		return nil, err
	}
	s.tell("all has arrived, or nothing more does")
	close(s.over)
	for _, node := range s.nodes {
		node.Measure()
		if err := node.Ready(s.ctx); err != nil { // it may be starting anew, in an epoch that a fail-over began
			return nil, err
		}
		s.tally(node)
		if err := node.Stop(); err != nil && !node.hasty {
			s.broken = append(s.broken, err.Error())
		}
	}
	for _, c := range s.clients {
		c.cut() // the nodes have closed them; whoever is between two, not
	}
	s.reading.Wait()
	s.tell("all have ended")
	return a, nil
}

// tally adds what a node has counted since it was started last.
func (s *storm) tally(node *node) {
	text, err := node.Get(s.ctx, "/metrics")
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

// calm is how long nothing may arrive before all is taken to have.
const calm = 2 * time.Second

// deliver waits until each client has come to the last event of each of its
// topics, or nothing arrives any more.
func (s *storm) deliver(a *audit, progress report.Progress) error {
	var all int64
	for _, c := range s.clients {
		all += int64(len(c.seats))
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		var arrived, come int64
		for _, c := range s.clients {
			arrived += c.arrived.Load()
			for topic, seat := range c.seats {
				entries := a.byTopic[topic]
				if len(entries) == 0 || seat.reached.Load() >= entries[len(entries)-1].offset {
					come++
				}
			}
		}
		progress.Tell("places that have come to their end", come, all)
		if arrived > seen {
			seen, moved = arrived, time.Now()
		}
		if since := time.Since(moved); come == all && since > calm || since > chaosPatience {
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
func (s *storm) report(a *audit) report.Result {
	r := report.Result{Scenario: s.Name(), Params: s.params(), Events: s.committed.Load(), Seconds: time.Since(s.began).Seconds()}
	var sessions, refused, strange, struck, told, excused, causeless, foreign int64
	ended, kinds := map[string]int64{}, map[temper]int64{}
	for _, c := range s.clients {
		kinds[c.temper]++
		for topic, seat := range c.seats {
			check, missed, unknown := seat.against(topic, a)
			if !check.Sound() || !seat.started {
				s.tell("a %s client of %s: %+v; its last offset is %d, its place %d, joined %v by %s in %d connections, told %d times",
					c.temper, topic, check, seat.last, *cmp.Or(seat.after, new(int64)), seat.joined, seat.join, c.sessions, len(seat.receipts.told))
				if e, ok := seat.firstLost(topic, a); ok {
					s.tell("the first that it lost: %+v, %.3fs into the run (%s); it was told %+v", e, e.at.Sub(s.began).Seconds(), e.at.Format(time.TimeOnly), seat.receipts.told)
				}
				for _, odd := range seat.odd {
					s.tell("%s", odd)
				}
				s.tell("its last steps: %s", strings.Join(seat.course, ", "))
			}
			if !seat.started {
				s.broken = append(s.broken, fmt.Sprintf("a %s client has never joined %s", c.temper, topic))
			}
			r.Check = r.Plus(check)
			strange += unknown
			excused += missed
			told += int64(len(seat.receipts.told))
			if c.temper != lateTemper {
				causeless += seat.causeless(a, chaosRetention, s.removed)
			}
		}
		for reason, n := range c.ended {
			ended[reason] += n
		}
		r.Deliveries += c.arrived.Load()
		sessions += c.sessions
		refused += c.refused
		foreign += c.foreign
		s.broken = append(s.broken, c.broken...)
	}
	r.EventsPerSecond, r.DeliveriesPerSecond = float64(r.Events)/r.Seconds, float64(r.Deliveries)/r.Seconds
	for _, kind := range slices.Sorted(maps.Keys(s.struck)) {
		r.Add(string(kind), s.struck[kind])
		struck += s.struck[kind]
	}
	r.Add("faults", struck)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		r.Add(string(kind)+" clients", kinds[kind])
	}
	r.Add("told that they cannot resume", told)
	r.Add("events missed that were told of", excused)
	for _, reason := range slices.Sorted(maps.Keys(ended)) {
		r.Add(reason, ended[reason])
	}
	r.Add("catch-ups since the nodes' last starts", s.counted["sluice_catchups_total"])
	r.Add("messages replayed in them", s.counted["sluice_messages_replayed_total"])
	r.Add("connections", sessions)
	r.Add("joins refused", refused)
	r.Add("messages of other clients", foreign)
	r.Add("times that a node had to be not ready", s.unready)
	r.Add("delivered without having been in the log", strange)
	if strange > 0 {
		s.broken = append(s.broken, fmt.Sprintf("%d events were delivered that were never in the log", strange))
	}
	if causeless > 0 {
		s.broken = append(s.broken, fmt.Sprintf("%d times a client was told that it cannot resume, after what was kept", causeless))
	}
	s.audit(a, &r)
	for _, h := range s.hostiles {
		r.Add("hostile: "+h.kind, h.done.Load())
	}
	s.weigh(&r)
	for _, node := range s.nodes {
		s.broken = append(s.broken, node.Alarms()...)
	}
	r.Broken = briefly(s.broken)
	return r
}

// audit compares what was committed with what came into the log.
func (s *storm) audit(a *audit, r *report.Result) {
	var missing, invented, rolledBack, lostSight int64
	doubtful := map[string][]numbers{}
	for i, topic := range s.topics {
		logged := a.logged(topic, len(s.writers))
		for _, w := range s.writers {
			missing += w.known[i].without(logged[w.id])
			invented += logged[w.id].without(w.known[i])
			doubtful[topic] = append(doubtful[topic], w.unknown[i])
		}
	}
	for _, w := range s.writers {
		rolledBack += w.rolledBack
		lostSight += w.lostSight
	}
	disordered := a.disordered(func(topic string, writer, number int64) bool {
		return writer < int64(len(s.writers)) && doubtful[topic][writer].has(number)
	})
	r.Add("transactions rolled back", rolledBack)
	r.Add("commits without an answer", lostSight)
	r.Add("committed and not in the log", missing)
	r.Add("in the log and not committed", invented)
	r.Add("in the log behind a later one of its writer", disordered)
	for _, wrong := range []struct {
		n    int64
		what string
	}{
		{missing, "were committed and never came into the log"},
		{invented, "came into the log that nobody committed"},
		{disordered, "came into the log behind a later one of their topic and writer"},
	} {
		if wrong.n > 0 {
			s.broken = append(s.broken, fmt.Sprintf("%d events %s", wrong.n, wrong.what))
		}
	}
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
func (s *storm) weigh(r *report.Result) {
	if !memoryTold {
		r.Add("peak memory", "not told by this system")
		return
	}
	var peak int64
	for _, node := range s.nodes {
		peak = max(peak, node.Peak())
	}
	bound := s.bound()
	r.Add("peak memory of a node", mebibytes(peak))
	r.Add("its bound", mebibytes(bound))
	if peak == 0 || peak > bound {
		s.broken = append(s.broken, fmt.Sprintf("a node needed %s of memory: the bound is %s", mebibytes(peak), mebibytes(bound)))
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
