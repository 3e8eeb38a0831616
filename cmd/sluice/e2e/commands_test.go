package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// publish and watch, as the README shows them.
func TestPublishAndWatch(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)

	watch := start(t, sluice, "watch", "orders:eu", "--url", mount(s.public), "--count", "3")
	if _, ok := watch.stderr.next(t.Context(), 0, func(line string) bool { return strings.Contains(line, "orders:eu") }); !ok {
		t.Fatalf("watch does not say that it has joined:\n%s", watch.stderr.text())
	}
	publish := func(input string, args ...string) {
		t.Helper()
		args = append([]string{"publish", "--admin-url", "http://" + s.admin}, args...)
		if code, stdout, stderr := run(t, input, sluice, args...); code != 0 {
			t.Fatalf("%q ended with status %d:\n%s%s", args, code, stdout, stderr)
		}
	}
	publish("", "orders:eu", "created", `{"id": 1}`)
	publish("", "orders:us", "created", `{"id": 2}`)
	publish("{\"id\":3}\n{\"id\":4}\n", "orders:eu", "created")

	if code := watch.wait(t); code != 0 {
		t.Errorf("watch ended with status %d", code)
	}
	var offset int64
	lines := strings.Split(strings.TrimSpace(watch.stdout.text()), "\n")
	if len(lines) != 3 {
		t.Fatalf("watch printed %d lines:\n%s", len(lines), watch.stdout.text())
	}
	for i, id := range []int{1, 3, 4} {
		var event struct{ Offset int64 }
		if err := json.Unmarshal([]byte(lines[i]), &event); err != nil || event.Offset <= offset {
			t.Errorf("after offset %d comes %s", offset, lines[i])
		}
		offset = event.Offset
		if want := fmt.Sprintf(`{"topic":"orders:eu","event":"created","offset":%d,"payload":{"id":%d}}`, offset, id); lines[i] != want {
			t.Errorf("watch printed %s, want %s", lines[i], want)
		}
	}
}

// What publish cannot publish, it says, and with which status it ends.
func TestPublishFails(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	refusing := newRelay(t)
	for _, failing := range []struct {
		name, admin, payload string
		code                 int
		says                 string
	}{
		{"payload is no JSON", s.admin, `{"id":`, 2, "payload"},
		{"nobody there", refusing.address, `{}`, 1, refusing.address},
	} {
		t.Run(failing.name, func(t *testing.T) {
			code, _, stderr := run(t, "", sluice, "publish", "--admin-url", "http://"+failing.admin, "orders", "created", failing.payload)
			if code != failing.code || !strings.Contains(stderr, failing.says) {
				t.Errorf("ended with status %d, want %d and a word of %q:\n%s", code, failing.code, failing.says, stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "", sluice, "version")
	if code != 0 || !strings.Contains(stdout, "go1.") {
		t.Errorf("version ended with status %d:\n%s%s", code, stdout, stderr)
	}
}
