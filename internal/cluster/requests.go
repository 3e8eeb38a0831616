package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What goes to a node's own subject begins with one of these and a request's number.
const (
	isRequest = 1 // timeout in ms, 4 bytes, 0 for none; kind, with its length in a byte before it; data
	isAnswer  = 2 // data
	isFailure = 3 // text
	isCancel  = 4
	isBusy    = 5 // the node has too many of them: nothing was done
)

const requestHead = 1 + 8

const (
	// maxAnswering bounds the requests of others that are handled at a time.
	maxAnswering = 16 << 10
	// maxAnswer is how long a handler has where whoever asks does not say.
	maxAnswer = time.Hour
	// maxFailure bounds the text of an error that another node is told, in bytes.
	maxFailure = 4 << 10
)

// asking is a request of this node that has no answer yet.
type asking struct {
	to       key
	answered chan Reply // has room for one: the first
}

// end gives a request its outcome, unless it has one.
func (a *asking) end(r Reply) {
	select {
	case a.answered <- r:
	default:
	}
}

// asked identifies a request of another node.
type asked struct {
	from   key
	number uint64
}

// Answer implements [Bus].
func (b *NATS) Answer(kind string, handle func(ctx context.Context, m Message) ([]byte, error)) {
	b.answers[kind] = handle
}

// Request implements [Bus].
func (b *NATS) Request(ctx context.Context, node, kind string, data []byte) ([]byte, error) {
	if len(data) > b.maxData() || len(kind) > maxName {
		return nil, ErrTooLarge
	}
	if err := b.Connected(); err != nil {
		return nil, err
	}
	to, _ := parseKey(node)
	a := &asking{to: to, answered: make(chan Reply, 1)}
	b.mu.Lock()
	p := b.members.peers[to]
	if p == nil || p.node.ID != node {
		b.mu.Unlock()
		return nil, ErrUnknownNode
	}
	b.requests++
	number := b.requests
	b.asking[number] = a
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.asking, number)
	}()

	head := binary.BigEndian.AppendUint64([]byte{isRequest}, number)
	head = binary.BigEndian.AppendUint32(head, timeout(ctx))
	head = append(append(head, byte(len(kind))), kind...)
	if err := b.out.put(nodeSubject+"."+node, head, data); err != nil {
		return nil, err
	}
	select {
	case r := <-a.answered:
		return r.Data, r.Err
	case <-ctx.Done():
		_ = b.out.put(nodeSubject+"."+node, binary.BigEndian.AppendUint64([]byte{isCancel}, number)) // or the other finds out by its own clock
		return nil, ctx.Err()
	}
}

// timeout is when a context ends from now on, in milliseconds; 0: nobody knows.
func timeout(ctx context.Context) uint32 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := min(max(time.Until(deadline), time.Millisecond), 24*time.Hour)
	return uint32(left.Milliseconds())
}

// RequestAll implements [Bus].
func (b *NATS) RequestAll(ctx context.Context, kind string, data []byte) []Reply {
	return requestAll(ctx, b, kind, data)
}

func requestAll(ctx context.Context, b Bus, kind string, data []byte) []Reply {
	nodes := b.Nodes()
	replies := make([]Reply, len(nodes))
	var all sync.WaitGroup
	for i, node := range nodes {
		all.Go(func() {
			answer, err := b.Request(ctx, node.ID, kind, data)
			replies[i] = Reply{Node: node, Data: answer, Err: err}
		})
	}
	all.Wait()
	return replies
}

// takeDirect takes in what came to this node's own subject.
func (b *NATS) takeDirect(e envelope, from string) {
	if len(e.data) < requestHead {
		b.alarm.drop(dropMalformed, 1)
		return
	}
	number, data := binary.BigEndian.Uint64(e.data[1:]), e.data[requestHead:]
	switch e.data[0] {
	case isRequest:
		if len(data) < 5 || len(data) < 5+int(data[4]) {
			b.alarm.drop(dropMalformed, 1)
			return
		}
		left := time.Duration(binary.BigEndian.Uint32(data)) * time.Millisecond
		kind, data := string(data[5:5+int(data[4])]), data[5+int(data[4]):]
		b.answer(asked{e.from, number}, left, kind, Message{From: from, Data: data})
	case isAnswer, isFailure, isBusy:
		b.mu.Lock()
		defer b.mu.Unlock()
		a := b.asking[number]
		if a == nil || a.to != e.from {
			return // nobody waits for it any more
		}
		name := b.members.sender(e.from).nameOr(from)
		switch e.data[0] {
		case isAnswer:
			a.end(Reply{Data: data})
		case isBusy:
			a.end(Reply{Err: fmt.Errorf("node %s: %w", name, ErrBusy)})
		default:
			a.end(Reply{Err: &RemoteError{Node: name, Text: string(data)}})
		}
	case isCancel:
		b.mu.Lock()
		defer b.mu.Unlock()
		if cancel := b.answering[asked{e.from, number}]; cancel != nil {
			cancel()
		}
	default:
		b.alarm.drop(dropMalformed, 1)
	}
}

// nameOr is a peer's name, or what there is instead when it has gone meanwhile.
func (p *peer) nameOr(otherwise string) string {
	if p == nil {
		return otherwise
	}
	return p.node.Name
}

// answer has a request of another node handled, in a goroutine of its own, and answers it.
func (b *NATS) answer(who asked, left time.Duration, kind string, m Message) {
	handle := b.answers[kind]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life.Err() != nil {
		return
	}
	if len(b.answering) >= maxAnswering || b.waiting+len(m.Data)+messageBytes > maxWaiting {
		b.alarm.drop(dropOverflow, 1)
		b.respond(who, isBusy, nil)
		return
	}
	if left <= 0 {
		left = maxAnswer
	}
	ctx, cancel := context.WithTimeout(b.life, left)
	b.answering[who] = cancel
	b.waiting += len(m.Data) + messageBytes
	b.working.Go(func() {
		defer cancel()
		answer, err := []byte(nil), errors.New("this node does not answer requests of the kind "+kind)
		if handle != nil {
			answer, err = handle(ctx, m)
		}
		b.mu.Lock()
		delete(b.answering, who)
		b.waiting -= len(m.Data) + messageBytes
		b.mu.Unlock()
		b.reply(who, answer, err)
	})
}

// reply answers a request; if that is lost, whoever has asked no longer waits in time.
func (b *NATS) reply(who asked, answer []byte, err error) {
	kind := byte(isAnswer)
	if err == nil && len(answer) > b.maxData() {
		err = ErrTooLarge
	}
	if err != nil {
		kind, answer = isFailure, []byte(err.Error())
		answer = answer[:min(len(answer), maxFailure)]
	}
	b.respond(who, kind, answer)
}

// respond has what comes of a request be sent.
func (b *NATS) respond(who asked, kind byte, data []byte) {
	_ = b.out.put(nodeSubject+"."+who.from.String(), binary.BigEndian.AppendUint64([]byte{kind}, who.number), data)
}

// gone ends what waits for nodes that are peers no more, or is done for them. Call it with
// mu held.
func (b *NATS) gone(lost []key) {
	for _, a := range b.asking {
		if slices.Contains(lost, a.to) {
			a.end(Reply{Err: ErrUnknownNode})
		}
	}
	for who, cancel := range b.answering {
		if slices.Contains(lost, who.from) {
			cancel()
		}
	}
}

// forget has nothing of these nodes be remembered: nothing that they have sent counts any
// more. Call it with mu held.
func (b *NATS) forget(lost []key) {
	for _, in := range b.inboxes {
		for _, k := range lost {
			delete(in.last, k)
		}
	}
}
