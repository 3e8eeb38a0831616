package admin_test

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/store"
)

// A request that is made again with its key is answered as it was, and appends nothing.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	const one, two = `{"topic":"t","event":"e","payload":{"n":1}}`, `{"topics":["t","u"],"event":"e","payload":{"n":2}}`
	appended := 0
	for _, step := range []struct {
		name, key, kind, body string
		status                int
		answer                string
		appends               int // to topic t
	}{
		{"first", "k", "", one, 202, `{"count":1}`, 1},
		{"again", "k", "", one, 202, `{"count":1}`, 0},
		{"as lines", "k", "application/x-ndjson", one, 202, `{"count":1}`, 0},
		{"another body", "k", "", two, 422, "another body", 0},
		{"another body by a blank", "k", "", one + " ", 422, "another body", 0},
		{"another key", "K", "", one, 202, `{"count":1}`, 1},
		{"many topics", "two", "", two, 202, `{"count":2}`, 1},
		{"many topics, again", "two", "", two, 202, `{"count":2}`, 0},
		{"lines", "lines", "application/x-ndjson", one + "\n" + two, 202, `{"count":3}`, 2},
		{"lines, again", "lines", "application/x-ndjson", one + "\n" + two, 202, `{"count":3}`, 0},
		{"nothing", "none", "application/x-ndjson", "", 202, `{"count":0}`, 0},
		{"something where it was nothing", "none", "application/x-ndjson", one, 422, "another body", 0},
		{"what is refused", "bad", "", strings.ReplaceAll(one, `"e"`, `"phx_e"`), 400, "event", 0},
		{"what was refused, mended", "bad", "", one, 202, `{"count":1}`, 1},
		{"as long as a key may be", strings.Repeat("k", store.MaxRequestKeyBytes), "", one, 202, `{"count":1}`, 1},
		{"longer", strings.Repeat("k", store.MaxRequestKeyBytes+1), "", one, 400, "256 bytes", 0},
		{"empty", "", "", one, 400, "0 bytes", 0},
		{"no UTF-8", "k\xff", "", one, 400, "UTF-8", 0},
	} {
		header := map[string]string{"Idempotency-Key": step.key}
		if step.kind != "" {
			header["Content-Type"] = step.kind
		}
		status, answer := n.Request("POST", n.Admin, "/api/events", header, step.body)
		if status != step.status || !strings.Contains(answer, step.answer) {
			t.Errorf("%s: answered %d %s, want %d %s", step.name, status, answer, step.status, step.answer)
		}
		appended += step.appends
	}
	for range 2 { // without a key each counts
		n.Request("POST", n.Admin, "/api/events", nil, one)
	}
	n.Request("POST", n.Admin, "/api/events", nil, `{"topic":"t","event":"end"}`)
	c := n.Connect("/socket", "")
	c.Send(`["1","1","t","phx_join",{"after":0}]`)
	if answer := c.Next(); !strings.Contains(answer, `"resumed":true`) {
		t.Fatal(answer)
	}
	got := 0
	for !strings.Contains(c.Next(), `"end"`) {
		got++
	}
	if want := appended + 2; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
}
