package pipeline

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// A function that users give us may panic, or end the goroutine that it is called on
// (runtime.Goexit, which FailNow of a test does). A panic is recovered where the call is
// made. The end of a goroutine cannot be stopped, so what must not end with it runs
// under outlive; from the first time on, every call is made apart.

// apart calls f on a goroutine of its own, and returns its panic or its end as an error.
func apart(f func() error) error {
	ended := make(chan error, 1) // one send, by the goroutine, however it ends
	go func() {
		err := ErrExited
		defer func() { ended <- err }()
		defer recovered(&err)
		err = f()
	}()
	return <-ended
}

// outlive calls f for a stage. If the goroutine is ended meanwhile, that is told and f is called
// again on another one. Its callers defer what they do afterwards.
func (t *Topology) outlive(stage string, f func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			panic(v)
		}
		t.exited.Store(true)
		t.failed(Failure{Stage: stage, Attempts: 1, Err: ErrExited})
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.outlive(stage, f)
		}()
		<-done
	}()
	f()
	returned = true
}

// guarded calls f, and returns its panic as an error.
func (t *Topology) guarded(f func() error) (err error) {
	if t.exited.Load() {
		return apart(f)
	}
	defer recovered(&err)
	return f()
}

// hook calls what a user wants to be told by. Whatever it does, it is the stage's failure and
// nothing else's.
func (t *Topology) hook(stage, name string, f func()) {
	err := apart(func() error { f(); return nil })
	if err != nil {
		t.failed(Failure{Stage: stage, Attempts: 1, Err: fmt.Errorf("%s: %w", name, err)})
	}
}

// hookHere is hook on the goroutine at hand, for what is told too often to have one of its own.
// It may end that goroutine, which is told here all the same: it may be nobody's of ours.
func (t *Topology) hookHere(stage, name string, f func()) {
	err := ErrExited
	defer func() {
		if err == nil {
			return
		}
		if errors.Is(err, ErrExited) {
			t.exited.Store(true)
		}
		t.failed(Failure{Stage: stage, Attempts: 1, Err: fmt.Errorf("%s: %w", name, err)})
	}()
	err = t.guarded(func() error { f(); return nil })
}

// failed tells OnFailure. What that does wrong itself is returned by Run: there is nobody
// else to tell.
func (t *Topology) failed(f Failure) {
	if t.config.OnFailure == nil {
		return
	}
	err := apart(func() error { t.config.OnFailure(f); return nil })
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unheard == nil {
		t.unheard = fmt.Errorf("OnFailure: %w, told of: %w", err, f.Err)
	}
}

// recorder asks the observer for a stage's.
func (t *Topology) recorder(stage string) Recorder {
	if t.config.Observer == nil {
		return nil
	}
	var r Recorder
	t.hook(stage, "Observer.Stage", func() { r = t.config.Observer.Stage(stage) })
	if r == nil {
		return nil
	}
	return &guardedRecorder{topology: t, stage: stage, recorder: r}
}

// guardedRecorder is a recorder that may panic: the first time is told.
type guardedRecorder struct {
	topology *Topology
	stage    string
	recorder Recorder
	told     atomic.Bool
}

// Record implements Recorder.
func (g *guardedRecorder) Record(report Report) {
	var err error
	if g.topology.exited.Load() {
		err = apart(func() error { g.recorder.Record(report); return nil })
	} else {
		err = g.record(report)
	}
	if err != nil && !g.told.Swap(true) {
		g.topology.failed(Failure{Stage: g.stage, Attempts: 1, Err: fmt.Errorf("Recorder.Record: %w", err)})
	}
}

func (g *guardedRecorder) record(report Report) (err error) {
	defer recovered(&err)
	g.recorder.Record(report)
	return nil
}

// batches calls step with each batch that comes in, in order. Step hands on what it makes by
// pass, at most once for each batch, and before it tells anyone: a batch during which the
// goroutine was ended is begun again if it still is at hand.
func batches[T any](r *run, stage string, in <-chan any, out chan<- any, step func(b *Batch[T], pass func(any))) {
	var hand *Batch[T]
	exits := 0
	pass := func(made any) {
		hand = nil
		out <- made
	}
	r.topology.outlive(stage, func() {
		if b := hand; b != nil && !b.ended.Load() {
			if exits++; exits > 1 {
				hand = nil
				b.Fail(ErrExited)
			} else {
				step(b, pass)
			}
		}
		for element := range in {
			exits = 0
			if hand = received[T](r.topology, stage, element); hand != nil {
				step(hand, pass)
			}
		}
	})
}

// abandoned tells whether events ended because the pipeline did, and not by themselves.
// Nobody has handled them: no position beyond them is safe.
func abandoned(err error) bool {
	return errors.Is(err, ErrStopped) || errors.Is(err, ErrLost) || errors.Is(err, ErrNoConsumer)
}
