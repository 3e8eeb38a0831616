package socket

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/httpservertest"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// wildPoller is a client that lives on whatever its requests do: it drops polls
// and begins others, has several at a time, reads slowly, and posts meanwhile.
type wildPoller struct {
	t        *testing.T
	listener *httpservertest.Listener
	others   []*httpservertest.Listener // of other nodes, to which its requests go in turn
	turn     atomic.Int64
	token    string
	began    atomic.Int64 // answers

	mu    sync.Mutex
	got   []wildAnswer // that have come whole, as the client came to deal with them
	ended bool         // it has been told that the session is gone
}

// wildAnswer is an answer, and which it was. An answer begins when the client has
// read its first bytes, which is while the server is still at the rest of it: as the
// server gives one answer after the other, they begin in the order in which it gives
// them. When they have come whole, two requests at a time are dealt with in any order.
type wildAnswer struct {
	pollAnswer
	nth int64
}

// reading is how a client reads an answer, and what it does then.
type reading struct {
	leave  time.Duration // after which it does not wait any more; zero: never
	pause  time.Duration // before each piece
	bytes  int           // of a piece; zero: as many as there are
	body   time.Duration // that the body takes; zero: as long as it does
	linger time.Duration // before it deals with what it has read
}

// ask makes a request. What it returns has come whole.
func (p *wildPoller) ask(method, kind, body string, how reading) (wildAnswer, bool) {
	conn := p.dial()
	defer conn.Close()
	if how.leave > 0 {
		defer time.AfterFunc(how.leave, func() { conn.Close() }).Stop()
	}
	go fmt.Fprintf(conn, "%s /socket/longpoll?vsn=2.0.0&token=%s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		method, p.token, kind, len(body), body)
	from := &slowReader{Reader: conn, reading: how}
	from.began = func() { from.nth = p.began.Add(1) }
	response, err := http.ReadResponse(bufio.NewReaderSize(from, 16), nil)
	if err != nil {
		return wildAnswer{}, false
	}
	if length := response.ContentLength; length > 0 && how.body > 0 {
		from.bytes, from.byte = max(int(length)/20, 16), how.body/time.Duration(length)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return wildAnswer{}, false
	}
	got := wildAnswer{nth: from.nth}
	if err := json.Unmarshal(text, &got.pollAnswer); err != nil {
		p.t.Errorf("%s: %v", text, err)
	}
	time.Sleep(how.linger) // of the test's own clock
	return got, true
}

func (p *wildPoller) dial() net.Conn {
	if turn := int(p.turn.Add(1)) % (len(p.others) + 1); turn > 0 {
		return p.others[turn-1].Dial()
	}
	return p.listener.Dial()
}

type slowReader struct {
	io.Reader
	reading
	byte  time.Duration // what one takes
	nth   int64
	began func() // called once, when the first piece has come
}

func (r *slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause) // of the test's own clock
	if r.bytes > 0 {
		p = p[:min(len(p), r.bytes)]
	}
	n, err := r.Reader.Read(p)
	if n > 0 && r.nth == 0 {
		r.began()
	}
	time.Sleep(time.Duration(n) * r.byte) // of the test's own clock
	return n, err
}

// poll makes one GET, and notes what has come.
func (p *wildPoller) poll(how reading) {
	got, whole := p.ask(http.MethodGet, "", "", how)
	if !whole {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if got.Status == pollError || got.Status == pollGone {
		p.ended = true
	}
	p.got = append(p.got, got)
}

// offsets are those of the events that have come, in the order in which they were
// given.
func (p *wildPoller) offsets() (list []int) {
	slices.SortFunc(p.got, func(a, b wildAnswer) int { return cmp.Compare(a.nth, b.nth) })
	for _, answer := range p.got {
		for _, m := range answer.Messages {
			if _, after, found := strings.Cut(m, `"n",{"offset":`); found {
				offset, _, _ := strings.Cut(after, ",")
				n, _ := strconv.Atoi(offset)
				list = append(list, n)
			}
		}
	}
	return list
}

func (p *wildPoller) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// TestPollsAtRandom has such clients be sent a log: each gets all of it, in order
// and each event once, or is told that its session has ended, which it is not as long
// as the client keeps the rules.
func TestPollsAtRandom(t *testing.T) {
	t.Parallel()
	seeds := 300
	if testing.Short() {
		seeds = 50
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, wild)
				pollAtRandom(t, seed, r, true)
			})
		})
	}
}

// TestPollsAtRandomNodes has each request of such clients reach another node, by a bus
// that works, or loses, repeats, delays and disorders messages.
func TestPollsAtRandomNodes(t *testing.T) {
	t.Parallel()
	seeds := 200
	if testing.Short() {
		seeds = 40
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNodes(t, "abc", wild)
				defer n.advance()()
				var others []*httpservertest.Listener
				for _, r := range n.rigs[1:] {
					others = append(others, r.serveInMemory())
				}
				works := seed%3 == 0
				if !works {
					dice := rand.New(rand.NewPCG(seed, 2))
					n.net.SetFaults(clustertest.Faults{Drop: dice.Float64() / 4, Repeat: dice.Float64() / 2,
						Reorder: dice.Float64() / 4, Delay: time.Duration(dice.Int64N(int64(2 * time.Second)))})
				}
				pollAtRandom(t, seed, n.rig, works, others...)
			})
		})
	}
}

func wild(c *Config) {
	c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
		return &channels.Socket{ID: "wild"}, nil
	}
}

// pollAtRandom has one client live on for a while. If all works, a session ends only
// because of what its client does.
func pollAtRandom(t *testing.T, seed uint64, r *rig, works bool, others ...*httpservertest.Listener) {
	listener := r.serveInMemory()
	opened := r.poll(phoenix.Version2)
	opened.text(`["1","1","room:a","phx_join",{"after":null}]`)
	if got := opened.next(); !strings.Contains(got, `"status":"ok"`) {
		t.Fatal(got)
	}
	dice := rand.New(rand.NewPCG(seed, 1))
	p := &wildPoller{t: t, listener: listener, others: others, token: opened.token}
	upTo := func(d time.Duration) time.Duration { return time.Duration(dice.Int64N(int64(d))) }

	// The log grows, by the server and by what the client posts.
	var group sync.WaitGroup
	var written sync.Mutex
	write := func(size int) {
		written.Lock()
		defer written.Unlock()
		r.log("room:a", "n", `{"x":"`+strings.Repeat("x", size)+`"}`)
	}
	events := 20 + dice.IntN(60)
	sizes, gaps := make([]int, events), make([]time.Duration, events)
	for i := range events {
		sizes[i] = dice.IntN(2000)
		if gaps[i] = upTo(2 * time.Second); dice.IntN(3) == 0 {
			gaps[i] = 0
		}
	}
	group.Go(func() {
		for i := range events {
			time.Sleep(gaps[i]) // of the test's own clock
			write(sizes[i])
		}
	})
	posts, pauses := dice.IntN(20), upTo(3*time.Second)
	group.Go(func() {
		for range posts {
			time.Sleep(pauses) // of the test's own clock
			p.ask(http.MethodPost, "application/x-ndjson", beat+"\n"+beat, reading{})
		}
	})
	shutAt := time.Duration(0)
	if dice.IntN(3) == 0 {
		shutAt = upTo(60 * time.Second)
		time.AfterFunc(shutAt, func() { r.endpoint.Disconnect("wild") })
	}

	// One GET after the other, some of them at the same time, some dropped. Who is
	// gentle has one at a time, and reads it; who is patient has several, and reads
	// them as slowly as he may; who is neither does what he likes.
	const gentle, patient, kinds = 0, 1, 3
	kind := dice.IntN(kinds)
	for start := time.Now(); time.Since(start) < 3*time.Minute && !p.over(); {
		var how reading
		switch kind {
		case gentle:
		case patient:
			how = reading{body: upTo(patience), linger: upTo(time.Second)}
		default:
			how.linger = upTo(time.Second)
			switch dice.IntN(6) {
			case 0:
				how.leave = upTo(12 * time.Second)
			case 1:
				how.leave = upTo(time.Millisecond)
			case 2:
				how.pause, how.bytes = upTo(200*time.Millisecond), 1+dice.IntN(500)
			case 3:
				how.leave, how.pause, how.bytes = upTo(5*time.Second), upTo(time.Second), 1+dice.IntN(100)
			}
		}
		if kind != gentle && dice.IntN(5) == 0 {
			group.Go(func() { p.poll(how) })
			time.Sleep(upTo(time.Second)) // of the test's own clock
		} else {
			p.poll(how)
		}
	}
	group.Wait()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.offsets()
	for i, offset := range got {
		if offset != i+1 {
			t.Fatalf("got %v, of %d", got, r.offset)
		}
	}
	alive := r.endpoint.Sockets() > 0
	switch {
	case p.ended && alive:
		t.Fatal("told of an end that has not come")
	case alive && len(got) != int(r.offset):
		t.Fatalf("the session lives on, and %d of %d events are lost", int(r.offset)-len(got), r.offset)
	case (kind == gentle || kind == patient) && shutAt == 0 && works && !alive:
		t.Fatal("the session of a client that waited for every answer has ended")
	}
}

// patience is how long a client may take to read an answer, that is no longer than what
// is written at a time: with what it has waited before, longer than the grace.
const patience = 14 * time.Second
