package sluice_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// webhookReceiver is a backend that webhooks are sent to.
type webhookReceiver struct {
	server *httptest.Server

	mu       sync.Mutex
	status   int
	received []string // topic and offset of each event that was accepted
	refused  int
}

func newWebhookReceiver(t *testing.T) *webhookReceiver {
	t.Helper()
	r := &webhookReceiver{status: http.StatusNoContent}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var said struct {
			Events []struct {
				Topic  string
				Offset int64
			}
		}
		if err == nil {
			err = json.Unmarshal(body, &said)
		}
		if err != nil || request.Header.Get("Webhook-Signature") == "" {
			t.Errorf("%v of %s", err, body)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		switch r.status {
		case http.StatusNoContent:
			for _, e := range said.Events {
				r.received = append(r.received, fmt.Sprint(e.Topic, " ", e.Offset))
			}
		case http.StatusFound:
			w.Header().Set("Location", "/elsewhere")
			fallthrough
		default:
			r.refused++
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *webhookReceiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.refused = status, 0
}

// has tells whether all of these were accepted, in order, once each.
func (r *webhookReceiver) has(want ...string) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Equal(r.received, want)
	}
}

func (r *webhookReceiver) wasRefused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused > 0
}

// TestWebhooks sends what matches, says how it does, is reloaded, refused, disabled and
// enabled, and goes on from its position in the next run.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	first, second, dir := newWebhookReceiver(t), newWebhookReceiver(t), t.TempDir()
	secret := put(t, filepath.Join(t.TempDir(), "secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	hook := sluice.Webhook{Name: "mail", URL: first.server.URL, Match: "orders:*", SecretFile: secret}
	var service *sluice.Service
	run := func(hooks ...sluice.Webhook) *sluicetest.Node {
		return sluicetest.Run(t, sluicetest.WithService(func(c *sluice.Config) { c.DataDir, c.Webhooks = dir, hooks }, func(s *sluice.Service) error {
			service = s
			return nil
		}))
	}
	n := run(hook)
	publish := func(topics ...string) {
		t.Helper()
		for _, topic := range topics {
			if err := service.Publish(t.Context(), sluice.Event{Topic: topic, Event: "e", Payload: map[string]any{}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stats := func(want string) func() bool {
		return func() bool { _, body := n.Ask("GET", "/api/stats"); return strings.Contains(body, want) }
	}
	publish("orders:eu", "users:7", "orders:us")
	n.Eventually("sent", first.has("orders:eu 1", "orders:us 3"))
	n.Eventually("told", stats(`"webhooks":[{"name":"mail","state":"sending","offset":3,"lag":0}]`))
	if _, body := n.Ask("GET", "/metrics"); !strings.Contains(body, `sluice_webhook_events_total{consumer="mail",node=`) {
		t.Error("the metrics do not tell of it")
	}

	first.answer(http.StatusFound)
	publish("orders:eu")
	n.Eventually("refused", first.wasRefused)
	n.Eventually("told", stats("redirects are not followed"))
	wrong := hook
	wrong.SecretFile = secret + "x"
	if err := service.ReloadWith(nil, sluice.Hooks{}, []sluice.Webhook{wrong}); err == nil || !strings.Contains(err.Error(), "Webhooks[0].SecretFile") {
		t.Errorf("reloaded with no secret: %v", err)
	}
	hook.URL = second.server.URL
	if err := service.ReloadWith(nil, sluice.Hooks{}, []sluice.Webhook{hook}); err != nil {
		t.Fatal(err)
	}
	n.Eventually("sent elsewhere", second.has("orders:eu 4"))

	second.answer(http.StatusGone)
	publish("orders:eu")
	n.Eventually("disabled", stats(`"state":"disabled"`))
	second.answer(http.StatusNoContent)
	for _, want := range []string{`{"enabled":1}`, `{"enabled":0}`} {
		if status, body := n.Request("POST", n.Admin, "/api/consumers/mail/enable", nil, ""); status != 200 || strings.TrimSpace(body) != want {
			t.Errorf("enabled: %d %s", status, body)
		}
	}
	n.Eventually("sent again", second.has("orders:eu 4", "orders:eu 5"))
	n.Stop()

	n = run(hook)
	publish("orders:eu")
	n.Eventually("sent in the next run", second.has("orders:eu 4", "orders:eu 5", "orders:eu 6"))
}
