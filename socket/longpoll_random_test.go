package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/httpservertest"
)

// wildPoller is a client that lives on whatever its requests do: it drops polls
// and begins others, has several at a time, reads slowly, and posts meanwhile.
type wildPoller struct {
	t        *testing.T
	listener *httpservertest.Listener
	token    string
	rand     *rand.Rand // used by one goroutine at a time

	mu    sync.Mutex
	got   []int // offsets, as answers were complete
	ended bool  // it has been told that the session is gone
}

// ask makes a request. It reads so much at a time, with a pause between, and
// leaves after a while. What it returns has come whole.
func (p *wildPoller) ask(method, kind, body string, leave, pause time.Duration, bytes int) (pollAnswer, bool) {
	conn := p.listener.Dial()
	defer conn.Close()
	defer time.AfterFunc(leave, func() { conn.Close() }).Stop()
	go fmt.Fprintf(conn, "%s /socket/longpoll?vsn=2.0.0&token=%s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		method, p.token, kind, len(body), body)
	var got pollAnswer
	response, err := http.ReadResponse(bufio.NewReaderSize(slowReader{conn, bytes, pause}, 16), nil)
	if err != nil {
		return got, false
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return got, false
	}
	if err := json.Unmarshal(text, &got); err != nil {
		p.t.Errorf("%s: %v", text, err)
	}
	return got, true
}

type slowReader struct {
	io.Reader
	bytes int
	pause time.Duration
}

func (r slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause)
	return r.Reader.Read(p[:min(len(p), r.bytes)])
}

// poll makes one GET, and notes what has come.
func (p *wildPoller) poll(leave, pause time.Duration, bytes int) {
	got, whole := p.ask(http.MethodGet, "", "", leave, pause, bytes)
	if !whole {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if got.Status == pollError || got.Status == pollGone {
		p.ended = true
	}
	for _, m := range got.Messages {
		if _, after, found := strings.Cut(m, `"n",{"offset":`); found {
			offset, _, _ := strings.Cut(after, ",")
			n, _ := strconv.Atoi(offset)
			p.got = append(p.got, n)
		}
	}
}

func (p *wildPoller) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// TestPollsAtRandom has such clients be sent a log: each gets all of it, in order
// and each event once, or is told that its session has ended.
func TestPollsAtRandom(t *testing.T) {
	t.Parallel()
	seeds := 300
	if testing.Short() {
		seeds = 50
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { pollAtRandom(t, seed) })
		})
	}
}

func pollAtRandom(t *testing.T, seed uint64) {
	r := newRig(t, func(c *Config) {
		c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
			return &channels.Socket{ID: "wild"}, nil
		}
	})
	listener := r.serveInMemory()
	opened := r.poll(version2)
	opened.text(`["1","1","room:a","phx_join",{"after":null}]`)
	if got := opened.next(); !strings.Contains(got, `"status":"ok"`) {
		t.Fatal(got)
	}
	dice := rand.New(rand.NewPCG(seed, 1))
	p := &wildPoller{t: t, listener: listener, token: opened.token, rand: dice}
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
			time.Sleep(gaps[i])
			write(sizes[i])
		}
	})
	posts, pauses := dice.IntN(20), upTo(3*time.Second)
	group.Go(func() {
		for range posts {
			time.Sleep(pauses)
			p.ask(http.MethodPost, "application/x-ndjson", beat+"\n"+beat, time.Hour, 0, 1000)
		}
	})
	shutAt := time.Duration(0)
	if dice.IntN(3) == 0 {
		shutAt = upTo(60 * time.Second)
		time.AfterFunc(shutAt, func() { r.endpoint.Disconnect("wild") })
	}

	// One GET after the other, some of them at the same time, some dropped.
	gentle := dice.IntN(3) == 0 // waits for every answer
	for start := time.Now(); time.Since(start) < 3*time.Minute && !p.over(); {
		leave, pause, bytes := time.Hour, time.Duration(0), 1000
		if !gentle {
			switch dice.IntN(6) {
			case 0:
				leave = upTo(12 * time.Second)
			case 1:
				leave = upTo(time.Millisecond)
			case 2:
				pause, bytes = upTo(200*time.Millisecond), 1+dice.IntN(500)
			case 3:
				leave, pause, bytes = upTo(5*time.Second), upTo(time.Second), 1+dice.IntN(100)
			}
		}
		if !gentle && dice.IntN(5) == 0 {
			group.Go(func() { p.poll(leave, pause, bytes) })
			time.Sleep(upTo(time.Second))
		} else {
			p.poll(leave, pause, bytes)
		}
	}
	group.Wait()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, offset := range p.got {
		if offset != i+1 {
			t.Fatalf("got %v, of %d", p.got, r.offset)
		}
	}
	alive := r.endpoint.Sockets() > 0
	switch {
	case p.ended && alive:
		t.Fatal("told of an end that has not come")
	case alive && len(p.got) != int(r.offset):
		t.Fatalf("the session lives on, and %d of %d events are lost", int(r.offset)-len(p.got), r.offset)
	case gentle && shutAt == 0 && !alive:
		t.Fatal("the session of a client that waited for every answer has ended")
	}
}
