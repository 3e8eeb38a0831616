package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// request is one with a key, whose body is as given.
func request(key, body string) store.Request {
	return store.Request{Key: key, BodySHA256: sha256.Sum256([]byte(body))}
}

// appendOnce appends, and holds what came of it to what is wanted.
func appendOnce(t *testing.T, log store.Log, r store.Request, drafts []store.Draft, wantCount int, wantAgain bool) {
	t.Helper()
	count, again, err := log.AppendOnce(t.Context(), r, drafts)
	if err != nil || count != wantCount || again != wantAgain {
		t.Errorf("request %.20q: got %d, %t, %v; want %d, %t", r.Key, count, again, err, wantCount, wantAgain)
	}
}

// expectEvents holds the log to have so many events, the last of which is appended now.
func expectEvents(t *testing.T, log store.Log, want int) {
	t.Helper()
	mustAppend(t, log, store.Draft{Topic: "end", Name: "end"})
	events := fetch(t, log, 0, want+1)
	if last := events[want]; last.Topic != "end" {
		t.Errorf("more than %d events: event %d is of topic %s", want, want+1, last.Topic)
	}
}

// testRequestsAppendOnce makes requests again, at the same log and others.
func testRequestsAppendOnce(t *testing.T, h Harness) {
	log, other := openAndRun(t, h), open(t, h, polling)
	long := strings.Repeat("é", store.MaxRequestKeyBytes/2)
	appendOnce(t, log, request("a", "1"), numbered("a", 0, 3), 3, false)
	appendOnce(t, log, request("a", "1"), numbered("a", 0, 3), 3, true)
	appendOnce(t, other, request("a", "1"), numbered("a", 0, 3), 3, true)
	appendOnce(t, other, request("A", "1"), numbered("b", 0, 1), 1, false)
	appendOnce(t, log, request(long, "1"), numbered("b", 1, 1), 1, false)
	appendOnce(t, log, request(long, "1"), nil, 1, true)
	appendOnce(t, log, request(`'"\ %_`, ""), nil, 0, false) // one without events is kept as well
	appendOnce(t, other, request(`'"\ %_`, ""), nil, 0, true)
	for _, log := range []store.Log{log, other} {
		if count, again, err := log.AppendOnce(t.Context(), request("a", "2"), numbered("a", 3, 1)); !errors.Is(err, store.ErrOtherRequest) || count != 0 || again {
			t.Errorf("another body: %d, %t, %v", count, again, err)
		}
	}
	appendOnce(t, open(t, h, polling), request("a", "1"), numbered("a", 0, 3), 3, true)
	expectEvents(t, log, 5)
}

// testRequestsThatFailAreNotKept makes requests that are refused, and then others with
// their keys.
func testRequestsThatFailAreNotKept(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	bad := append(numbered("a", 0, 2), store.Draft{Topic: "a", Name: "phx_join"})
	invalid := new(store.InvalidError)
	if _, _, err := log.AppendOnce(t.Context(), request("a", "bad"), bad); !errors.As(err, &invalid) || invalid.Index != 2 {
		t.Errorf("an invalid event: %v", err)
	}
	appendOnce(t, log, request("a", "good"), numbered("a", 0, 2), 2, false)
	for name, key := range map[string]string{
		"empty": "", "long": strings.Repeat("k", store.MaxRequestKeyBytes+1), "no UTF-8": "\xff", "with a control character": "a\nb",
	} {
		if _, _, err := log.AppendOnce(t.Context(), request(key, "good"), numbered("a", 0, 1)); err == nil {
			t.Errorf("a key that is %s is taken", name)
		}
	}
	expectEvents(t, log, 2)
}

// testRequestsAreKeptForADay has a request grow old: then its key is as good as new, and
// what is not asked for again is removed.
func testRequestsAreKeptForADay(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	appendOnce(t, log, request("again", "1"), numbered("a", 0, 1), 1, false)
	appendOnce(t, log, request("left", "1"), numbered("a", 1, 1), 1, false)
	mustExec(t, h, `UPDATE sluice_requests SET at = `+h.LongAgo)
	late := open(t, h, polling) // which has not removed any yet
	appendOnce(t, late, request("again", "2"), numbered("a", 2, 2), 2, false)
	appendOnce(t, log, request("again", "2"), nil, 2, true)
	if _, _, err := log.AppendOnce(t.Context(), request("again", "1"), nil); !errors.Is(err, store.ErrOtherRequest) {
		t.Errorf("what was kept before: %v", err)
	}
	var left int
	if err := h.DB.QueryRowContext(t.Context(), `SELECT count(*) FROM sluice_requests WHERE key = 'left'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d of what is kept no longer is there still, %v", left, err)
	}
	expectEvents(t, log, 4)
}

// testRequestsAreRaced makes the same requests at several logs at once, in different
// orders and among others: each is appended by one of them.
func testRequestsAreRaced(t *testing.T, h Harness) {
	const keys, callers = 12, 6
	logs := []store.Log{openAndRun(t, h), open(t, h, polling), open(t, h, polling)}
	appendOnce(t, logs[0], request("taken", "1"), nil, 0, false)
	var fresh [keys]atomic.Int64
	var all sync.WaitGroup
	for caller := range callers {
		log := logs[caller%len(logs)]
		for i := range keys {
			all.Go(func() {
				key := (i*(caller*2+1) + caller) % keys
				count, again, err := log.AppendOnce(t.Context(), request(fmt.Sprint(key), fmt.Sprint(key)), numbered(fmt.Sprintf("of:%d", key), 0, key))
				if err != nil || count != key {
					t.Errorf("request %d: %d, %v", key, count, err)
				}
				if !again {
					fresh[key].Add(1)
				}
			})
			all.Go(func() {
				if i%3 == 0 { // what fails alone harms no other that shares its commit
					if _, _, err := log.AppendOnce(t.Context(), request("taken", "other"), numbered("other", 0, 1)); !errors.Is(err, store.ErrOtherRequest) {
						t.Errorf("another body: %v", err)
					}
					return
				}
				if err := log.Append(t.Context(), numbered("plain", 0, 1)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	want := callers * (keys - keys/3)
	for key := range fresh {
		if n := fresh[key].Load(); n != 1 {
			t.Errorf("request %d was appended %d times", key, n)
		}
		want += key
	}
	expectEvents(t, logs[0], want)
}

// testRequestsOutliveTheirCallers has callers leave at any moment, and make their requests
// again: whether or not the first was appended, one is.
func testRequestsOutliveTheirCallers(t *testing.T, h Harness) {
	const requests = 60
	logs := []store.Log{openAndRun(t, h), open(t, h, polling)}
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			r := request(fmt.Sprint(i), "body")
			ctx, leave := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond) // at any moment
			if _, _, err := logs[0].AppendOnce(ctx, r, numbered("a", i, 1)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			leave()
			if count, _, err := logs[i%2].AppendOnce(t.Context(), r, numbered("a", i, 1)); err != nil || count != 1 {
				t.Errorf("request %d, again: %d, %v", i, count, err)
			}
		})
	}
	all.Wait()
	expectEvents(t, logs[0], requests)
}
