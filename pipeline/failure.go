package pipeline

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

var (
	// ErrDiscarded is why an event ended that its producer's buffer had no room
	// for, or that its dispatcher's key discarded.
	ErrDiscarded = errors.New("event discarded")
	// ErrNoConsumer is why an event ended that nobody was there for at a drain.
	ErrNoConsumer = errors.New("no consumer for event")
	// ErrLost is why an event ended that a flow dropped without finishing it.
	ErrLost = errors.New("event lost in a flow")
	// ErrStopped is why an event ended that did not get through before DrainTimeout.
	ErrStopped = errors.New("pipeline stopped before event was handled")
	// ErrExited is why an event ended whose handler ended its goroutine: runtime.Goexit, or
	// FailNow of a test. Run returns it if that happened where a producer could not go on.
	ErrExited = errors.New("goroutine ended by a handler")
	// ErrRefused is why a subscription ended that the dispatcher did not accept.
	ErrRefused = errors.New("subscription refused")
	// ErrEnded is returned by what needs a producer or topology that has ended.
	ErrEnded = errors.New("pipeline has ended")
	// ErrDrainTimeout is returned by Run if draining took longer than DrainTimeout.
	ErrDrainTimeout = errors.New("pipeline not drained in time")
)

// Failure is events that a stage gave up, as told to Config.OnFailure.
type Failure struct {
	Stage     string
	Positions []int64 // of the events' origins, where the producer's acknowledger knows positions
	Events    int     // 0 if the failure is of a stage, not of events: a fetch that will be retried
	Attempts  int
	Err       error
}

// PanicError is a panic of a handler, recovered.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns what was thrown, if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// ElementError is an element in a line that is no batch of the type that its stage handles.
type ElementError struct {
	Stage   string
	Element any
}

func (e *ElementError) Error() string {
	return fmt.Sprintf("stage %q cannot handle a %T", e.Stage, e.Element)
}

// EventErrors is returned by a handler that knows which events failed, by index in
// what it was given: these fail and are not tried again, the others are done.
// A Transform that returns it returns the events made of the others too.
type EventErrors map[int]error

func (e EventErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events failed", len(e))
	for i, at := range e.failed(int(^uint(0) >> 1)) {
		if i == 3 {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; %d: %v", at.index, at.err)
	}
	return b.String()
}

// failed lists the errors of the first n events, sorted.
func (e EventErrors) failed(n int) []failedAt {
	list := make([]failedAt, 0, len(e))
	for i, err := range e {
		if err != nil && i >= 0 && i < n {
			list = append(list, failedAt{i, err})
		}
	}
	slices.SortFunc(list, func(a, b failedAt) int { return a.index - b.index })
	return list
}
