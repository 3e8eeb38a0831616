package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Bounds of what waits for events that are not there yet.
const (
	maxLogWait    = 30 * time.Second
	maxLogWaiting = 64                     // requests at a time: each looks at the log now and then
	logPause      = 100 * time.Millisecond // between such looks, when others' events come all the time
)

// errManyWait says that no more may wait.
var errManyWait = fmt.Errorf("there are no events, and %d requests wait for some already", maxLogWaiting)

// awaitLog reads what a query wants. Where there is none of it, it waits as long as the query says: until
// there is, the client leaves, the node drains, or what is asked for ends.
func (a *api) awaitLog(ctx context.Context, log store.Log, q logQuery) (*logView, error) {
	view, err := readLog(ctx, log, q)
	if err != nil || q.wait == 0 || !view.awaited(q) {
		return view, err
	}
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > maxLogWaiting {
		return nil, errManyWait
	}
	until, stop := context.WithTimeout(ctx, q.wait)
	defer stop()
	defer context.AfterFunc(a.Readiness.Draining(), stop)()
	for pause := time.Duration(0); view.awaited(q); pause = logPause {
		q.after, q.epoch = view.through, view.extent.Epoch
		next, err := lookAgain(until, log, q, pause)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case until.Err() != nil && err != nil:
			return view, nil
		case err != nil:
			return nil, err
		}
		view = next
	}
	return view, nil
}

// awaited tells whether a view has nothing of what is asked for, and may have.
func (v *logView) awaited(q logQuery) bool {
	return v.count == 0 && !v.more && (q.before == 0 || v.through < q.before-1)
}

// lookAgain reads what is wanted when, after a pause, something may have come.
func lookAgain(ctx context.Context, log store.Log, q logQuery, pause time.Duration) (*logView, error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := log.Wait(ctx, q.after); err != nil {
		return nil, err
	}
	return readLog(ctx, log, q)
}

// waitOf reads how long is to be waited.
func waitOf(given string) (time.Duration, error) {
	if given == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(given)
	if err != nil || wait < 0 || wait > maxLogWait {
		return 0, fmt.Errorf("wait is %q: want a duration from 0s to %v", given, maxLogWait)
	}
	return wait, nil
}
