package cluster

import (
	"bytes"
	"sync"
)

// outgoing is a message that waits to be sent.
type outgoing struct {
	subject string
	number  uint64
	data    []byte
}

// outbox is what waits to be sent, so that nobody who publishes waits for a connection.
// It holds up to [Pending] bytes, and refuses what is beyond. Its methods may be called
// concurrently.
type outbox struct {
	more chan struct{} // has room for one: sent to, without waiting, when there is more or it has closed

	mu sync.Mutex
	// Guarded by mu.
	number uint64     // of the last message
	hellos []outgoing // which overtake the others: they keep nodes known
	queue  []outgoing
	bytes  int    // of queue
	bye    []byte // which is sent last; nil once it was, or where there is none
	closed bool
}

func newOutbox() *outbox { return &outbox{more: make(chan struct{}, 1)} }

// put queues a message, of which it keeps a copy. It returns ErrBusy when there is no
// room, ErrAway once it is closed.
func (o *outbox) put(subject string, parts ...[]byte) error {
	data := bytes.Join(parts, nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrAway
	case o.bytes > 0 && o.bytes+len(data)+messageBytes > Pending:
		return ErrBusy
	}
	o.number++
	o.queue = append(o.queue, outgoing{subject, o.number, data})
	o.bytes += len(data) + messageBytes
	o.wake()
	return nil
}

// hello queues what is to be sent next.
func (o *outbox) hello(data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.number++
	o.hellos = []outgoing{{helloSubject, o.number, data}} // in place of an older one
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// close has nothing more be taken in, and next end when what there is has been taken, and
// after it the bye, unless it is nil: whoever hears it has then heard all.
func (o *outbox) close(bye []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.bye, o.closed = bye, true
	o.wake()
}

// next waits for the message that is to be sent next; ok is false once there will be none.
func (o *outbox) next() (m outgoing, ok bool) {
	for {
		o.mu.Lock()
		switch {
		case len(o.hellos) > 0:
			m, o.hellos = o.hellos[0], nil
			o.mu.Unlock()
			return m, true
		case len(o.queue) > 0:
			m = o.queue[0]
			o.queue[0] = outgoing{}
			o.queue = o.queue[1:]
			o.bytes -= len(m.data) + messageBytes
			o.mu.Unlock()
			return m, true
		case o.bye != nil:
			o.number++
			m, o.bye = outgoing{helloSubject, o.number, o.bye}, nil
			o.mu.Unlock()
			return m, true
		case o.closed:
			o.mu.Unlock()
			return outgoing{}, false
		}
		o.mu.Unlock()
		<-o.more
	}
}
