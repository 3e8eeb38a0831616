package benchmarks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/target"
)

// deafListener takes whatever is posted, and does nothing.
func deafListener() (url string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	return server.URL, server.Close
}

// asking keeps no connection, so that none outlives its server.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// onTheFloor is the floor in this process.
type onTheFloor struct{ database string }

func (onTheFloor) Name() string { return "floor" }

func (f onTheFloor) Start(context.Context) (*target.Endpoint, error) {
	var addresses [2]string
	for i := range addresses {
		var err error
		if addresses[i], err = target.FreeAddress(); err != nil {
			return nil, err
		}
	}
	e := target.Endpoint{Sockets: "ws://" + addresses[0], Admin: "http://" + addresses[1], Database: f.database, Dialect: floorDialect{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // sent once, its capacity
	go func() { ended <- ServeFloor(ctx, e.Sockets, e.Admin, f.database) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	for {
		answer, err := asking.Get(e.Admin + "/readyz")
		if err == nil {
			answer.Body.Close()
			return target.NewEndpoint(e, stop), nil
		}
		select {
		case err := <-ended:
			return nil, err
		default:
		}
	}
}

// The floor serves what the scenarios that it is a floor of ask for.
func TestFloor(t *testing.T) {
	t.Parallel()
	for _, b := range []*Bulk{DefaultFanout(), DefaultSingle(), DefaultTopics()} {
		small(b)
		b.Server = onTheFloor{}
		for _, payload := range []int{64, 1000, 70_000} {
			b.Payload, b.Events, b.WarmUp, b.Batch = payload, 30, 3, min(b.Batch, 10)
			r, err := b.Run(t.Context(), nil)
			if err != nil || !r.Sound() || r.Events != b.Events {
				t.Errorf("%s of %d bytes: %+v, %v", b.Called, payload, r, err)
			}
		}
	}
}

func TestFloorNeedsItsAddresses(t *testing.T) {
	t.Parallel()
	address, err := target.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	for _, addresses := range [][2]string{{"ws://127.0.0.1:-1", "http://" + address}, {"ws://" + address, "http://127.0.0.1:-1"}} {
		if err := ServeFloor(t.Context(), addresses[0], addresses[1], ""); err == nil {
			t.Errorf("%v are served", addresses)
		}
	}
}

// With events without end, a run ends with its time.
func TestBulkEndsInTime(t *testing.T) {
	t.Parallel()
	b := DefaultFanout()
	small(b)
	b.Events, b.For = 1<<40, 50*time.Millisecond
	r, err := b.Run(t.Context(), nil)
	if err != nil || !r.Sound() || r.Events == b.Events {
		t.Errorf("%+v, %v", r, err)
	}
}
