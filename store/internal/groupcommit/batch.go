package groupcommit

import "github.com/sluicehq/sluice/store"

// Batch is what one transaction writes.
type Batch struct {
	Drafts   []store.Draft
	Requests []Request // in the order of their drafts; no key is there twice
}

// Request is a part of a batch that is written unless it is known.
type Request struct {
	store.Request
	First, Count int // its drafts: Batch.Drafts[First:First+Count]

	// Set by a Write that returns nil, where the request is known: as it was kept, or why
	// that cannot be told.
	Known *Known
}

// Known is a request as it was kept.
type Known struct {
	BodySHA256 [32]byte
	Count      int
	Err        error // it is not known which
}

func newBatch(calls []*call) *Batch {
	b := &Batch{Drafts: calls[0].drafts}
	if len(calls) > 1 {
		b.Drafts = nil
	}
	at := 0
	for _, c := range calls {
		if c.request != nil {
			b.Requests = append(b.Requests, Request{Request: *c.request, First: at, Count: len(c.drafts)})
		}
		at += len(c.drafts)
		if len(calls) > 1 {
			b.Drafts = append(b.Drafts, c.drafts...)
		}
	}
	return b
}

// Fresh returns the drafts but for those of requests that are known.
func (b *Batch) Fresh() []store.Draft {
	var fresh []store.Draft
	from := 0
	for i := range b.Requests {
		if r := &b.Requests[i]; r.Known != nil {
			fresh = append(fresh, b.Drafts[from:r.First]...)
			from = r.First + r.Count
		}
	}
	if from == 0 {
		return b.Drafts
	}
	return append(fresh, b.Drafts[from:]...)
}

func (r *Request) outcome() outcome {
	switch {
	case r.Known == nil:
		return outcome{count: r.Count}
	case r.Known.Err != nil:
		return outcome{err: r.Known.Err}
	case r.Known.BodySHA256 != r.BodySHA256:
		return outcome{err: store.ErrOtherRequest}
	}
	return outcome{count: r.Known.Count, again: true}
}
