package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(method, path string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	console().ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
	return recorder
}

// The policy lets nothing run but what is in the document, so all of it has to
// be there, unchanged.
func TestConsoleRunsUnderItsPolicy(t *testing.T) {
	t.Parallel()
	response := get(http.MethodGet, "/")
	page, policy := response.Body.String(), response.Header().Get("Content-Security-Policy")
	if response.Code != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Fatalf("status %d, policy %q", response.Code, policy)
	}
	for _, tag := range []string{"script", "style"} {
		inline := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		var hashes []string
		for _, each := range inline {
			hashes = append(hashes, sourceHash(each[1]))
		}
		if want := "; " + tag + "-src " + strings.Join(hashes, " ") + "; "; len(inline) == 0 || !strings.Contains(policy, want) {
			t.Errorf("%d inline %ss, and the policy has not %s: %s", len(inline), tag, want, policy)
		}
	}
	for _, forbidden := range []string{"https://", "<script ", "<link rel=\"stylesheet\"", " style=\"", " onclick=\""} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %s, which its policy or its promise to need no network forbids", forbidden)
		}
	}
}

func TestConsoleIsOnePage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", http.StatusOK},
		{http.MethodHead, "/", http.StatusOK},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodGet, "/page.js", http.StatusNotFound},
		{http.MethodGet, "/nowhere", http.StatusNotFound},
	} {
		if got := get(test.method, test.path).Code; got != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, got, test.status)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := consoleFiles.ReadFile("console/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every control of the page has a name that a screen reader can say, and
// every element that the script looks for is there.
func TestConsoleDocument(t *testing.T) {
	t.Parallel()
	document := read(t, "index.html")
	var scripts string
	for _, tag := range scriptTag.FindAllStringSubmatch(document, -1) {
		scripts += read(t, tag[1])
	}
	asked := regexp.MustCompile(`(?:\$|text|fill)\("([a-z0-9-]+)"`).FindAllStringSubmatch(scripts, -1)
	if len(asked) < 50 {
		t.Errorf("the scripts look for %d elements only", len(asked))
	}
	for _, id := range asked {
		if !strings.Contains(document, `id="`+id[1]+`"`) {
			t.Errorf("the script looks for #%s, which the page lacks", id[1])
		}
	}
	for _, label := range regexp.MustCompile(`(?s)<label[^>]*>(.*?)</label>`).FindAllStringSubmatch(document, -1) {
		if text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(label[1], ""); strings.TrimSpace(text) == "" {
			t.Errorf("a label says nothing: %s", label[1])
		}
	}
	unlabelled := regexp.MustCompile(`(?s)<label.*?</label>`).ReplaceAllString(document, "")
	if control := regexp.MustCompile(`<(input|textarea|select)[^>]*>`).FindString(unlabelled); control != "" {
		t.Errorf("%s has no label", control)
	}
}
