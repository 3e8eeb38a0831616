package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// sized returns a JSON object of so many bytes, which can be packed, or not.
func sized(size int, packable bool) []byte {
	letters := bytes.Repeat([]byte("x"), size-len(`{"a":""}`))
	if !packable {
		random := rand.New(rand.NewPCG(1, uint64(size)))
		for i := range letters {
			letters[i] = ' ' + 3 + byte(random.IntN(50)) // neither " nor \
		}
	}
	return fmt.Appendf(nil, `{"a":"%s"}`, letters)
}

// bounds are taken in turn: where rows of that size are stored in a row, and where
// they are not.
var bounds = []int64{1 << 10, 10_000}

// huge is more than the rows of a transaction may have together.
const huge = 9 << 20

// testPayloadsAreBounded appends and inserts payloads about the bound, and far above.
func testPayloadsAreBounded(t *testing.T, h Harness) {
	var after int64
	for _, bound := range bounds {
		settings := polling
		settings.MaxPayload = bound
		log := open(t, h, settings)
		stop := run(t, log)
		limit := int(bound)
		for _, packable := range []bool{true, false} {
			for size, valid := range map[int]bool{limit - 1: true, limit: true, limit + 1: false, 3 * limit: false} {
				d := store.Draft{Topic: "t", Name: "appended", Payload: sized(size, packable)}
				err := log.Append(t.Context(), []store.Draft{draft("t", "e", `{}`), d, d})
				if valid {
					if err != nil {
						t.Fatalf("%d bytes of %d: %v", size, bound, err)
					}
					fetch(t, log, after, 3)
					after += 3
					continue
				}
				invalid := new(store.InvalidError)
				if !errors.As(err, &invalid) || invalid.Index != 1 || invalid.Field != "payload" ||
					!strings.Contains(invalid.Reason, fmt.Sprint(size)) || !strings.Contains(invalid.Reason, fmt.Sprint(bound)) {
					t.Errorf("%d bytes of %d: %v", size, bound, err)
				}
			}
		}
		after = expectSetAside(t, h, log, after, limit)
		if _, _, _, err := log.Erase(t.Context(), store.Selection{Topic: "t1"}); err != nil {
			t.Fatal(err)
		}
		var kept string
		if err := h.DB.QueryRowContext(t.Context(), `SELECT min(topic) || max(topic) FROM sluice_rejected WHERE CAST(payload AS TEXT) <> '{}'`).Scan(&kept); err != nil || kept != "t0t2" {
			t.Errorf("set aside and not erased are %q, %v", kept, err)
		}
		stop()
	}
}

// expectSetAside inserts rows about a bound among others, of several topics, and
// expects all of them in order, but those above the bound, which are set aside whole.
func expectSetAside(t *testing.T, h Harness, log store.Log, after int64, limit int) int64 {
	t.Helper()
	mustExec(t, h, `DELETE FROM sluice_rejected`)
	var good, bad []store.Draft
	tx, err := h.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for i, size := range []int{10, limit, limit + 1, limit - 1, 10, 2 * limit, 100 * limit, limit - 4, limit + 4, limit + 5, 10, huge, limit} {
		for _, packable := range []bool{true, false} {
			if size == huge && (packable || int64(limit) != bounds[0]) {
				continue // it would be stored as less, or takes long once more
			}
			d := store.Draft{Topic: fmt.Sprint("t", i%3), Name: fmt.Sprint("e", i), Payload: sized(size, packable)}
			if err := insert(t.Context(), tx, d); err != nil {
				t.Fatal(err)
			}
			if size > limit {
				bad = append(bad, d)
			} else {
				good = append(good, d)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for i, e := range fetch(t, log, after, len(good)) {
		if e.Topic != good[i].Topic || e.Name != good[i].Name || !bytes.Equal(e.Payload, good[i].Payload) {
			t.Errorf("offset %d has event %s of %d bytes, want %s of %d", e.Offset, e.Name, len(e.Payload), good[i].Name, len(good[i].Payload))
		}
	}
	after += int64(len(good))
	for waiting := true; waiting; {
		if err := h.DB.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT 1 FROM sluice_outbox)`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting {
			<-time.After(polling.Poll)
		}
	}
	rows, err := h.DB.QueryContext(t.Context(), `SELECT topic, event, CAST(payload AS TEXT), reason FROM sluice_rejected ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var topic, event, payload, reason string
		if err := rows.Scan(&topic, &event, &payload, &reason); err != nil {
			t.Fatal(err)
		}
		if len(bad) == 0 {
			t.Fatalf("event %s of %d bytes was set aside too: %s", event, len(payload), reason)
		}
		if topic != bad[0].Topic || event != bad[0].Name || payload != string(bad[0].Payload) || !strings.Contains(reason, "--max-payload-bytes") {
			t.Errorf("event %s of %d bytes was set aside, want %s of %d: %s", event, len(payload), bad[0].Name, len(bad[0].Payload), reason)
		}
		bad = bad[1:]
	}
	if err := rows.Err(); err != nil || len(bad) > 0 {
		t.Errorf("%d rows are not set aside, %v", len(bad), err)
	}
	return after
}

// testBoundIsTheLogs opens a log with several bounds: what is given last counts for
// all who have it open, and is kept.
func testBoundIsTheLogs(t *testing.T, h Harness) {
	head := func(log store.Log) int64 {
		t.Helper()
		head, err := log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if extent, err := log.Extent(t.Context()); err != nil || extent.MaxPayload != head.MaxPayload {
			t.Errorf("the extent says %d, the head %d, %v", extent.MaxPayload, head.MaxPayload, err)
		}
		return head.MaxPayload
	}
	var logs []store.Log
	d := store.Draft{Topic: "t", Name: "e", Payload: sized(store.DefaultMaxPayload+1, true)}
	for _, step := range []struct{ given, want int64 }{
		{0, store.DefaultMaxPayload}, {2000, 2000}, {0, 2000}, {2 << 20, 2 << 20}, {0, 2 << 20}, {store.DefaultMaxPayload, store.DefaultMaxPayload},
	} {
		settings := neverPolling
		settings.MaxPayload = step.given
		logs = append(logs, open(t, h, settings))
		for i, log := range logs {
			if got := head(log); got != step.want {
				t.Errorf("log %d says %d after %d was given, want %d", i, got, step.given, step.want)
			}
			invalid := new(store.InvalidError)
			if err := log.Append(t.Context(), []store.Draft{d}); errors.As(err, &invalid) != (step.want <= store.DefaultMaxPayload) {
				t.Errorf("log %d, with a bound of %d: %v", i, step.want, err)
			}
		}
	}
	settings := neverPolling
	settings.MaxPayload = -1
	if _, err := h.Open(t.Context(), settings); err == nil {
		t.Error("a bound below 0 is taken")
	}
}
