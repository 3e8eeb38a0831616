package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// consumer is the command consume at work: one batch after the other is read, dealt with and
// committed.
type consumer struct {
	api     *adminClient
	command consumeCmd
	deal    func(context.Context, *eventBatch) error
	tell    func(format string, args ...any) // what is no event
	pause   func(context.Context, time.Duration)

	// Owned by run.
	left     int      // events to go; 0: no end
	failures int      // in a row
	refusals int      // of commits, in a row
	position position // that is kept under the name, as far as it knows
}

// eventBatch is what the service answers with: what comes after the position.
type eventBatch struct {
	Name    string          `json:"-"`
	Epoch   string          `json:"epoch"`
	Events  []consumedEvent `json:"events"`
	Through *int64          `json:"through"`
	More    bool            `json:"more"`
}

// position is one in the log: where an epoch begins, the offsets go on.
type position struct {
	Epoch  string `json:"epoch"`
	Offset int64  `json:"offset"`
}

// consumedEvent is the line that an event becomes: the order of the keys is promised.
type consumedEvent struct {
	Topic      string          `json:"topic"`
	Event      string          `json:"event"`
	Offset     int64           `json:"offset"`
	Payload    json.RawMessage `json:"payload"`
	Key        *string         `json:"key,omitempty"`
	InsertedAt string          `json:"inserted_at"`
}

const (
	consumeWait     = 20 * time.Second // for events, at the service
	consumePause    = time.Second      // after a failure, doubled with each
	maxConsumePause = time.Minute
	maxRefusals     = 3 // of commits, after which somebody else must decide
)

// uncommittedError says that the consumer ends with a batch that has not been committed.
type uncommittedError struct{ err error }

func (e *uncommittedError) Error() string {
	return fmt.Sprintf("%v; the batch is not committed, and comes again", e.err)
}

func (e *uncommittedError) Unwrap() error { return e.err }

// run consumes until ctx is cancelled or enough events have been dealt with. Who is not there at the
// first attempt is not waited for, as a wrong address should not look like patience; who answers that it
// is still starting, or busy, is.
func (c *consumer) run(ctx context.Context) error {
	reached := false
	for next := c.begin; ctx.Err() == nil; {
		err := next(ctx)
		missed := errors.As(err, new(*reachError))
		switch {
		case errors.Is(err, errEnough):
			return nil
		case err == nil:
			next, reached, c.failures = c.step, true, 0
			continue
		case ctx.Err() != nil, !passes(err), missed && !reached:
			return ended(ctx, err)
		}
		reached = reached || !missed
		pause := min(maxConsumePause, consumePause<<min(max(c.failures, c.refusals-1), 10))
		if errors.As(err, new(*commitRefusedError)) {
			next = c.begin // the position is another
		}
		c.failures++
		c.tell("%v; trying again in %v", err, pause)
		c.pause(ctx, pause)
	}
	return nil
}

// ended is what an error means that ends a run: nothing, if it was told to end and has broken off a
// request or left what would be tried again, with no batch in hand.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.As(err, new(*uncommittedError)) || errors.As(err, new(*commitRefusedError)) || !passes(err) && !errors.Is(err, errInterrupted) {
		return err
	}
	return nil
}

// errEnough ends a run that was to deal with so many events.
var errEnough = errors.New("enough")

// passes tells whether an error may be another time: what it says is tried again.
func passes(err error) bool {
	refused := new(apiError)
	switch {
	case errors.As(err, new(*dealError)), errors.As(err, new(*reachError)), errors.As(err, new(*commitRefusedError)):
		return true
	case errors.As(err, &refused):
		return refused.status >= 500 || refused.status == http.StatusTooManyRequests
	}
	return false
}

// begin says where the consumer stands, and has it stand where it is to begin: from then on, what it has
// not dealt with is missed if it is no longer kept. Where the log or another process has moved
// meanwhile, it looks anew.
func (c *consumer) begin(ctx context.Context) error {
	for {
		if err := c.beginOnce(ctx); !errors.As(err, new(*commitRefusedError)) { // which commit bounds
			return err
		}
	}
}

func (c *consumer) beginOnce(ctx context.Context) error {
	answer, err := c.api.get(ctx, "/api/consumers")
	if err != nil {
		return err
	}
	var said struct {
		Consumers []struct {
			Name string
			position
			Lag int64
		}
		Epoch   string
		Head    int64
		Trimmed int64
	}
	if json.Unmarshal(answer, &said) != nil || said.Consumers == nil || said.Epoch == "" {
		return errNotAdmin
	}
	for _, each := range said.Consumers {
		if each.Name == c.command.Name {
			c.position = each.position
			c.tell("%s goes on after offset %d, %s behind the log's end", each.Name, each.Offset, events(int(each.Lag)))
			return nil
		}
	}
	at, with := said.Head, ""
	switch c.command.Start {
	case startHead:
	case startEarliest:
		at, with = said.Trimmed, " with all that the log keeps,"
	default:
		var epoch string
		epoch, at, _ = startAfter(c.command.Start) // Run has read it before
		if err := c.resumes(ctx, epoch, at); err != nil {
			return err
		}
	}
	if err := c.commit(ctx, nil, position{said.Epoch, at}); err != nil {
		return fmt.Errorf("begin after offset %d: %w", at, err)
	}
	c.tell("%s begins%s after offset %d", c.command.Name, with, at)
	return nil
}

// resumes tells whether a position of an epoch is one of the present one, too. Without an epoch it is.
func (c *consumer) resumes(ctx context.Context, epoch string, after int64) error {
	if epoch == "" {
		return nil
	}
	query := url.Values{"epoch": {epoch}, "after": {strconv.FormatInt(after, 10)}, "limit": {"1"}}
	_, err := c.api.get(ctx, "/api/log?"+query.Encode())
	gone := new(apiError)
	if errors.As(err, &gone) && gone.status == http.StatusGone {
		return fmt.Errorf("cannot begin after offset %d of epoch %s: events after it are no longer kept, or it is not one of this log; "+
			"load the state anew, and begin after its sluice_position()", after, epoch)
	}
	return err
}

// step reads a batch, deals with it, and commits it.
func (c *consumer) step(ctx context.Context) error {
	began := time.Now()
	batch, err := c.read(ctx)
	gone := new(apiError)
	if errors.As(err, &gone) && gone.status == http.StatusGone {
		return c.lost(ctx, gone)
	}
	if err != nil {
		return err
	}
	if len(batch.Events) == 0 && *batch.Through == c.position.Offset {
		if left := consumePause - time.Since(began); left > 0 { // whoever answers does not wait
			c.pause(ctx, left)
		}
		return nil
	}
	whole := context.WithoutCancel(ctx)
	if len(batch.Events) > 0 {
		if err := c.deal(whole, batch); err != nil {
			if ctx.Err() != nil {
				err = &uncommittedError{err}
			}
			return err
		}
	}
	readAfter := c.position
	for tries := 0; ; tries++ {
		err := c.commit(whole, &readAfter, position{batch.Epoch, *batch.Through})
		if err == nil {
			break
		}
		switch {
		case errors.As(err, new(*commitRefusedError)):
			return err
		case ctx.Err() == nil && passes(err):
		case len(batch.Events) > 0:
			return &uncommittedError{err}
		default:
			return err
		}
		pause := min(maxConsumePause, consumePause<<min(tries, 10))
		c.tell("%v; trying again to commit in %v", err, pause)
		c.pause(ctx, pause)
	}
	if c.left == 0 {
		return nil
	}
	if c.left -= len(batch.Events); c.left == 0 {
		return errEnough
	}
	return nil
}

// path is where the service has the consumer.
func (c *consumer) path(of string) string { return "/api/consumers/" + c.command.Name + of }

func (c *consumer) read(ctx context.Context) (*eventBatch, error) {
	limit := c.command.Batch
	if c.left > 0 {
		limit = min(limit, c.left)
	}
	query := url.Values{"limit": {strconv.Itoa(limit)}, "wait": {consumeWait.String()}}
	if c.command.Topic != "" {
		query.Set("topic", c.command.Topic)
	}
	answer, err := c.api.get(ctx, c.path("/events?")+query.Encode())
	if err != nil {
		return nil, err
	}
	batch := &eventBatch{Name: c.command.Name}
	if json.Unmarshal(answer, batch) != nil || batch.Events == nil || batch.Through == nil || batch.Epoch == "" || len(batch.Events) > limit {
		return nil, errNotAdmin
	}
	return batch, nil
}

// commitRefusedError says that the position does not fit: where it is kept, it is another.
type commitRefusedError struct{ *apiError }

func (e *commitRefusedError) Error() string {
	return fmt.Sprintf("the commit was refused: %v; reading on from the position that is kept", e.apiError)
}

func (e *commitRefusedError) Unwrap() error { return e.apiError }

// commit moves the position that the service keeps, if it is still readAfter, where that is not nil. A
// position that is refused again and again is for somebody else to look after.
func (c *consumer) commit(ctx context.Context, readAfter *position, to position) error {
	body, err := json.Marshal(struct {
		position
		ReadAfter *position `json:"read_after,omitempty"`
	}{to, readAfter})
	if err != nil {
		return fmt.Errorf("encode the position: %w", err)
	}
	_, err = c.api.ask(ctx, c.path("/commit"), "application/json", body)
	refused := new(apiError)
	switch {
	case err == nil:
		c.position, c.refusals = to, 0
		return nil
	case errors.As(err, &refused) && refused.status == http.StatusConflict:
		if c.refusals++; c.refusals < maxRefusals {
			return &commitRefusedError{refused}
		}
	}
	return err
}

// lost goes on with what is kept, or ends.
func (c *consumer) lost(ctx context.Context, gone *apiError) error {
	if gone.Epoch == "" {
		return errNotAdmin
	}
	if !c.command.SkipLost {
		return fmt.Errorf("%s has not seen all that the log kept: it stands at offset %d, and may go on after %d; "+
			"read the state anew where it matters, then go on with: sluice consume %s --skip-lost", c.command.Name, c.position.Offset, gone.Resume, c.command.Name)
	}
	kept := c.position
	if err := c.commit(context.WithoutCancel(ctx), &kept, position{gone.Epoch, gone.Resume}); err != nil {
		return err
	}
	c.tell("%s goes on after offset %d: events before that were lost, as they are no longer kept", c.command.Name, gone.Resume)
	return nil
}
