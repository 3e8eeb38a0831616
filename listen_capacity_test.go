package sluice

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/internal/httpservertest"
	"github.com/sluicehq/sluice/internal/openapitest"
)

// TestCapacityIsDescribed asks the admin listener for all that it has, by a connection that
// is one too many, and holds the answers to the description of the API.
func TestCapacityIsDescribed(t *testing.T) {
	t.Parallel()
	description, err := openapitest.Read(admin.OpenAPI, admin.ConsolePath)
	if err != nil {
		t.Fatal(err)
	}
	listener := httpservertest.Listen()
	bounds := &connlimit.Listener{Listener: listener, Max: 1, Spare: 1}
	ctx := t.Context()
	for range 2 {
		dialled := make(chan *httpservertest.Conn, 1)
		go func() { dialled <- listener.Dial() }()
		conn, err := bounds.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		defer (<-dialled).Close()
		ctx = bounds.Context(t.Context(), conn)
	}
	config := DefaultConfig()
	config.DataDir = filepath.Join(t.TempDir(), "data")
	service, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, operation := range description.Operations() {
		method, path, _ := strings.Cut(operation, " ")
		request := httptest.NewRequestWithContext(ctx, method, "http://127.0.0.1"+strings.NewReplacer("{", "", "}", "").Replace(path), nil)
		answer := httptest.NewRecorder()
		service.AdminHandler().ServeHTTP(answer, request)
		want := http.StatusServiceUnavailable
		if path == admin.HealthPath {
			want = http.StatusOK
		}
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", operation, answer.Code, want)
		}
		if err := description.Check(openapitest.Exchange{Method: method, URL: request.URL, Status: answer.Code, Header: answer.Header(), Answer: answer.Body.Bytes()}); err != nil {
			t.Error(err)
		}
	}
}
