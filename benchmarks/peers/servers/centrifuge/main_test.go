package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBroadcast(t *testing.T) {
	node, err := newNode(true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := node.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		body, answer string
		status       int
	}{
		{"", `{"count":0}`, http.StatusAccepted},
		{`{"topic":"a","event":"tick","payload":{"n":1}}` + "\n" + `{"topic":"b","event":"tick","payload":{}}`, `{"count":2}`, http.StatusAccepted},
		{`{"topic":"a","payload":{}}` + "\n{\n", "line 2", http.StatusBadRequest},
	} {
		recorder := httptest.NewRecorder()
		broadcast(node)(recorder, httptest.NewRequest(http.MethodPost, "/api/broadcast", strings.NewReader(test.body)))
		if recorder.Code != test.status || !strings.Contains(recorder.Body.String(), test.answer) {
			t.Errorf("%q was answered %d %s, want %d %s", test.body, recorder.Code, recorder.Body, test.status, test.answer)
		}
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, "127.0.0.1:0", "127.0.0.1:0", false); err != nil {
		t.Errorf("a server that was asked to end says %v", err)
	}
	if err := run(t.Context(), "127.0.0.1:0", "nowhere", false); err == nil {
		t.Error("a server that cannot listen says nothing")
	}
}
