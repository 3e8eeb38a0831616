package e2e

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// A wrongStart is a way of starting the service that fails: which flags, what has to be
// there before, and what in its environment.
type wrongStart struct {
	args   []string
	files  map[string]string // by their name
	env    string            // NAME=value
	before func(t *testing.T, w *wrongStart)
}

// TestWrongStarts makes each start of the page on troubleshooting fail, and has the program
// say what stands there.
func TestWrongStarts(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	admin := database(t, server.URL())
	for _, sql := range []string{
		`CREATE ROLE app LOGIN`, `CREATE ROLE other LOGIN`,
		`CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C' OWNER app`,
		`CREATE DATABASE closed`, `CREATE DATABASE bare OWNER app`, `CREATE DATABASE newer OWNER app`, `CREATE DATABASE made OWNER app`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	at := func(user, database string) string {
		u, err := url.Parse(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.User(user), "/"+database
		return u.String()
	}
	for _, name := range []string{"newer", "made"} {
		if code, stdout, stderr := run(t, "", sluice, "migrate", "--database-url", at("app", name)); code != 0 {
			t.Fatalf("migrating ended with %d:\n%s%s", code, stdout, stderr)
		}
	}
	if _, err := database(t, at("app", "newer")).Exec(t.Context(), `UPDATE sluice_meta SET version = version + 1`); err != nil {
		t.Fatal(err)
	}
	flags := func(args ...string) wrongStart { return wrongStart{args: args} }
	db := func(url string, args ...string) wrongStart { return flags(append(args, "--database-url", url)...) }
	with := func(file, content string, args ...string) wrongStart {
		return wrongStart{args: args, files: map[string]string{file: content}}
	}
	starts := map[string]wrongStart{
		"an unknown flag":              flags("--mailbx", "3"),
		"an unknown variable":          {env: "SLUICE_MAILBX_SIZE=3"},
		"an unknown key in the file":   with("sluice.yaml", "lane: 3\n", "--config", "sluice.yaml"),
		"an unknown field of a rule":   with("sluice.yaml", "topics:\n- match: room:*\n  acces: token\n", "--config", "sluice.yaml"),
		"a file that is no YAML":       with("sluice.yaml", "topics: [\n", "--config", "sluice.yaml"),
		"a file that is not there":     flags("--config", "nothing.yaml"),
		"no number":                    flags("--lanes", "many"),
		"a duration without unit":      flags("--drain-timeout", "10"),
		"no size":                      flags("--mailbox-bytes", "lots"),
		"no such name":                 flags("--overflow", "drop"),
		"out of range":                 flags("--max-demand", "0"),
		"a contradiction":              flags("--max-demand", "10", "--min-demand", "20"),
		"an address without host":      flags("--listen", "4000"),
		"an address in use":            {before: takeAddress},
		"public, without keys":         flags("--listen", "0.0.0.0:0"),
		"nobody may connect":           flags("--anonymous=false"),
		"no secret":                    flags("--jwt-secret-file", "nothing"),
		"an empty secret":              with("empty", "", "--jwt-secret-file", "empty"),
		"a key set without keys":       with("keys", "{}", "--jwt-keys-file", "keys"),
		"secret and key set":           with("secret", "a secret of some length, and more", "--jwt-secret-file", "secret", "--jwt-keys-file", "keys"),
		"claims, without keys":         flags("--jwt-issuer", "me"),
		"a short admin token":          with("short", "short", "--admin-token-file", "short"),
		"only a reading token":         with("short", "short", "--admin-read-token-file", "short"),
		"a certificate without key":    flags("--tls-cert", "tls.crt"),
		"no certificate":               flags("--tls-cert", "tls.crt", "--tls-key", "tls.key"),
		"no origin":                    flags("--origins", "app.example"),
		"a tag of its own":             flags("--tag", "le=1"),
		"no name for a node":           flags("--node", "a b"),
		"a cluster without database":   flags("--cluster-listen", "127.0.0.1:4002"),
		"a cluster without secret":     db(at("app", "made"), "--cluster-listen", "0.0.0.0:4002"),
		"a folder that cannot be made": with("file", "", "--data-dir", "file/data"),
		"a damaged file":               with("data/sluice.db", strings.Repeat("no database ", 100), "--data-dir", "data"),
		"a URL that is none":           db("postgres://u:p%zz@localhost/app"),
		"nobody at the address": {before: func(t *testing.T, w *wrongStart) {
			w.args = []string{"--database-url", "postgres://app@" + newRelay(t).address + "/app"}
		}},
		"no such host":                                 db("postgres://app@nowhere..invalid/app"), // of which no server is asked
		"no such database":                             db(at("app", "nothere")),
		"no such user, a wrong password":               db(at("stranger", "made")),
		"a schema that is closed":                      db(at("other", "closed")),
		"no such schema":                               db(at("app", "made") + "&search_path=nothere"),
		"a database that is not UTF-8":                 db(at("app", "latin")),
		"no tables yet":                                db(at("app", "bare"), "--migrate=false"),
		"missing rights":                               db(at("other", "made"), "--migrate=false"),
		"tables of a newer program":                    db(at("app", "newer")),
		"an offset that the log has not reached":       db(at("app", "made"), "--start", "99999", "--node", "ahead"),
		"administered from elsewhere, without a token": flags("--admin-listen", "0.0.0.0:0"),
		"a secret that everybody may write": {args: []string{"--jwt-secret-file", "open"}, files: map[string]string{"open": "a secret"}, before: func(t *testing.T, w *wrongStart) {
			if err := os.Chmod(w.path("open"), 0o666); err != nil {
				t.Fatal(err)
			}
		}},
		"a folder in use": {args: []string{"--data-dir", "data"}, before: func(t *testing.T, w *wrongStart) {
			serve(t, "--data-dir", w.path("data")).ready(t)
		}},
		"another node of that name": {args: []string{"--node", "taken", "--database-url", at("app", "made")}, before: func(t *testing.T, w *wrongStart) {
			serve(t, w.args...).ready(t)
		}},
	}
	told := 0
	for _, row := range wrongStarts(t) {
		w, ok := starts[row[0]]
		if !ok {
			t.Errorf("no start is known for %q", row[0])
			continue
		}
		told++
		t.Run(row[0], func(t *testing.T) {
			t.Parallel()
			w.fails(t, row[1], row[2])
		})
	}
	if told != len(starts) {
		t.Errorf("the page tells of %d starts, of %d that fail here", told, len(starts))
	}
}

// takeAddress has the address that the service is given be another's.
func takeAddress(t *testing.T, w *wrongStart) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	w.args = []string{"--listen", listener.Addr().String()}
}

// wrongStarts are the rows of the page's table: what is wrong, what it says, how it ends.
func wrongStarts(t *testing.T) (rows [][3]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(docsFolder, "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## It does not start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| ([^|`]+) \\| `([^|]*)` \\| (\\w[^|]*) \\|$").FindAllStringSubmatch(section, -1) {
		rows = append(rows, [3]string{row[1], row[2], row[3]})
	}
	return rows
}

// path is where a file of the start's folder is.
func (w *wrongStart) path(name string) string { return filepath.Join(w.files[""], name) }

// fails starts the service, and waits for what it says and for its end.
func (w wrongStart) fails(t *testing.T, says, ends string) {
	t.Helper()
	folder := t.TempDir()
	for name, content := range w.files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.files = map[string]string{"": folder}
	if w.before != nil {
		w.before(t, &w)
	}
	script := "cd '" + folder + "'; unset DATABASE_URL; export SLUICE_ADMIN_LISTEN=127.0.0.1:0 SLUICE_LISTEN=127.0.0.1:0 " + w.env + "; exec \"$@\""
	p := start(t, "bash", append([]string{"-c", script, "bash", sluice, "serve"}, w.args...)...)
	pattern := strings.NewReplacer(" … ", ".*", " …", ".*", "…", ".*").Replace(regexp.QuoteMeta(says)) // a log's attributes begin with a quote
	if _, ok := p.stderr.next(t.Context(), 0, regexp.MustCompile(pattern).MatchString); !ok {
		t.Errorf("it does not say %s, but\n%s", says, p.stderr.text())
	}
	if ends == "goes on" {
		p.terminate(t)
		p.wait(t)
		return
	}
	if code := p.wait(t); ends != map[int]string{1: "1", 2: "2"}[code] {
		t.Errorf("it ended with status %d, not %s:\n%s", code, ends, p.stderr.text())
	}
}
