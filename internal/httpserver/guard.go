package httpserver

import (
	"net/http"
	"sync"
	"time"
)

// Deadlines say how slow a client may be. Zero means the default.
type Deadlines struct {
	// Body is how long a request's body may take, with a second more for each
	// BodyRate bytes that have come. Time in which the handler does not read is
	// not counted. The default is 20s.
	Body time.Duration

	// BodyRate is in bytes a second. The default is 1 KiB.
	BodyRate int

	// Write is how long a client may take to accept a piece of an answer, of at
	// most 64 KiB. The default is 15s.
	Write time.Duration
}

const (
	defaultBody     = 20 * time.Second
	defaultBodyRate = 1 << 10
	defaultWrite    = 15 * time.Second

	writePiece = 64 << 10
)

// Guard keeps the deadlines of requests. Its methods may be called concurrently.
type Guard struct {
	deadlines Deadlines // immutable after New

	// Immutable after Measure. Nil: nobody is told.
	answered func(route string, status int, took time.Duration)

	mu sync.Mutex

	// Guarded by mu.
	under map[*exchange]struct{} // way: the requests that are being served
	left  time.Duration          // for what is slow, once draining; 0 while not
	since time.Time              // when draining began
}

// New returns a guard.
func New(d Deadlines) *Guard {
	if d.Body == 0 {
		d.Body = defaultBody
	}
	if d.BodyRate == 0 {
		d.BodyRate = defaultBodyRate
	}
	if d.Write == 0 {
		d.Write = defaultWrite
	}
	return &Guard{deadlines: d, under: make(map[*exchange]struct{})}
}

// Handler guards the requests of next. Guards may stand within each other: the
// earliest deadline counts.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, guard: g, control: http.NewResponseController(w), request: r}
		if r.Body != nil && r.Body != http.NoBody {
			x.reading = true
			x.lingers = r.ProtoMajor == 1 && !within(w) // HTTP/2 ends streams, not connections
			x.holding = x.lingers
			guarded := *r
			guarded.Body = &body{r.Body, x}
			x.request = &guarded
		}
		g.enter(x)
		defer g.leave(x)
		began := time.Now()
		next.ServeHTTP(x, x.request)
		x.measure(time.Since(began))
		x.linger()
	})
}

// within tells whether a request is being served within another guard.
func within(w http.ResponseWriter) bool {
	for {
		switch inner := w.(type) {
		case *exchange:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
		default:
			return false
		}
	}
}

// Drain gives the bodies that are being read, and the answers that are being
// written, this long to end, and those that come later as long from when they
// begin.
func (g *Guard) Drain(within time.Duration) {
	g.mu.Lock()
	g.left, g.since = within, time.Now()
	under := make([]*exchange, 0, len(g.under))
	for x := range g.under {
		under = append(under, x)
	}
	g.mu.Unlock()
	for _, x := range under {
		x.drain(within)
	}
}

func (g *Guard) enter(x *exchange) {
	g.mu.Lock()
	g.under[x] = struct{}{}
	left := g.left
	g.mu.Unlock()
	x.begin(left)
}

func (g *Guard) leave(x *exchange) {
	g.mu.Lock()
	delete(g.under, x)
	g.mu.Unlock()
	x.end()
}
