package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckTellsWhatServeWould: what is wrong is told as serve tells it, and nothing is started.
func TestCheckTellsWhatServeWould(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args, file string
		env        map[string]string
	}{
		"nothing":     {},
		"a flag":      {args: "--lanes -1"},
		"a variable":  {env: map[string]string{"SLUICE_LANES": "many"}},
		"a slip":      {env: map[string]string{"SLUICE_MAXDEMAND": "3"}},
		"a file":      {file: "lanes: -1\nmax-demand: much\nlane: 7\ntopics:\n- match: a*b\n- acces: deny\n"},
		"no YAML":     {file: "lanes: 1\n]"},
		"no keys":     {args: "--jwt-secret-file nowhere"},
		"no file":     {args: "--config nowhere"},
		"not allowed": {args: "--listen 0.0.0.0:4000"},
		"no level":    {args: "--log-level loud"},
		"no such":     {args: "--lane 7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(command string) outcome {
				got := call{args: append([]string{command}, strings.Fields(test.args)...), env: test.env, file: test.file}.run(t)
				got.stderr = strings.ReplaceAll(got.stderr, "sluice "+command+" --help", "sluice COMMAND --help")
				return got
			}
			got := run("check")
			if name == "nothing" {
				if got.exit != exitOK || got.stdout != "nothing is wrong with these settings\n" || got.stderr != "" {
					t.Errorf("%+v", got)
				}
				return
			}
			if want := run("serve"); got.exit != exitUsage || got != want {
				t.Errorf("exit %d: %s\nand serve, exit %d: %s", got.exit, got.stderr, want.exit, want.stderr)
			}
		})
	}
}

// TestCheckReadsCertificates, which serve reads once it listens.
func TestCheckReadsCertificates(t *testing.T) {
	t.Parallel()
	junk := writeFile(t, "junk")
	for _, flag := range []string{"--tls", "--admin-tls"} {
		got := call{args: []string{"check", flag + "-cert", junk, flag + "-key", junk}}.run(t)
		if got.exit != exitUsage || !strings.HasPrefix(got.stderr, "sluice: "+flag+"-cert is ") || !strings.Contains(got.stderr, flag+"-key") {
			t.Errorf("%+v", got)
		}
	}
}

// TestCheckPrintsWhatIsInForce, from where, without passwords; and what it prints is a file that says
// the same.
func TestCheckPrintsWhatIsInForce(t *testing.T) {
	t.Parallel()
	c := call{
		args: []string{"check", "--print", "--lanes", "3", "--database-url", "postgres://user:hush@host/app?sslpassword=hush&x=1"},
		env:  map[string]string{"SLUICE_NODE": "n-1"},
		file: "max-demand: 77\norigins: [//a, '*']\ntag: {env: dev}\ntopics:\n- match: room:*\n",
	}
	got := c.run(t)
	if got.exit != exitOK {
		t.Fatalf("%+v", got)
	}
	stdout := got.stdout
	for _, line := range []string{
		"lanes: 3  # --lanes\n", "node: n-1  # SLUICE_NODE\n", "migrate: true  # default\n", "retention: 72h  # default\n", "drain-timeout: 30s  # default\n",
		"log-level: info  # default\n", "mailbox-bytes: 1MiB  # default\n", "# tls-cert: none  # default\n", "min-demand: 0  # default\n", "user:xxxxx@host", "sslpassword=xxxxx&x=1",
		"/sluice.yaml:1:13\n", "/sluice.yaml:2:10\n", `# topics: rule 1: "room:*"`,
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("no %q in\n%s", line, stdout)
		}
	}
	if strings.Contains(stdout, "hush") {
		t.Errorf("a password is told:\n%s", stdout)
	}
	again := call{args: []string{"check", "--print"}, file: stdout}.run(t)
	if again.exit != exitOK {
		t.Fatalf("%+v", again)
	}
	for line := range strings.SplitSeq(stdout, "\n") {
		if setting, _, _ := strings.Cut(line, "  # "); !strings.Contains(again.stdout, setting) && !strings.HasPrefix(line, "# topics") {
			t.Errorf("as a file it says nothing of %q:\n%s", setting, again.stdout)
		}
	}
}

// TestCheckPrintsWebhooks, without passwords in their URLs.
func TestCheckPrintsWebhooks(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := call{args: []string{"check", "--print"}, file: "webhooks:\n- name: mail\n  url: http://me:hush@app/events\n  match: orders:*\n  secret-file: " + secret + "\n"}.run(t)
	if want := `# webhooks: webhook 1: mail: "orders:*" to http://me:xxxxx@app/events  # `; got.exit != exitOK || !strings.Contains(got.stdout, want) || strings.Contains(got.stdout, "hush") {
		t.Errorf("no %q in %+v", want, got)
	}
}

// TestSecretsAreNotPrinted, in whatever form they are given.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://u:p@h/d":              "postgres://u:xxxxx@h/d",
		"postgres://u:p%40q:r@h/d":        "postgres://u:xxxxx@h/d",
		"postgres://h/d?password=p&x=y":   "postgres://h/d?password=xxxxx&x=y",
		"host=h password=p user=u":        "host=h password=xxxxx user=u",
		"host=h password = 'p q' user=u":  "host=h password = xxxxx user=u",
		"nats://u:p@a:1,nats://v:q@b:2":   "nats://u:xxxxx@a:1,nats://v:xxxxx@b:2",
		"postgres://u@h:5432/d":           "postgres://u@h:5432/d",
		"https://app.example:8443/p@th:7": "https://app.example:8443/p@th:7",
	} {
		if got := secretless(given); got != want {
			t.Errorf("%s is printed as %s, want %s", given, got, want)
		}
	}
}

// TestCheckWithoutTheDatabase: whether a function can be asked is not known, and that is nothing wrong.
func TestCheckWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	got := call{
		args: []string{"check", "--access-role", "web", "--database-url", "postgres://web:hush@127.0.0.1:1/app"},
		file: "topics:\n- match: a\n  access: sql\n  function: app.may_join\n",
	}.run(t)
	if got.exit != exitOK || got.stdout != "nothing is wrong with these settings\n" || !strings.HasPrefix(got.stderr, "sluice: not checked, as the database does not answer") || strings.Contains(got.stderr, "hush") {
		t.Errorf("%+v", got)
	}
}
