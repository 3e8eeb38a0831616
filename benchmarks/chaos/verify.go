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

// verify lets all come to rest, and finds out what came into the log. Then the
// nodes are drained, so that an event that comes twice at the very end counts.
func (r *run) verify(progress report.Progress) (a *audit, err error) {
	r.tell("enough is written")
	close(r.enough)
	close(r.hurry)
	if err := r.settle(); err != nil {
		return nil, err
	}
	close(r.quiet)
	r.telling.Wait()
	r.writing.Wait()
	if a, err = r.logged(); err != nil {
		return nil, err
	}
	for _, w := range r.writers {
		w.resolve(a)
	}
	r.tell("all is in the log")
	if err := r.deliver(a, progress); err != nil {
		return nil, err
	}
	r.tell("all has arrived, or nothing more does")
	close(r.over)
	for _, node := range r.nodes {
		node.Measure()
		if err := node.Ready(r.ctx); err != nil { // it may be starting anew, in an epoch that a fail-over began
			return nil, err
		}
		r.tally(node)
		if err := node.Stop(); err != nil && !node.hasty {
			r.broken = append(r.broken, err.Error())
		}
	}
	for _, c := range r.clients {
		c.cut() // the nodes have closed them; whoever is between two, not
	}
	for _, w := range r.watchers {
		w.cut()
	}
	r.reading.Wait()
	r.tell("all have ended")
	return a, nil
}

// tally adds what a node has counted since it was started last.
func (r *run) tally(node *node) {
	text, err := node.Get(r.ctx, "/metrics")
	if err != nil {
		r.broken = append(r.broken, err.Error())
		return
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			r.counted[name] += int64(n)
		}
	}
}

// logged waits until the outbox is empty, and tells what came into the log.
func (r *run) logged() (a *audit, err error) {
	if r.Embedded {
		if err := r.emptied(r.waiting); err != nil {
			return nil, err
		}
		return r.readEmbeddedAudit()
	}
	err = r.direct(func(conn *pgx.Conn) error {
		if err := r.emptied(func() (left int64, err error) {
			err = conn.QueryRow(r.ctx, `SELECT (SELECT count(*) FROM sluice_outbox) +
			(SELECT count(*) FROM pg_stat_activity WHERE application_name = $1)`, writersName).Scan(&left)
			return left, err
		}); err != nil {
			return err
		}
		a, err = readAudit(r.ctx, conn)
		return err
	})
	return a, err
}

// emptied waits until no writer is connected and the outbox is empty: then
// what is not in the log was not committed. left counts both.
func (r *run) emptied(left func() (int64, error)) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	late := time.NewTimer(standstill)
	defer late.Stop()
	for {
		n, err := left()
		if err != nil {
			return fmt.Errorf("look whether the outbox is empty: %w", err)
		}
		if n == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-late.C:
			return fmt.Errorf("benchmarks: after %v the outbox is not empty: %d left", standstill, n)
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// calm is how long nothing may arrive before all is taken to have.
const calm = 2 * time.Second

// deliver waits until each client has come to the last event of each of its
// topics, or nothing arrives any more.
func (r *run) deliver(a *audit, progress report.Progress) error {
	var all int64
	for _, c := range r.clients {
		all += int64(len(c.subscriptions))
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		var arrived, come int64
		for _, c := range r.clients {
			arrived += c.arrived.Load()
			for topic, sub := range c.subscriptions {
				entries := a.byTopic[topic]
				if len(entries) == 0 || sub.reached.Load() >= entries[len(entries)-1].offset {
					come++
				}
			}
		}
		progress.Tell("places that have come to their end", come, all)
		if arrived > seen {
			seen, moved = arrived, time.Now()
		}
		if since := time.Since(moved); come == all && since > calm || since > standstill/2 {
			r.tellWhoLags(a)
			return nil
		}
		select {
		case <-look.C:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// tellWhoLags has the run fail, and notes in the log who has not come to the end of a topic:
// those events have not been delivered, whoever wrote them.
func (r *run) tellWhoLags(a *audit) {
	for _, c := range r.clients {
		for topic, sub := range c.subscriptions {
			if entries := a.byTopic[topic]; len(entries) > 0 && sub.reached.Load() < entries[len(entries)-1].offset {
				lags := fmt.Sprintf("a %s client of %s has come to %d, and its last event is %+v", c.profile, topic, sub.reached.Load(), entries[len(entries)-1].position)
				r.tell("%s", lags)
				r.broken = append(r.broken, lags)
			}
		}
	}
}

// report sums up. Everybody must have ended.
func (r *run) report(a *audit) report.Result {
	result := report.Result{Scenario: r.Name(), Params: r.params(), Events: r.committed.Load(), Seconds: time.Since(r.began).Seconds()}
	var sessions, refused, strange, applied, told, excused, erased, causeless, foreign int64
	ended, kinds := map[string]int64{}, map[profile]int64{}
	for _, c := range r.clients {
		kinds[c.profile]++
		for topic, sub := range c.subscriptions {
			check, missed, unknown := sub.against(topic, a)
			if !check.Sound() || !sub.started {
				r.tell("a %s client of %s: %+v; its last offset is %d, its place %d, joined %v by %s in %d connections, told %d times",
					c.profile, topic, check, sub.last, *cmp.Or(sub.after, new(int64)), sub.joined, sub.join, c.sessions, len(sub.receipts.told))
				if e, ok := sub.firstLost(topic, a); ok {
					r.tell("the first that it lost: %+v, %.3fs into the run (%s); it was told %+v", e, e.at.Sub(r.began).Seconds(), e.at.Format(time.TimeOnly), sub.receipts.told)
				}
				for _, odd := range sub.odd {
					r.tell("%s", odd)
				}
				r.tell("its last steps: %s", strings.Join(sub.course, ", "))
			}
			if !sub.started {
				r.broken = append(r.broken, fmt.Sprintf("a %s client has never joined %s", c.profile, topic))
			}
			result.Check = result.Plus(check)
			strange += unknown
			excused += missed
			told += int64(len(sub.receipts.told))
			erased += int64(len(sub.erased))
			if len(sub.erased) > 0 && !r.erased[topic] {
				r.broken = append(r.broken, fmt.Sprintf("a %s client received %d events without their payload of %s, which was not erased", c.profile, len(sub.erased), topic))
			}
			if c.profile != lateProfile {
				causeless += sub.causeless(a, retention, r.removed)
			}
		}
		for reason, n := range c.ended {
			ended[reason] += n
		}
		result.Deliveries += c.arrived.Load()
		sessions += c.sessions
		refused += c.refused
		foreign += c.foreign
		r.broken = append(r.broken, c.broken...)
	}
	result.EventsPerSecond, result.DeliveriesPerSecond = float64(result.Events)/result.Seconds, float64(result.Deliveries)/result.Seconds
	for _, kind := range slices.Sorted(maps.Keys(r.applied)) {
		result.Add(string(kind), r.applied[kind])
		applied += r.applied[kind]
	}
	result.Add("faults", applied)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		result.Add(string(kind)+" clients", kinds[kind])
	}
	result.Add("told that they cannot resume", told)
	result.Add("events missed that were told of", excused)
	if r.Embedded {
		result.Add("events received that had been erased", erased)
	}
	for _, reason := range slices.Sorted(maps.Keys(ended)) {
		result.Add(reason, ended[reason])
	}
	result.Add("catch-ups since the nodes' last starts", r.counted["sluice_catchups_total"])
	result.Add("messages replayed in them", r.counted["sluice_messages_replayed_total"])
	result.Add("connections", sessions)
	result.Add("joins refused", refused)
	result.Add("messages of other clients", foreign)
	result.Add("times that a node had to be not ready", r.unready)
	result.Add("delivered without having been in the log", strange)
	if strange > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%d events were delivered that were never in the log", strange))
	}
	if causeless > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%d times a client was told that it cannot resume, after what was kept", causeless))
	}
	r.audit(a, &result)
	for _, h := range r.hostiles {
		result.Add("hostile: "+h.kind, h.done.Load())
	}
	r.reportCluster(&result)
	r.weigh(&result)
	for _, node := range r.nodes {
		r.broken = append(r.broken, node.Alarms()...)
	}
	result.Broken = briefly(r.broken)
	return result
}

// audit compares what was committed with what came into the log.
func (r *run) audit(a *audit, result *report.Result) {
	var missing, invented, rolledBack, lostSight int64
	doubtful := map[string][]numbers{}
	for i, topic := range r.topics {
		logged := a.logged(topic, len(r.writers))
		for _, w := range r.writers {
			missing += w.known[i].without(logged[w.id])
			invented += logged[w.id].without(w.known[i])
			doubtful[topic] = append(doubtful[topic], w.unknown[i])
		}
	}
	for _, w := range r.writers {
		rolledBack += w.rolledBack
		lostSight += w.lostSight
	}
	disordered := a.disordered(func(topic string, writer, number int64) bool {
		return writer < int64(len(r.writers)) && doubtful[topic][writer].has(number)
	})
	result.Add("transactions rolled back", rolledBack)
	result.Add("commits without an answer", lostSight)
	result.Add("committed and not in the log", missing)
	result.Add("in the log and not committed", invented)
	result.Add("in the log behind a later one of its writer", disordered)
	for _, wrong := range []struct {
		n    int64
		what string
	}{
		{missing, "were committed and never came into the log"},
		{invented, "came into the log that nobody committed"},
		{disordered, "came into the log behind a later one of their topic and writer"},
	} {
		if wrong.n > 0 {
			r.broken = append(r.broken, fmt.Sprintf("%d events %s", wrong.n, wrong.what))
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
func (r *run) weigh(result *report.Result) {
	if !memoryTold {
		result.Add("peak memory", "not told by this system")
		return
	}
	var peak int64
	for _, node := range r.nodes {
		peak = max(peak, node.Peak())
		if r.clustered() {
			result.Add("peak memory of "+node.Name(), mebibytes(node.Peak()))
		}
	}
	bound := r.bound()
	result.Add("peak memory of a node", mebibytes(peak))
	result.Add("its bound", mebibytes(bound))
	if peak == 0 || peak > bound {
		r.broken = append(r.broken, fmt.Sprintf("a node needed %s of memory: the bound is %s", mebibytes(peak), mebibytes(bound)))
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
