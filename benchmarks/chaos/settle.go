package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// settled is what came of a cluster once nothing struck it any more.
type settled struct {
	met    time.Duration // until all nodes were ready and knew each other, and all watchers had joined
	whole  time.Duration // from then, until all lists were the sessions that there are
	told   time.Duration // from then, until a broadcast of each node had reached all watchers
	ghosts int64         // who is listed, and on no node, on the list with most of them
	absent int64         // who is on a node, and not listed, likewise
}

// settling is how long any of it may take before the run takes it that it never comes:
// no speed that anybody promises.
const settling = 5 * time.Minute

// lookAtListsEvery is how often all the lists are compared.
const lookAtListsEvery = 100 * time.Millisecond

// tellMissingEvery is how often the log is told what is still waited for.
const tellMissingEvery = 2 * time.Second

// settle waits until the nodes of a cluster know each other again, and sees whether they
// agree on who is there. The last fault is over, and the watchers come and go no more. What
// has to be whole soon is timed from when all nodes are ready, see exactly each other and
// have their clients back: before that it takes as long as the machine takes to start them.
func (r *run) settle() error {
	if !r.clustered() {
		return nil
	}
	began := time.Now()
	if err := r.until(settling, r.strangers); err != nil {
		return err
	}
	r.settled.met = time.Since(began)
	r.tell("all nodes know each other, and all watchers are there")
	began = time.Now()
	if err := r.until(settling, r.disagree); err != nil {
		r.broken = append(r.broken, err.Error())
		return context.Cause(r.ctx)
	}
	r.settled.whole = time.Since(began)
	if within := r.PresenceWithin; within > 0 && r.settled.whole > within {
		r.broken = append(r.broken, fmt.Sprintf("who is there was known %v after the nodes knew each other again, not within %v", r.settled.whole, within))
	}
	r.tell("all lists are the sessions that there are")
	began = time.Now()
	if err := r.until(settling, r.unheard(r.reaches())); err != nil {
		r.broken = append(r.broken, err.Error())
		return context.Cause(r.ctx)
	}
	r.settled.told = time.Since(began)
	r.tell("each node's broadcasts reach all watchers")
	return nil
}

// until asks again and again until nothing is missing any more: an error says what is,
// if it takes too long.
func (r *run) until(most time.Duration, missing func() (string, error)) error {
	look := time.NewTicker(lookAtListsEvery)
	defer look.Stop()
	told := time.Now()
	for late := told.Add(most); ; {
		what, err := missing()
		if what != "" && time.Since(told) > tellMissingEvery {
			told = time.Now()
			r.tell("still waiting: %s", what)
		}
		if what == "" && err == nil {
			return nil
		}
		if time.Now().After(late) {
			return errors.Join(fmt.Errorf("benchmarks: after %v, %s", most, what), err)
		}
		select {
		case <-look.C:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// ask asks a node's admin listener for JSON.
func (r *run) ask(node *node, path string, into any) error {
	text, err := node.Get(r.ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// strangers says which node is not ready or knows others than there are, or which watcher
// is not there; empty: all is well.
func (r *run) strangers() (string, error) {
	var first []string
	for i, node := range r.nodes {
		if _, err := node.Get(r.ctx, "/readyz"); err != nil {
			return "node " + node.Name() + " is not ready", err
		}
		var known struct {
			Connected bool
			Nodes     []struct{ ID string }
		}
		if err := r.ask(node, "/api/nodes", &known); err != nil {
			return "node " + node.Name() + " does not say whom it knows", err
		}
		var ids []string
		for _, each := range known.Nodes {
			ids = append(ids, each.ID)
		}
		slices.Sort(ids)
		if i == 0 {
			first = ids
		}
		if !known.Connected || len(ids) != len(r.nodes) || !slices.Equal(ids, first) {
			return fmt.Sprintf("node %s knows %v, %s %v", node.Name(), ids, r.nodes[0].Name(), first), nil
		}
	}
	return r.absent(), nil
}

// disagree compares who is on the watchers' topics: the channels that nodes have there,
// each node's list, and what each watcher was told. It says where two of them differ.
func (r *run) disagree() (string, error) {
	r.settled.ghosts, r.settled.absent = 0, 0
	var differ []string
	for _, topic := range r.hereTopics() {
		held, err := r.held(topic)
		if err != nil {
			return "the sessions of " + topic + " are not known", err
		}
		var first map[string]string
		compare := func(of string, list map[string]string) {
			r.settled.ghosts = max(r.settled.ghosts, int64(len(list)-held))
			r.settled.absent = max(r.settled.absent, int64(held-len(list)))
			if first == nil {
				first = list
				differ = append(differ, r.unlisted(topic, list)...)
			}
			if len(list) != held || !maps.Equal(list, first) {
				differ = append(differ, fmt.Sprintf("%s lists %d on %s, where nodes have %d, and node %s lists %d", of, len(list), topic, held, r.nodes[0].Name(), len(first)))
			}
		}
		for _, node := range r.nodes {
			var answer struct{ Members json.RawMessage }
			err := r.ask(node, "/api/presence/"+url.PathEscape(topic), &answer)
			var list map[string]string
			if err == nil {
				list, err = swarm.ParseRoster(answer.Members)
			}
			if err != nil {
				return "the list of " + node.Name() + " cannot be had", err
			}
			compare("node "+node.Name(), list)
		}
		for _, w := range r.watchers {
			list, known := w.list(topic)
			if !known {
				differ = append(differ, fmt.Sprintf("watcher %d was not told who is on %s", w.index, topic))
				continue
			}
			compare(fmt.Sprintf("watcher %d", w.index), list)
		}
	}
	return strings.Join(differ[:min(len(differ), fewBroken)], "; "), nil
}

// held is how many channels the nodes have on a topic: each is somebody who is there.
func (r *run) held(topic string) (n int, err error) {
	for _, node := range r.nodes {
		var list struct {
			Topics []struct {
				Topic    string
				Channels int
			}
		}
		if err := r.ask(node, "/api/topics?limit=10000", &list); err != nil {
			return 0, err
		}
		for _, each := range list.Topics {
			if each.Topic == topic {
				n += each.Channels
			}
		}
	}
	return n, nil
}

// unlisted says which watchers are there and not on a list.
func (r *run) unlisted(topic string, list map[string]string) (missing []string) {
	listed := map[string]int{}
	for _, key := range list {
		listed[key]++
	}
	for _, w := range r.watchers {
		if listed[w.key]--; listed[w.key] < 0 {
			missing = append(missing, fmt.Sprintf("%q is too rarely on the list of %s", w.key, topic))
		}
	}
	return missing
}

// list is who a watcher was told is on a topic.
func (w *watcher) list(topic string) (metas map[string]string, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.places[topic]
	if p == nil || !p.joined {
		return nil, false
	}
	return p.roster.Now()
}

// reach is how far a node's broadcaster has come on a topic.
type reach struct {
	node   int
	topic  string
	life   int
	number int64
}

// reaches are how far all have come.
func (r *run) reaches() (all []reach) {
	for i, b := range r.broadcasters {
		for _, topic := range b.topics {
			life, next := b.reached(topic)
			all = append(all, reach{i, topic, life, next})
		}
	}
	return all
}

// unheard says which watcher has not heard what was broadcast since; those who broadcast
// go on, so that something comes if anything can.
func (r *run) unheard(since []reach) func() (string, error) {
	return func() (string, error) {
		for _, w := range r.watchers {
			for _, from := range since {
				if !w.heard(from) {
					return fmt.Sprintf("watcher %d has heard no broadcast of node %s on %s", w.index, r.nodes[from.node].Name(), from.topic), nil
				}
			}
		}
		return "", nil
	}
}

// heard tells whether a broadcast has come that is as late, or later.
func (w *watcher) heard(from reach) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.places[from.topic]
	if p == nil {
		return false
	}
	c, any := p.heard[from.node]
	if !any {
		return false
	}
	return c.Life > from.life || c.Life == from.life && c.Number >= from.number
}

// reportCluster tells what was heard between nodes. Everybody has ended.
func (r *run) reportCluster(result *report.Result) {
	if !r.clustered() {
		return
	}
	var sent, unreached, away, unheard, sessions int64
	for _, b := range r.broadcasters {
		sent, unreached = sent+b.sent.Load(), unreached+b.unreached.Load()
		away, unheard = away+b.away.Load(), unheard+b.unheard.Load()
	}
	var all castTally
	for _, w := range r.watchers {
		sessions += w.sessions
		all = all.plus(w.tally)
		r.broken = append(r.broken, w.broken...)
	}
	result.Add("watchers", len(r.watchers))
	result.Add("connections of watchers", sessions)
	result.Add("broadcasts", sent)
	result.Add("broadcasts that did not go to all nodes, and said so", unreached)
	result.Add("broadcasts refused for want of a bus", away)
	result.Add("broadcasts that nobody told the end of", unheard)
	result.Add("broadcasts delivered", all.arrived)
	result.Add("broadcasts passed over on a connection", all.missed)
	result.Add("broadcasts delivered twice", all.twice)
	result.Add("broadcasts out of order", all.disordered)
	if all.twice+all.disordered > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%d broadcasts came twice to a connection, and %d out of their sender's order", all.twice, all.disordered))
	}
	result.Add("requests of polls handed to other nodes, since the nodes' last starts", r.counted["sluice_longpoll_handed_total"])
	result.Add("pages of the log from other nodes, likewise", r.counted["sluice_relay_pages_total"])
	result.Add("nodes knew each other again after", r.settled.met.Round(time.Millisecond).String())
	result.Add("all lists of who is there were whole after", r.settled.whole.Round(time.Millisecond).String())
	result.Add("ghosts", r.settled.ghosts)
	result.Add("there and not listed", r.settled.absent)
}
