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

// TestErase asks as often as there is more, and says what came of it.
func TestErase(t *testing.T) {
	t.Parallel()
	const done = `{"count":3,"through":9,"more":false}`
	for name, test := range map[string]struct {
		args    []string
		answers []string // of which a last one is given again and again
		want    []string // requests
		out     string
		exit    int
	}{
		"all":       {[]string{"t"}, []string{done}, []string{`{"topic":"t"}`}, "erased 3 events of t\n", exitOK},
		"by offset": {[]string{"--before", "7", "t"}, []string{done}, []string{`{"topic":"t","before":7}`}, "erased 3 events of t\n", exitOK},
		"by time and key": {[]string{"--before", "2026-01-31T00:00:00Z", "--key", "", "t"}, []string{done},
			[]string{`{"topic":"t","before":"2026-01-31T00:00:00Z","key":""}`}, "erased 3 events of t\n", exitOK},
		"in parts":          {[]string{"t"}, []string{`{"count":1,"through":5,"more":true}`, done}, []string{`{"topic":"t"}`, `{"topic":"t","after":5}`}, "erased 4 events of t\n", exitOK},
		"without progress":  {[]string{"t"}, []string{`{"count":0,"through":5,"more":true}`}, []string{`{"topic":"t"}`, `{"topic":"t","after":5}`}, "", exitFailure},
		"no answer of ours": {[]string{"t"}, []string{`<html>`}, []string{`{"topic":"t"}`}, "", exitFailure},
		"nonsense":          {[]string{"--before", "soon", "t"}, nil, nil, "", exitUsage},
		"zero":              {[]string{"--before", "0", "t"}, nil, nil, "", exitUsage},
		"no topic":          {[]string{""}, nil, nil, "", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, r.URL.Path+" "+string(body))
				fmt.Fprint(w, test.answers[min(len(got), len(test.answers))-1])
			}))
			defer server.Close()
			out := call{args: append([]string{"erase", "--admin-url", server.URL}, test.args...)}.run(t)
			for i, want := range test.want {
				test.want[i] = "/api/erase " + want
			}
			if out.exit != test.exit || out.stdout != test.out || strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("%+v\nasked %q", out, got)
			}
		})
	}
}
