package admin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestRevokeRequests asks for revocations of every form, and lists what has come of it.
func TestRevokeRequests(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	const year = 365 * 24 * time.Hour
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(`"2006-01-02T15:04:05Z"`) }
	inAYear := at(year)
	for _, test := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"sub":"7"}`, 200, `{"sub":"7","issued_before":"`},
		{`{"jti":"7"}`, 200, `{"jti":"7","issued_before":"`},
		{`{"sub":"7","jti":null,"issued_before":` + at(-time.Hour) + `,"until":` + inAYear + `}`, 200, `"until":` + inAYear[:12]},
		{`{"sub":"ü\n\"","until":` + fmt.Sprint(time.Now().Add(time.Hour).Unix()) + `}`, 200, `"sub":"ü\n\""`},
		{`{}`, 400, "one of sub and jti"},
		{`{"sub":"7","jti":"8"}`, 400, "one of sub and jti"},
		{`{"sub":null}`, 400, "one of sub and jti"},
		{`{"sub":7}`, 400, "sub"},
		{`{"sub":""}`, 400, "sub is empty"},
		{`{"jti":""}`, 400, "jti is empty"},
		{`{"sub":"a\u0000"}`, 400, "sub must be"},
		{`{"sub":"` + strings.Repeat("x", 1025) + `"}`, 400, "1025 bytes"},
		{`{"sub":"7","Until":"x"}`, 400, "until"},
		{`{"sub":"7","before":1}`, 400, "before"},
		{`{"sub":"7","until":"tomorrow"}`, 400, "until"},
		{`{"sub":"7","until":""}`, 400, "until"},
		{`{"sub":"7","until":null}`, 400, "until"},
		{`{"sub":"7","until":0}`, 400, "until"},
		{`{"sub":"7","until":-1}`, 400, "until"},
		{`{"sub":"7","until":1e9}`, 400, "until"},
		{`{"sub":"7","until":1e400}`, 400, "until"},
		{`{"sub":"7","until":999999999999999999}`, 400, "until"},
		{`{"sub":"7","until":[1]}`, 400, "until"},
		{`{"sub":"7","until":` + at(-time.Second) + `}`, 400, "has passed"},
		{`{"sub":"7","until":` + at(11*year) + `}`, 400, "at most"},
		{`{"sub":"7","issued_before":"now"}`, 400, "issued_before"},
		{`{"sub":"7","issued_before":` + at(year) + `}`, 400, "later than until"},
		{`{"sub":"7","issued_before":"1960-01-01T00:00:00Z"}`, 400, "issued_before"},
		{`{"sub":"7"}{"sub":"8"}`, 400, "more than one"},
		{`[{"sub":"7"}]`, 400, ""},
		{`"7"`, 400, ""},
		{`nonsense`, 400, ""},
		{``, 400, ""},
	} {
		status, answer := n.Request("POST", n.Admin, "/api/revoke", nil, test.body)
		if status != test.status || !strings.Contains(answer, test.says) && !strings.Contains(answer, strings.ReplaceAll(test.says, `"`, `\"`)) || status != 200 && !strings.Contains(answer, "hint") {
			t.Errorf("%.200s: %d %s", test.body, status, answer)
		}
	}
	type page struct {
		Revocations []struct {
			Sub, JTI     string
			IssuedBefore time.Time `json:"issued_before"`
			Until        time.Time
			Number       int64
		}
		More bool
	}
	list := func(query string) (p page) {
		t.Helper()
		status, answer := n.Ask("GET", "/api/revocations"+query)
		if status != 200 || json.Unmarshal([]byte(answer), &p) != nil {
			t.Fatalf("%s: %d %s", query, status, answer)
		}
		return p
	}
	all := list("")
	if len(all.Revocations) != 3 || all.More || all.Revocations[0].JTI != "7" || all.Revocations[1].Sub != "7" || all.Revocations[2].Sub != "ü\n\"" {
		t.Fatalf("listed are %+v", all)
	}
	if r := all.Revocations[1]; time.Until(r.Until) < year/2 || time.Since(r.IssuedBefore) > year/2 {
		t.Errorf("weakened to %+v", r)
	}
	for i, r := range all.Revocations {
		next := list(fmt.Sprintf("?limit=1&after=%d", r.Number-1))
		if len(next.Revocations) != 1 || next.Revocations[0] != r || next.More != (i < 2) {
			t.Errorf("the next is %+v, want %+v", next, r)
		}
	}
	for _, query := range []string{"?after=-1", "?after=x", "?limit=-1", "?limit=99999999", "?after=99999999999999999999"} {
		if status, answer := n.Ask("GET", "/api/revocations"+query); status != 400 {
			t.Errorf("%s: %d %s", query, status, answer)
		}
	}
}

// TestWhoMayRevoke has only the full admin token revoke, and the log tell who did.
func TestWhoMayRevoke(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const full, read = "full-full-full-full", "read-read-read-read"
	var log safeBuffer
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
		c.AdminTokenFile, c.AdminReadTokenFile = put(t, filepath.Join(dir, "full"), full), put(t, filepath.Join(dir, "read"), read)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}))
	for token, want := range map[string][2]int{"": {401, 401}, read: {403, 200}, full: {200, 200}} {
		header := map[string]string{}
		if token != "" {
			header["Authorization"] = "Bearer " + token
		}
		if status, answer := n.Request("POST", n.Admin, "/api/revoke", header, `{"sub":"seven"}`); status != want[0] {
			t.Errorf("token %q revokes: %d %s", token, status, answer)
		}
		if status, answer := n.Request("GET", n.Admin, "/api/revocations", header, ""); status != want[1] {
			t.Errorf("token %q lists: %d %s", token, status, answer)
		}
	}
	if told := log.String(); strings.Count(told, "action=revoke") != 1 || !strings.Contains(told, "sub=seven") || !strings.Contains(told, "until=") {
		t.Errorf("the log says:\n%s", told)
	}
}
