package sluice_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// streamEvent is what a stream of server-sent events says.
type streamEvent struct {
	id, name string
	Topic    string
	Offset   int64
	Resumed  bool
}

// readStream opens a stream and hands on its events until it is told to stop: then the connection is
// cut.
func readStream(t *testing.T, transport *http.Transport, url, lastID string, each func(streamEvent) (more bool)) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return response
	}
	var e streamEvent
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
		case "":
			if e.Topic != "" && !each(e) {
				return response
			}
			e = streamEvent{}
		}
	}
	return response
}

// TestStreamIsWhole has a client lose its connection at every event, of a topic of which
// much is in the log and one that gets on while it reads: it gets all of both, once each and in
// order, wherever the other is.
func TestStreamIsWhole(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluice.Config) {}))
	const events = 30
	publish := func(topic string, count int) {
		t.Helper()
		if status, body := n.Request("POST", n.Admin, "/api/events", map[string]string{"Content-Type": "application/x-ndjson"},
			strings.Repeat(fmt.Sprintf(`{"topic":%q,"event":"created","payload":{"n":1}}`+"\n", topic), count)); status != 202 {
			t.Fatalf("publish: %d %s", status, body)
		}
	}
	publish("ahead", events) // offsets 1 to 30
	publish("behind", events)
	epoch := n.Stats().Epoch
	transport := &http.Transport{DisableKeepAlives: true}
	query := "http://" + n.Public + "/socket/sse?topic=ahead&topic=behind&after=0&epoch=" + url.QueryEscape(fmt.Sprint(epoch))
	at := map[string]int64{"ahead": 0, "behind": events}
	left := map[string]int{"ahead": events, "behind": events}
	lastID, began := "", 0
	for left["ahead"] > 0 || left["behind"] > 0 {
		readStream(t, transport, query, lastID, func(e streamEvent) bool {
			switch {
			case e.name == "sluice" && !e.Resumed:
				t.Fatalf("%+v is not resumed after %q", e, lastID)
			case e.name == "sluice":
				began++
				return true
			case e.Offset != at[e.Topic]+1:
				t.Fatalf("%+v comes after %d", e, at[e.Topic])
			}
			at[e.Topic] = e.Offset
			left[e.Topic]--
			lastID = e.id
			return false
		})
	}
	if began != 2*2*events {
		t.Errorf("%d topics have begun", began)
	}
	// And what comes while it reads.
	publish("ahead", 1)
	readStream(t, transport, query, lastID, func(e streamEvent) bool {
		if e.name == "" && e.Offset != 2*events+1 {
			t.Errorf("%+v", e)
		}
		return e.name != ""
	})
	// From the last events of each on, where it has been nowhere.
	var lasts []string
	readStream(t, transport, "http://"+n.Public+"/socket/sse?topic=ahead&last=2", "", func(e streamEvent) bool {
		lasts = append(lasts, fmt.Sprint(e.Offset, e.name))
		return len(lasts) < 3
	})
	if got, want := strings.Join(lasts, ", "), fmt.Sprintf("%dsluice, %d, %d", events-1, events, 2*events+1); got != want {
		t.Errorf("the last two: %s, want %s", got, want)
	}
	// Of another log than the one that the id is of, and with a topic that it does not know.
	readStream(t, transport, query, "another:3", func(e streamEvent) bool {
		if e.Resumed || e.Offset != 2*events+1 {
			t.Errorf("%+v", e)
		}
		return e.Topic == "ahead"
	})
}

// TestStreamsShareAConnection has streams be read over TLS: more than browsers open
// connections.
func TestStreamsShareAConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, cert, key, 1)
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.TLSCert, c.TLSKey = cert, key }))
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	base := "https://" + n.Public + "/socket/sse?topic=a"
	var within func(depth int)
	within = func(depth int) {
		response := readStream(t, transport, base, "", func(e streamEvent) bool {
			if depth > 1 {
				within(depth - 1)
			} else if sockets := n.Stats(); sockets.Position != 0 {
				t.Errorf("%+v", sockets)
			}
			return false
		})
		if response.ProtoMajor != 2 || response.StatusCode != 200 {
			t.Errorf("%s %s", response.Proto, response.Status)
		}
	}
	within(8)
}
