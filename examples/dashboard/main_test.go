package main

import (
	"context"
	"errors"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// with serves a dashboard with a query.
func with(q query) func(context.Context, sluice.Config) error {
	return func(ctx context.Context, config sluice.Config) error { return serve(ctx, config, q) }
}

func TestTry(t *testing.T) {
	t.Parallel()
	free := make(chan struct{}) // closed when the query may answer
	client := sluicetest.Run(t, with(func(_ context.Context, region string) (int, error) {
		<-free
		return len(region), nil
	})).Connect("/socket", "")
	frames := sluicetest.Frames(try)
	client.Send(frames[0])
	client.Expect(`["1","1","dashboard","phx_reply",{"status":"ok","response":{}}]`)

	client.Send(frames[1]) // the report, which takes long
	client.Send(frames[2]) // another message of the same channel
	client.Expect(`["1","3","dashboard","phx_reply",{"status":"ok","response":{}}]`)
	client.Beat()

	close(free)
	client.Expect(`["1","2","dashboard","phx_reply",{"status":"ok","response":{"orders":2}}]`)
}

func TestFailure(t *testing.T) {
	t.Parallel()
	client := sluicetest.Run(t, with(func(context.Context, string) (int, error) {
		return 0, errors.New("the database is away")
	})).Connect("/socket", "")
	client.Send(`["1","1","dashboard","phx_join",{}]`)
	client.Expect(`["1","1","dashboard","phx_reply",{"status":"ok","response":{}}]`)
	client.Send(`["1","2","dashboard","report",{"region":"eu"}]`)
	client.Expect(`["1","2","dashboard","phx_reply",{"status":"error","response":{"reason":"no report"}}]`)
}

func TestLeavingEndsTheQuery(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}), make(chan error, 1) // closed, and one send, by the query
	client := sluicetest.Run(t, with(func(ctx context.Context, region string) (int, error) {
		close(begun)
		n, err := slow(ctx, region)
		ended <- err
		return n, err
	})).Connect("/socket", "")
	client.Send(`["1","1","dashboard","phx_join",{}]`)
	client.Expect(`["1","1","dashboard","phx_reply",{"status":"ok","response":{}}]`)
	client.Send(`["1","2","dashboard","report",{"region":"eu"}]`)
	<-begun
	client.Send(`["1","3","dashboard","phx_leave",{}]`)
	client.Expect(`["1","3","dashboard","phx_reply",{"status":"ok","response":{}}]`)
	client.Expect(`["1","1","dashboard","phx_close",{}]`)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query went on to its end: %v", err)
	}
}
