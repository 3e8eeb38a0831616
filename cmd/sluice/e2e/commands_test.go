package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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

// A consumer that is killed leaves nothing out: what it has not committed comes again. One that is told
// to end commits what it has in hand.
func TestConsume(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	const count = 30
	var lines strings.Builder
	for n := range count {
		fmt.Fprintf(&lines, `{"topic":"orders:eu","event":"created","payload":{"n":%d}}`+"\n", n+1)
	}
	if status, body := s.post(t, "/api/events", "application/x-ndjson", lines.String()); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	dealt := filepath.Join(t.TempDir(), "dealt")
	consume := func(then string) *process {
		return start(t, sluice, "consume", "mail", "--admin-url", "http://"+s.admin, "--batch", "3", "--exec", "tee -a '"+dealt+"'"+then)
	}
	for _, lines := range []int{3, 9, 15} { // of what is written, with what has come again: in the first batch, and then in each second one
		killed := consume(fmt.Sprintf("; test $(wc -l <'%s') -lt %d || kill -9 $PPID", dealt, lines))
		if code := killed.wait(t); code != -1 {
			t.Fatalf("it is to be killed, and ends with status %d", code)
		}
	}
	last := consume("")
	if _, ok := last.stdout.next(t.Context(), 0, func(line string) bool { return strings.Contains(line, fmt.Sprintf(`"offset":%d,`, count)) }); !ok {
		t.Fatal("the last event is not consumed")
	}
	if code := last.stop(t); code != 0 {
		t.Errorf("told to end, it ends with status %d", code)
	}
	if _, body := s.get(t, "/api/consumers"); !strings.Contains(body, fmt.Sprintf(`"offset":%d,"lag":0`, count)) {
		t.Errorf("it has committed %s", body)
	}
	written, err := os.ReadFile(dealt)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []string
	for line := range strings.Lines(string(written)) {
		var event struct{ Offset int }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		offsets = append(offsets, fmt.Sprint(event.Offset))
	}
	want := "1 2 3 1 2 3 4 5 6 4 5 6 7 8 9 7 8 9"
	for n := 10; n <= count; n++ {
		want += fmt.Sprint(" ", n)
	}
	if got := strings.Join(offsets, " "); got != want {
		t.Errorf("dealt with are %s, want %s", got, want)
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

// A token that is made for trying out lets in by the rules, and check says what it grants.
func TestToken(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	secret, config := filepath.Join(folder, "secret"), filepath.Join(folder, "sluice.yaml")
	rules := "jwt-secret-file: " + secret + "\ntopics:\n- match: room:*\n  access: token\n"
	for path, content := range map[string]string{secret: "of thirty-two characters or more\n", config: rules} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, token, stderr := run(t, "", sluice, "token", "--jwt-secret-file", secret, "--sub", "7", "--topics", "room:*")
	if code != 0 || stderr != "" {
		t.Fatalf("making a token ended with status %d:\n%s", code, stderr)
	}
	if code, stdout, stderr := run(t, token, sluice, "token", "--jwt-secret-file", secret, "--check", "-"); code != 0 || !strings.Contains(stdout, "user:7") {
		t.Errorf("checking it ended with status %d:\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := run(t, token[:len(token)-8], sluice, "token", "--jwt-secret-file", secret, "--check", "-"); code != 1 || !strings.Contains(stderr, "token_invalid") {
		t.Errorf("checking a part of it ended with status %d:\n%s%s", code, stdout, stderr)
	}
	s := serve(t, "--data-dir", filepath.Join(folder, "data"), "--config", config).ready(t)
	if status, body := s.post(t, "/api/events", "application/json", `{"topic":"room:1","event":"said"}`); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	for topic, want := range map[string]int{"room:1": 0, "private": 1} {
		code, stdout, stderr := run(t, "", sluice, "watch", topic, "--url", mount(s.public), "--token", strings.TrimSpace(token), "--after", "0", "--count", "1")
		if code != want {
			t.Errorf("watching %s ended with status %d:\n%s%s", topic, code, stdout, stderr)
		}
	}
}

// What would keep serve from starting, check says, and starts nothing; what is in force it
// prints as a file that serve reads.
func TestCheck(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "", sluice, "check", "--lanes", "0x", "--listen", "0.0.0.0:4000")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "--lanes") || !strings.Contains(stderr, "--anonymous") {
		t.Errorf("what is wrong ended with status %d:\n%s%s", code, stdout, stderr)
	}
	code, printed, stderr := run(t, "", sluice, "check", "--print", "--lanes", "3", "--database-url", "postgres://app:secret@localhost/app")
	if code != 0 || !strings.Contains(printed, "lanes: 3") || strings.Contains(printed, "secret@") {
		t.Errorf("printing ended with status %d:\n%s%s", code, printed, stderr)
	}
	config := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(config, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, "", sluice, "check", "--config", config); code != 0 || stderr != "" {
		t.Errorf("what is printed is read with status %d:\n%s%s", code, stdout, stderr)
	}
}

// The stand-in for a StatsD server shows what the service sends.
func TestStatsD(t *testing.T) {
	t.Parallel()
	server := start(t, sluice, "statsd", "--listen", "127.0.0.1:0", "--raw", "--filter", "sluice.ready")
	at, ok := server.stderr.next(t.Context(), 0, func(line string) bool { return strings.Contains(line, "receiving metrics at") })
	if !ok {
		t.Fatalf("it receives nothing:\n%s", server.stderr.text())
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(server.stderr.line(at))
	serve(t, "--data-dir", t.TempDir(), "--statsd", address).ready(t)
	if _, ok := server.stdout.next(t.Context(), 0, func(line string) bool { return strings.HasPrefix(line, "sluice.ready:1|g") }); !ok {
		t.Errorf("it shows no metric:\n%s", server.stdout.text())
	}
	if code := server.stop(t); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
}

// What helps with the command line does.
func TestHelp(t *testing.T) {
	t.Parallel()
	_, help, _ := run(t, "", sluice, "serve", "--help")
	for _, each := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--version"}, 0, "go1."},
		{[]string{"help"}, 0, "Run the service."},
		{[]string{"help", "serve"}, 0, help},
		{[]string{"help", "nothing"}, 2, "publish"},
		{[]string{"completion", "bash"}, 0, "complete -o filenames -F _sluice sluice"},
		{[]string{"completion", "zsh"}, 0, "#compdef sluice"},
		{[]string{"completion", "fish"}, 0, "complete -c sluice"},
		{[]string{"completion", "csh"}, 2, "bash, zsh, fish"},
	} {
		if code, stdout, stderr := run(t, "", sluice, each.args...); code != each.code || !strings.Contains(stdout+stderr, each.says) {
			t.Errorf("%q ended with status %d, and does not say %s:\n%s%s", each.args, code, each.says, stdout, stderr)
		}
	}
	_, script, _ := run(t, "", sluice, "completion", "bash")
	code, words, stderr := run(t, script+"\nCOMP_WORDS=(sluice serve --lan) COMP_CWORD=2; _sluice; echo \"${COMPREPLY[@]}\"\n", "bash")
	if code != 0 || words != "--lanes\n" {
		t.Errorf("bash completes %q, with status %d:\n%s", words, code, stderr)
	}
}
