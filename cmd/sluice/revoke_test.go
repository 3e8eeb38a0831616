package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestRevokeCommand asks what it is told to, and says what came of it.
func TestRevokeCommand(t *testing.T) {
	t.Parallel()
	const done = `{"sub":"7","issued_before":"2026-01-31T00:00:00Z","until":"2026-03-01T00:00:00Z","number":3}`
	const said = `revoked until 2026-03-01T00:00:00Z: tokens with sub "7" that were issued before 2026-01-31T00:00:00Z` + "\n"
	const page1, page2 = `{"revocations":[{"sub":"a","number":2},{"jti":"b","number":5}],"more":true}`, `{"revocations":[{"sub":"c","number":6}],"more":false}`
	const first, second = "GET /api/revocations?limit=500&after=0 ", "GET /api/revocations?limit=500&after=5 "
	for name, test := range map[string]struct {
		args    []string
		answers []string // of which a last one is given again and again
		want    []string // requests
		out     string
		exit    int
	}{
		"a subject": {[]string{"--sub", "7"}, []string{done}, []string{`POST /api/revoke {"sub":"7"}`}, said, exitOK},
		"a token":   {[]string{"--jti", "x"}, []string{strings.Replace(done, "sub", "jti", 1)}, []string{`POST /api/revoke {"jti":"x"}`}, strings.Replace(said, "sub", "jti", 1), exitOK},
		"times": {[]string{"--sub", "7", "--issued-before", "1769817600", "--until", "2026-03-01T01:00:00+01:00"}, []string{done},
			[]string{`POST /api/revoke {"sub":"7","issued_before":"2026-01-31T00:00:00Z","until":"2026-03-01T00:00:00Z"}`}, said, exitOK},
		"list":               {[]string{"--list"}, []string{page1, page2}, []string{first, second}, "{\"sub\":\"a\",\"number\":2}\n{\"jti\":\"b\",\"number\":5}\n{\"sub\":\"c\",\"number\":6}\n", exitOK},
		"list of none":       {[]string{"--list"}, []string{`{"revocations":[],"more":false}`}, []string{first}, "", exitOK},
		"list goes back":     {[]string{"--list"}, []string{page1}, []string{first, second}, "{\"sub\":\"a\",\"number\":2}\n{\"jti\":\"b\",\"number\":5}\n", exitFailure},
		"list stands still":  {[]string{"--list"}, []string{`{"revocations":[],"more":true}`}, []string{first}, "", exitFailure},
		"no answer of ours":  {[]string{"--sub", "7"}, []string{`<html>`}, []string{`POST /api/revoke {"sub":"7"}`}, "", exitFailure},
		"no list of ours":    {[]string{"--list"}, []string{`{}`}, []string{first}, "", exitFailure},
		"nothing":            {nil, nil, nil, "", exitUsage},
		"two things":         {[]string{"--sub", "7", "--jti", "x"}, nil, nil, "", exitUsage},
		"a list of one":      {[]string{"--sub", "7", "--list"}, nil, nil, "", exitUsage},
		"nobody":             {[]string{"--sub", ""}, nil, nil, "", exitUsage},
		"a time of nonsense": {[]string{"--sub", "7", "--until", "tomorrow"}, nil, nil, "", exitUsage},
		"a negative time":    {[]string{"--sub", "7", "--issued-before", "-5"}, nil, nil, "", exitUsage},
		"a time far away":    {[]string{"--sub", "7", "--until", "999999999999"}, nil, nil, "", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, r.Method+" "+r.URL.RequestURI()+" "+string(body))
				fmt.Fprint(w, test.answers[min(len(got), len(test.answers))-1])
			}))
			defer server.Close()
			out := call{args: append([]string{"revoke", "--admin-url", server.URL}, test.args...)}.run(t)
			if out.exit != test.exit || out.stdout != test.out || strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("%+v\nasked %q", out, got)
			}
		})
	}
}
