package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// castEvent is the event of what the run broadcasts.
const castEvent = "cast"

// castPause is how long a broadcaster rests, at most.
const castPause = 60 * time.Millisecond

// broadcaster broadcasts by one node: one message after the other, with numbers that rise
// on each topic. When it does not hear how one ended, that may be done later than those
// that follow: so it goes on under another name, as another sender.
type broadcaster struct {
	// Immutable.
	node   *node
	index  int
	topics []string
	random *rand.Rand

	sent      atomic.Int64 // broadcasts that were answered 202
	unreached atomic.Int64 // of these, that did not go to all nodes, as the answer says
	away      atomic.Int64 // broadcasts that were answered 503
	unheard   atomic.Int64 // whose answer did not come

	mu sync.Mutex
	// Guarded by mu.
	lives int
	next  map[string]int64 // by topic
}

// cast is what is broadcast.
type cast struct {
	Node   int   `json:"node"`
	Life   int   `json:"life"` // of its broadcaster: another sender each
	Number int64 `json:"n"`
}

// parseCast reads what was broadcast. Who has joined with after is given it beside an
// offset, which it has none of.
func parseCast(payload []byte) (cast, error) {
	var with struct {
		cast
		Offset *int64
		Data   *cast
	}
	err := json.Unmarshal(payload, &with)
	if with.Data != nil {
		with.cast = *with.Data
	}
	if err == nil && with.Offset != nil {
		err = errors.New("it has an offset, as an event of the log")
	}
	if err != nil {
		return cast{}, fmt.Errorf("a broadcast that is none: %.200s: %w", payload, err)
	}
	return with.cast, nil
}

// startBroadcasters has each node of a cluster broadcast until all is over.
func (r *run) startBroadcasters() {
	if !r.clustered() {
		return
	}
	for i, node := range r.nodes {
		b := &broadcaster{node: node, index: i, topics: r.hereTopics(), random: rand.New(rand.NewPCG(r.Seed, 5000+uint64(i))), next: map[string]int64{}}
		r.broadcasters = append(r.broadcasters, b)
		r.telling.Go(func() {
			for !over(r.ctx, r.quiet) {
				b.broadcast(r.ctx)
				pause(r.ctx, r.quiet, time.Duration(b.random.Int64N(int64(castPause))))
			}
		})
	}
}

// casting keeps no connection, so that none outlives its node.
var casting = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// broadcast broadcasts once, to one of the topics.
func (b *broadcaster) broadcast(ctx context.Context) {
	topic := b.topics[b.random.IntN(len(b.topics))]
	b.mu.Lock()
	c := cast{b.index, b.lives, b.next[topic]}
	b.next[topic]++
	b.mu.Unlock()
	unreached, status, err := b.post(ctx, topic, c)
	switch {
	case err != nil || status != http.StatusAccepted && status != http.StatusServiceUnavailable:
		b.unheard.Add(1)
		b.mu.Lock()
		b.lives++
		b.mu.Unlock()
	case status == http.StatusServiceUnavailable:
		b.away.Add(1)
	default:
		b.sent.Add(1)
		if unreached {
			b.unreached.Add(1)
		}
	}
}

func (b *broadcaster) post(ctx context.Context, topic string, c cast) (unreached bool, status int, err error) {
	body, err := json.Marshal(map[string]any{"topic": topic, "event": castEvent, "payload": c})
	if err != nil {
		return false, 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.node.Admin+"/api/broadcast", bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := casting.Do(request)
	if err != nil {
		return false, 0, err
	}
	var answer struct{ Unreached []string }
	text, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && response.StatusCode == http.StatusAccepted {
		err = json.Unmarshal(text, &answer)
	}
	return len(answer.Unreached) > 0, response.StatusCode, err
}

// reached is how far it has come on a topic: the sender, and its next number.
func (b *broadcaster) reached(topic string) (life int, next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lives, b.next[topic]
}

// casts are the broadcasts that one connection has brought, of one sender on one topic.
type casts struct {
	last int64 // the highest number, once any has come
	any  bool
	seen numbers
}

// castTally is what was wrong with broadcasts, or is to be told of them.
type castTally struct {
	arrived, twice, disordered int64
	missed                     int64 // numbers of a sender that a connection has passed over
}

func (t castTally) plus(o castTally) castTally {
	return castTally{t.arrived + o.arrived, t.twice + o.twice, t.disordered + o.disordered, t.missed + o.missed}
}

// take enters an arrival.
func (c *casts) take(number int64, tally *castTally) {
	if number < 0 || number > maxNumber {
		tally.disordered++
		return
	}
	switch fresh := c.seen.add(number); {
	case !fresh:
		tally.twice++
		return
	case c.any && number < c.last:
		tally.disordered++
	case c.any:
		tally.missed += number - c.last - 1
	}
	tally.arrived++
	c.last, c.any = max(c.last, number), true
}
