package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

func revoke(t *testing.T, log store.Log, r store.Revocation) store.Revocation {
	t.Helper()
	is, err := log.Revoke(t.Context(), r)
	if err != nil {
		t.Fatalf("revoke %+v: %v", r, err)
	}
	return is
}

func revocations(t *testing.T, log store.Log, after int64) []store.Revocation {
	t.Helper()
	list, err := log.Revocations(t.Context(), after, store.MaxRevocations)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// testRevocationsAreTold has one process learn what another has revoked, with what is
// not said filled in, and keeps it over a restart.
func testRevocationsAreTold(t *testing.T, h Harness) {
	log, other := open(t, h, polling), open(t, h, polling)
	if list := revocations(t, other, 0); len(list) != 0 {
		t.Fatalf("a new store has %+v", list)
	}
	before := time.Now().Add(-time.Minute) // the store's clock may be another, by less than that
	sub := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "7"})
	id := revoke(t, log, store.Revocation{Kind: store.ClaimTokenID, Value: "7"})
	after := time.Now().Add(time.Minute)
	for _, r := range []store.Revocation{sub, id} {
		ends := r.Until.Add(-store.DefaultRevocation)
		if ends.Before(before) || ends.After(after) {
			t.Errorf("%s: by default it ends at %v", r.Kind, r.Until)
		}
	}
	if !sub.IssuedBefore.Equal(sub.Until.Add(-store.DefaultRevocation)) || !id.IssuedBefore.Equal(id.Until) || sub.Number <= 0 || id.Number <= sub.Number {
		t.Errorf("by default a subject's tokens are revoked as %+v, one as %+v", sub, id)
	}
	odd := store.Revocation{Kind: store.ClaimSubject, Value: strings.Repeat("ß'\"\\%_ \n\t", 100), IssuedBefore: time.Unix(1000, 123456789), Until: sub.Until.Add(time.Hour + time.Nanosecond)}
	odd = revoke(t, log, odd)
	if odd.IssuedBefore != time.Unix(1000, 123456000).UTC() || odd.Until != sub.Until.Add(time.Hour) {
		t.Errorf("in microseconds it is %+v", odd)
	}
	all := []store.Revocation{sub, id, odd}
	for name, log := range map[string]store.Log{"its own": log, "another": other, "a later": open(t, h, polling)} {
		for i := range all {
			if list := revocations(t, log, append([]store.Revocation{{}}, all...)[i].Number); !slices.Equal(list, all[i:]) {
				t.Errorf("%s process sees %+v, want %+v", name, list, all[i:])
			}
		}
		if list, err := log.Revocations(t.Context(), 0, 2); err != nil || !slices.Equal(list, all[:2]) {
			t.Errorf("%s process sees as the first two %+v, %v", name, list, err)
		}
		if list := revocations(t, log, odd.Number); len(list) != 0 {
			t.Errorf("%s process sees %+v after the last", name, list)
		}
	}
}

// testRevocationsAreNeverWeakened revokes what is revoked already.
func testRevocationsAreNeverWeakened(t *testing.T, h Harness) {
	log := open(t, h, polling)
	now := time.Now().UTC().Truncate(time.Second)
	at := func(hours int) time.Time { return now.Add(time.Duration(hours) * time.Hour) }
	last := int64(0)
	for _, step := range []struct {
		before, until         int
		wantBefore, wantUntil int
	}{
		{0, 10, 0, 10},
		{0, 10, 0, 10}, // again
		{-5, 10, 0, 10},
		{-5, 20, 0, 20},
		{2, 5, 2, 20},
		{3, 30, 3, 30},
		{-1, 1, 3, 30},
	} {
		r := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "7", IssuedBefore: at(step.before), Until: at(step.until)})
		if r.IssuedBefore != at(step.wantBefore) || r.Until != at(step.wantUntil) || r.Number <= last {
			t.Errorf("%+v: it is %+v, after number %d", step, r, last)
		}
		if list := revocations(t, log, last); !slices.Equal(list, []store.Revocation{r}) {
			t.Errorf("%+v: there are %+v, want %+v", step, list, r)
		}
		last = r.Number
	}
}

// testRevocationsEnd has one end, which is removed with the next.
func testRevocationsEnd(t *testing.T, h Harness) {
	log := open(t, h, polling)
	kept := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "kept"})
	now := kept.IssuedBefore                          // by the store's clock
	for term := 100 * time.Millisecond; ; term *= 2 { // in the end it is longer than any way
		short := store.Revocation{Kind: store.ClaimSubject, Value: "short", IssuedBefore: now, Until: now.Add(term)}
		_, err := log.Revoke(t.Context(), short)
		if err == nil {
			break
		}
		if invalid := new(store.RevocationError); !errors.As(err, &invalid) { // it has passed on the way
			t.Fatal(err)
		}
		now = revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "clock"}).Until.Add(-store.DefaultRevocation)
	}
	for slices.ContainsFunc(revocations(t, log, 0), func(r store.Revocation) bool { return r.Value == "short" }) {
	}
	last := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "last"})
	var left int
	if err := h.DB.QueryRowContext(t.Context(), `SELECT count(*) FROM sluice_revocations WHERE value = 'short'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d of what has ended is kept, %v", left, err)
	}
	if list := revocations(t, log, 0); len(list) < 2 || list[0] != kept || list[len(list)-1] != last {
		t.Errorf("left are %+v", list)
	}
	again := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "short", IssuedBefore: time.Unix(1, 0)})
	if !again.IssuedBefore.Equal(time.Unix(1, 0)) {
		t.Errorf("what has ended counts still: %+v", again)
	}
}

// testRevocationsAreBounded has as many in force as there may be.
func testRevocationsAreBounded(t *testing.T, h Harness) {
	const most = 1000
	settings := polling
	for _, not := range []int{-1, store.MaxRevocations + 1} {
		settings.MaxRevocations = not
		if log, err := h.Open(t.Context(), settings); err == nil || !strings.Contains(err.Error(), "MaxRevocations") {
			t.Errorf("opened with at most %d revocations: %v, %v", not, log, err)
		}
	}
	settings.MaxRevocations = most
	log := open(t, h, settings)
	first := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "first"})
	fill := fmt.Sprintf(`INSERT INTO sluice_revocations (kind, value, issued_before, until, number)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT 'jti', 'token ' || i, issued_before, until, -i FROM sluice_revocations, n`, most-2)
	if _, err := h.DB.ExecContext(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	last := revoke(t, log, store.Revocation{Kind: store.ClaimTokenID, Value: "last"})
	more := store.Revocation{Kind: store.ClaimTokenID, Value: "more"}
	if _, err := log.Revoke(t.Context(), more); !errors.Is(err, store.ErrTooManyRevocations) {
		t.Errorf("one more: %v", err)
	}
	again := revoke(t, log, store.Revocation{Kind: store.ClaimSubject, Value: "first", Until: first.Until.Add(time.Hour)}) // no more than before
	if list := revocations(t, log, 0); !slices.Equal(list, []store.Revocation{last, again}) {
		t.Errorf("there are %+v", list)
	}
	if list := revocations(t, log, -most); len(list) != most {
		t.Errorf("there are %d", len(list))
	}
	if _, err := h.DB.ExecContext(t.Context(), `DELETE FROM sluice_revocations WHERE number = -1`); err != nil {
		t.Fatal(err)
	}
	revoke(t, log, more)
}

// testRevocationsAreRaced has processes revoke at once while another follows by number:
// it misses none.
func testRevocationsAreRaced(t *testing.T, h Harness) {
	const each = 20
	reader := open(t, h, polling)
	var writing sync.WaitGroup
	for p, log := range []store.Log{open(t, h, polling), open(t, h, polling), open(t, h, polling)} {
		writing.Go(func() {
			for i := range each {
				for _, value := range []string{fmt.Sprintf("%d-%d", p, i), "all"} {
					err := error(&store.UnavailableError{})
					for unavailable := new(store.UnavailableError); errors.As(err, &unavailable); { // a file's lock is nobody's turn, and a slow machine may keep one waiting for long
						_, err = log.Revoke(t.Context(), store.Revocation{Kind: store.ClaimSubject, Value: value})
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		writing.Wait()
	}()
	seen, after := map[string]time.Time{}, int64(0)
	for over := false; ; {
		list, err := reader.Revocations(t.Context(), after, 3)
		if err != nil {
			t.Error(err)
			break
		}
		for _, r := range list {
			if r.Number <= after || r.IssuedBefore.Before(seen[r.Value]) {
				t.Errorf("after %d and %v comes %+v", after, seen[r.Value], r)
			}
			seen[r.Value], after = r.IssuedBefore, r.Number
		}
		if over && len(list) == 0 {
			break
		}
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond): // they have to come to it
		}
	}
	<-done
	if len(seen) != 3*each+1 {
		t.Errorf("%d were seen, want %d", len(seen), 3*each+1)
	}
	for _, r := range revocations(t, reader, 0) {
		if !r.IssuedBefore.Equal(seen[r.Value]) {
			t.Errorf("%s: last seen was %v, and it is %v", r.Value, seen[r.Value], r.IssuedBefore)
		}
	}
}

// testInvalidRevocationsAreRefused revokes what cannot be.
func testInvalidRevocationsAreRefused(t *testing.T, h Harness) {
	log := open(t, h, polling)
	now := time.Now()
	valid := store.Revocation{Kind: store.ClaimSubject, Value: "7", IssuedBefore: now, Until: now.Add(time.Hour)}
	for _, test := range []struct {
		field  string
		change func(r *store.Revocation)
	}{
		{"kind", func(r *store.Revocation) { r.Kind = "" }},
		{"kind", func(r *store.Revocation) { r.Kind = "aud" }},
		{"kind", func(r *store.Revocation) { r.Kind = "SUB" }},
		{"value", func(r *store.Revocation) { r.Value = "" }},
		{"value", func(r *store.Revocation) { r.Value = "a\x00b" }},
		{"value", func(r *store.Revocation) { r.Value = "\xff" }},
		{"value", func(r *store.Revocation) { r.Value = strings.Repeat("x", store.MaxRevokedBytes+1) }},
		{"until", func(r *store.Revocation) { r.Until = now.Add(-time.Hour) }},
		{"until", func(r *store.Revocation) { r.Until = now.Add(store.MaxRevocation + time.Hour) }},
		{"until", func(r *store.Revocation) { r.Until = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"until", func(r *store.Revocation) { r.Until = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"issued_before", func(r *store.Revocation) { r.IssuedBefore = now.Add(2 * time.Hour) }},
		{"issued_before", func(r *store.Revocation) { r.IssuedBefore = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"issued_before", func(r *store.Revocation) { r.IssuedBefore = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		r := valid
		test.change(&r)
		_, err := log.Revoke(t.Context(), r)
		if invalid := new(store.RevocationError); !errors.As(err, &invalid) || invalid.Field != test.field || invalid.Reason == "" {
			t.Errorf("%+v: %v, want what is wrong with %s", r, err, test.field)
		}
	}
	if list := revocations(t, log, 0); len(list) != 0 {
		t.Errorf("there are %+v", list)
	}
	revoke(t, log, valid)
}

func revocationsOfAClosedLog(t *testing.T, log store.Log) {
	t.Helper()
	if _, err := log.Revoke(context.Background(), store.Revocation{Kind: store.ClaimSubject, Value: "7"}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Revoke: %v, want ErrClosed", err)
	}
	if _, err := log.Revocations(context.Background(), 0, 1); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Revocations: %v, want ErrClosed", err)
	}
}
