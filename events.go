package sluice

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// postEvents appends the events of the body to the log: all of them or none.
func (s *Service) postEvents(w http.ResponseWriter, r *http.Request) {
	drafts, ok := s.readDrafts(w, r)
	if !ok {
		return
	}
	log := s.stream.Log()
	if log == nil {
		refuse(w, http.StatusServiceUnavailable, s.readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	err := log.Append(r.Context(), drafts)
	invalid := new(store.InvalidError)
	switch {
	case err == nil:
		s.audit(r, "append", len(drafts))
		answer(w, http.StatusAccepted, map[string]int{"count": len(drafts)})
	case errors.As(err, &invalid):
		refuse(w, http.StatusBadRequest, err.Error(), "nothing was written")
	case store.RetrySafe(err):
		refuse(w, http.StatusServiceUnavailable, err.Error(), "nothing was written; try again")
	default:
		s.logger.Error("append failed", "events", len(drafts), "error", err)
		s.audit(r, "append", len(drafts), "outcome", "unknown")
		refuse(w, http.StatusInternalServerError, err.Error(), "the events may or may not have been written")
	}
}

// postBroadcast sends the events of the body to whoever is joined now. Those of
// one topic travel together, as they do from the log.
func (s *Service) postBroadcast(w http.ResponseWriter, r *http.Request) {
	drafts, ok := s.readDrafts(w, r)
	if !ok {
		return
	}
	events := make([]store.Event, len(drafts))
	for i, draft := range drafts {
		events[i] = store.Event{Topic: draft.Topic, Name: draft.Name, Key: draft.Key, Payload: draft.Payload}
	}
	encoder := s.encoders.Get().(*stages.Encoder)
	segments, _ := encoder.Encode(r.Context(), events) // what cannot be encoded is logged, counted and left out
	if len(events) <= s.config.BatchSize {             // its scratch memory would stay as large
		s.encoders.Put(encoder) // not deferred: after a panic nobody uses it again
	}
	for _, segment := range segments {
		s.hub.Route(segment)
	}
	s.audit(r, "broadcast", len(drafts))
	answer(w, http.StatusAccepted, map[string]int{"count": len(drafts)})
}

// readDrafts reads a request's events, or answers what is wrong with them.
func (s *Service) readDrafts(w http.ResponseWriter, r *http.Request) ([]store.Draft, bool) {
	body := http.MaxBytesReader(w, r.Body, int64(s.config.MaxBodyBytes))
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/json"
	}
	var drafts []store.Draft
	text, err := readBody(body, r.ContentLength)
	switch {
	case err != nil:
	case kind == "application/x-ndjson":
		drafts, err = parseLines(text, s.payload.Bytes())
	default:
		drafts, err = parseOne(text, s.payload.Bytes())
	}
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %v", s.config.MaxBodyBytes),
			"send it in parts, or raise --max-body-bytes")
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error(),
			`an event is {"topic":"…","event":"…","payload":{…}}, with "key" if it has one; nothing was done`)
	}
	return drafts, err == nil
}
