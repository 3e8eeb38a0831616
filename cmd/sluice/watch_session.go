package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/socket/client"
)

// watcher is the command watch at work: it follows one topic across connections.
type watcher struct {
	url     string
	options []client.Option
	topic   string
	out     *bufio.Writer
	lines   *json.Encoder                    // to out
	tell    func(format string, args ...any) // what is no event

	left  int    // events to go; 0: no end
	after *int64 // where to begin; nil: from now on
	last  *int64 // how many events to begin with where after does not say; nil: none
}

// dialer opens a connection in place of the client's own way.
type dialer = func(context.Context) (net.Conn, *bufio.Reader, error)

// newWatcher returns a watcher that prints to out, as it is safe to do if that is
// a terminal. Without a dialer it connects to url with options.
func newWatcher(dial dialer, topic string, out io.Writer, terminal bool) *watcher {
	w := &watcher{topic: topic, out: bufio.NewWriter(out)}
	if dial != nil {
		w.options = append(w.options, client.Connect(dial))
	}
	var lines io.Writer = w.out
	if terminal {
		lines = terminalWriter{w.out}
	}
	w.lines = json.NewEncoder(lines)
	w.lines.SetEscapeHTML(false) // payloads are printed as they were written
	return w
}

// run watches until ctx is cancelled or enough events have come. Who is not
// there at the first attempt is not waited for, as a wrong address should not
// look like patience; who answers that it is busy, or still starting, is.
func (w *watcher) run(ctx context.Context) error {
	err := w.follow(ctx)
	flushed := w.out.Flush()
	switch {
	case errors.Is(flushed, syscall.EPIPE): // who read the lines has seen enough
		return nil
	case flushed != nil:
		return fmt.Errorf("print: %w", flushed)
	case ctx.Err() != nil:
		return nil
	}
	return inFlags(err)
}

func (w *watcher) follow(ctx context.Context) error {
	c, err := client.Dial(ctx, w.url, append(w.options, client.Notify(w.note))...)
	if err != nil {
		return err
	}
	defer c.Close()
	var from []client.JoinOption
	if w.after != nil {
		from = append(from, client.From("", *w.after))
	}
	if w.last != nil {
		from = append(from, client.Last(*w.last))
	}
	channel, err := c.Join(ctx, w.topic, from...)
	if err != nil {
		return err
	}
	for event, err := range channel.Events(ctx) {
		var reset *client.ResetError
		switch {
		case errors.As(err, &reset): // told when it was joined
			continue
		case err != nil:
			return err
		case event.Name == client.PositionEvent:
			continue
		}
		if err := w.lines.Encode(printedEventOf(event)); err != nil {
			return err
		}
		if w.left--; w.left == 0 {
			return nil
		}
		// Lines are written together while more are waiting, and at once
		// when none is.
		if channel.Pending() == 0 {
			if err := w.out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// note tells what the client says of itself. That a program is slower than its topic is its
// reader's choice here.
func (w *watcher) note(n client.Notice) {
	switch n := n.(type) {
	case client.Joined:
		switch {
		case n.After == nil:
			w.tell("joined %s at offset %d", n.Topic, n.Offset)
		case !n.Resumed:
			w.tell("joined %s, but cannot resume after offset %d: events may be missing; going on from %d", n.Topic, *n.After, n.Offset)
		default:
			w.tell("joined %s, resuming after offset %d", n.Topic, *n.After)
		}
	case client.Retrying:
		w.tell("%v; trying again in %v", inFlags(n.Err), n.Pause.Round(time.Millisecond))
	case client.Skipped:
		why := "it is too large"
		switch n.Reason {
		case client.Binary:
			w.tell("a binary message of %d bytes is not shown", n.Bytes)
			return
		case client.Repeated, client.Behind:
			return
		case client.Unreadable:
			why = n.Err.Error()
		}
		if n.Offset == 0 {
			w.tell("a message of %d bytes is not shown: %s", n.Bytes, why)
			return
		}
		w.tell("event %q at offset %d, of %d bytes, is not shown: %s", n.Event, n.Offset, n.Bytes, why)
	}
}

// printedEvent is the line that watch prints for an event: the order of the keys is promised.
type printedEvent struct {
	Topic   string          `json:"topic"`
	Event   string          `json:"event"`
	Offset  *int64          `json:"offset,omitempty"` // none for a broadcast
	Payload json.RawMessage `json:"payload"`
}

func printedEventOf(e client.Event) printedEvent {
	p := printedEvent{e.Topic, e.Name, nil, e.Payload}
	if e.Offset != 0 {
		p.Offset = &e.Offset
	}
	return p
}
