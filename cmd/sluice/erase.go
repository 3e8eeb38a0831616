package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// eraseCmd empties payloads that have to be forgotten.
type eraseCmd struct {
	Topic  string  `arg:"" help:"Topic, such as orders:eu."`
	Before string  `placeholder:"WHEN" help:"Only events with an offset below this one, or inserted before this time, such as 2026-01-31T00:00:00Z; none: all that are kept."`
	Key    *string `placeholder:"KEY" help:"Only events with this key; none: with any, and without."`

	AdminURL       string `placeholder:"URL" help:"Admin listener of the service."`
	AdminTokenFile string `placeholder:"FILE" help:"File with the bearer token of the admin listener."`
}

// Help says more than the one line of the summary.
func (c *eraseCmd) Help() string {
	return `The payloads become {}; offsets, names and keys stay, so that nobody who resumes misses one. Every node forgets them in its memory too, within seconds. What has been sent, or is queued for a client, is out of reach, as are backups; PostgreSQL overwrites what it has deleted when it vacuums.`
}

// Examples implements exemplary.
func (c *eraseCmd) Examples() string {
	return `sluice erase user:7
sluice erase --key 7 orders:eu
sluice erase --before 2026-01-31T00:00:00Z orders:eu`
}

// Run is called by kong.
func (c *eraseCmd) Run(ctx context.Context, p process) error {
	request := struct {
		Topic  string  `json:"topic"`
		Before any     `json:"before,omitempty"`
		Key    *string `json:"key,omitempty"`
		After  int64   `json:"after,omitempty"`
	}{Topic: c.Topic, Key: c.Key}
	if c.Topic == "" {
		return &usageError{"<topic>", "", "a topic, such as orders:eu"}
	}
	var err error
	if request.Before, err = before(c.Before); err != nil {
		return err
	}
	api, err := newAdminClient(c.AdminURL, c.AdminTokenFile)
	if err != nil {
		return err
	}
	defer api.close()
	var count int64
	for more := true; more; {
		body, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		answer, err := api.ask(ctx, "/api/erase", "application/json", body)
		var said struct {
			Count   int64 `json:"count"`
			Through int64 `json:"through"`
			More    bool  `json:"more"`
		}
		if err == nil && (json.Unmarshal(answer, &said) != nil || said.More && said.Through <= request.After) {
			err = errors.New("an answer that is none: is that the admin listener of sluice?")
		}
		if err != nil {
			return fmt.Errorf("%w (erased before: %s; ask again for the rest)", err, events(int(count)))
		}
		count, request.After, more = count+said.Count, said.Through, said.More
	}
	_, err = fmt.Fprintf(p.stdout, "erased %s of %s\n", events(int(count)), c.Topic)
	return err
}

// before reads an offset or a time; nil if none is given.
func before(text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	if offset, err := strconv.ParseInt(text, 10, 64); err == nil && offset > 0 {
		return offset, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() {
		return nil, &usageError{"--before", text, "an offset from 1, or a time such as 2026-01-31T00:00:00Z"}
	}
	return at, nil
}
