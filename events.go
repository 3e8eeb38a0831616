package sluice

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/store"
)

// postEvents appends the events of the body to the log: all of them or none.
func (s *Service) postEvents(w http.ResponseWriter, r *http.Request) {
	drafts, ok := s.readDrafts(w, r)
	if !ok {
		return
	}
	stream := s.stream.Load()
	if stream == nil {
		refuse(w, http.StatusServiceUnavailable, s.health.reason().Error(), "try again when /readyz answers 200")
		return
	}
	err := stream.log.Append(r.Context(), drafts)
	invalid := new(store.InvalidError)
	switch {
	case err == nil:
		answer(w, http.StatusAccepted, map[string]int{"count": len(drafts)})
	case errors.As(err, &invalid):
		refuse(w, http.StatusBadRequest, err.Error(), "nothing was written")
	case store.RetrySafe(err):
		refuse(w, http.StatusServiceUnavailable, err.Error(), "nothing was written; try again")
	default:
		s.logger.Error("append failed", "events", len(drafts), "error", err)
		refuse(w, http.StatusInternalServerError, err.Error(), "the events may or may not have been written")
	}
}

// postBroadcast sends the events of the body to whoever is joined now.
func (s *Service) postBroadcast(w http.ResponseWriter, r *http.Request) {
	drafts, ok := s.readDrafts(w, r)
	if !ok {
		return
	}
	for i := range drafts {
		if err := s.pubsub.Broadcast(&channels.Message{
			Topic:   drafts[i].Topic,
			Event:   drafts[i].Name,
			Key:     drafts[i].Key,
			Payload: drafts[i].Payload,
		}, nil); err != nil {
			s.logger.Error("broadcast failed", "error", err)
			refuse(w, http.StatusInternalServerError, err.Error(), "the events before this one were sent")
			return
		}
	}
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
	if kind == "application/x-ndjson" {
		drafts, err = parseLines(body)
	} else {
		drafts, err = parseOne(body)
	}
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %v", s.config.MaxBodyBytes),
			"send it in parts, or raise --max-body-bytes")
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error(),
			`an event is {"topic":"…","event":"…","payload":{…}}, with "key" if it has one; nothing was written`)
	}
	return drafts, err == nil
}

// parseLines reads JSON lines; empty ones are passed over.
func parseLines(body io.Reader) ([]store.Draft, error) {
	var drafts []store.Draft
	lines := bufio.NewReader(body)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			draft, invalid := parseDraft(line)
			if invalid != nil {
				return nil, fmt.Errorf("line %d: %w", number, invalid)
			}
			drafts = append(drafts, draft)
		}
		if err == io.EOF {
			return drafts, nil
		}
	}
}

func parseOne(body io.Reader) ([]store.Draft, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	draft, err := parseDraft(text)
	if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:syntax.Offset], []byte("\n")), err)
	}
	if err != nil {
		return nil, err
	}
	return []store.Draft{draft}, nil
}

// parseDraft reads one event as the API writes it.
func parseDraft(text []byte) (store.Draft, error) {
	var event struct {
		Topic   string          `json:"topic"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
		Key     *string         `json:"key"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&event); err != nil {
		return store.Draft{}, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return store.Draft{}, errors.New("there is more after the event; send many as application/x-ndjson, one a line")
	}
	if event.Payload == nil {
		event.Payload = json.RawMessage("{}")
	}
	draft := store.Draft{Topic: event.Topic, Name: event.Event, Payload: event.Payload}
	if event.Key != nil {
		draft.Key = []byte(*event.Key)
	}
	if err := draft.Validate(); err != nil {
		invalid := new(store.InvalidError)
		if errors.As(err, &invalid) {
			return store.Draft{}, fmt.Errorf("%s %s", invalid.Field, invalid.Reason)
		}
		return store.Draft{}, err
	}
	return draft, nil
}
