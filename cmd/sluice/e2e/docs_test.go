package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

const docsFolder = "../../../docs"

// tried are the pages whose commands are run.
var tried = []string{
	"getting-started.md", "publishing.md", "tables.md", "grants.md", "origins-and-proxies.md", "tokens-and-rules.md",
	"delivery.md", "state-and-stream.md", "presence.md", "http.md", "operating.md", "troubleshooting.md", "security.md", "sse.md",
	"upgrading.md", "coming-from.md", "clients.md", "consumers.md", "access-sql.md",
}

// TestDocumentedCommands does what the pages say, in order, as a reader would: each in a
// folder and on a database of its own. What follows the language of a block says what is
// done with it:
//
//	sh run         it ends with status 0; `exit=N`: with that one
//	sh start       it goes on: a service until the next one, all others until the page ends
//	sql run        by psql, as the owner of the database; `as=NAME`: as that role
//	text output    what the block before it says
//	text started   what was started last says next
//	yaml file=NAME it is written to that file, with the addresses of the service before it;
//	               so is any other language
//
// In what is shown, … stands for anything within a line, and alone for any lines. The pages
// name the default addresses, and the database app on localhost as the role app: these are
// replaced by the test's own. A block of which nothing is said is not run.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	admin := database(t, server.URL())
	if _, err := admin.Exec(t.Context(), `CREATE ROLE app LOGIN`); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if err := os.Symlink(sluice, filepath.Join(programs, "sluice")); err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Abs("node/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tried {
		base := strings.TrimSuffix(name, ".md")
		db := "page_" + strings.ReplaceAll(base, "-", "_")
		if _, err := admin.Exec(t.Context(), `CREATE DATABASE `+db+` OWNER app`); err != nil {
			t.Fatal(err)
		}
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			p := newPage(t, server.URL(), db, programs, packages)
			blocks := readBlocks(t, filepath.Join(docsFolder, name))
			for _, block := range blocks {
				if p.do(t, block); t.Failed() {
					t.Fatalf("docs/%s:%d failed", name, block.line)
				}
			}
			if p.ran == 0 {
				t.Errorf("docs/%s has nothing that is run", name)
			}
		})
	}
}

// A docBlock is a fenced block of a page.
type docBlock struct {
	line     int // of its fence
	language string
	does     string            // "" for one that is only shown
	options  map[string]string // what is said as NAME=VALUE
	text     string
}

// readBlocks reads the blocks of a page, and refuses what it does not know.
func readBlocks(t *testing.T, path string) (blocks []docBlock) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := false
	for i, line := range strings.Split(string(content), "\n") {
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open:
			open = false
		case fence:
			open = true
			block := docBlock{line: i + 1, options: map[string]string{}}
			for j, word := range strings.Fields(info) {
				name, value, option := strings.Cut(word, "=")
				switch {
				case j == 0:
					block.language = word
				case option:
					block.options[name] = value
				default:
					block.does = word
				}
			}
			kind := block.language + " " + block.does
			switch {
			case block.does == "", kind == "sh run", kind == "sh start", kind == "sql run", kind == "text output", kind == "text started":
			default:
				t.Fatalf("%s:%d: what is to be done with %q?", path, i+1, info)
			}
			for option := range block.options {
				if option != "exit" && option != "as" && option != "file" {
					t.Fatalf("%s:%d: nothing is known of %q", path, i+1, option)
				}
			}
			blocks = append(blocks, block)
		case open:
			blocks[len(blocks)-1].text += line + "\n"
		}
	}
	if open {
		t.Fatalf("%s: a block has no end", path)
	}
	return blocks
}

// A page is the reader's place: its folder, database and whatever they have started.
type page struct {
	folder  string
	before  string // what each script begins with
	server  *url.URL
	names   [][2]string // what the pages say, and what it is here
	serving *service
	clients []*process // what else was started
	started *process   // the last of them
	seen    int        // lines of what was started that have been compared
	said    string     // by the last block that was run
	ran     int
}

func newPage(t *testing.T, server, db, programs, packages string) *page {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{folder: t.TempDir(), server: at}
	at.Path = "/" + db
	p.names = [][2]string{{"localhost/app", at.Host + at.Path}}
	if err := os.Mkdir(filepath.Join(p.folder, "node_modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(p.folder, "node_modules")
	if err := os.Mkdir(filepath.Join(modules, "@sluicehq"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, installed := range map[string]string{"phoenix": "phoenix18", "ws": "ws", "@sluicehq/client": "../../../../../socket/client/js"} {
		if err := os.Symlink(filepath.Join(packages, installed), filepath.Join(modules, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.before = fmt.Sprintf("set -euo pipefail; cd '%s'; export HOME='%[1]s' PATH='%s':\"$PATH\" SLUICE_LISTEN=127.0.0.1:0 SLUICE_ADMIN_LISTEN=127.0.0.1:0 SLUICE_STATSD_LISTEN=127.0.0.1:0; unset DATABASE_URL\n",
		p.folder, programs)
	return p
}

// here is what a page says, with this test's addresses.
func (p *page) here(text string) string {
	for _, each := range p.names {
		text = strings.ReplaceAll(text, each[0], each[1])
	}
	return text
}

// there is what a program says, with the page's addresses.
func (p *page) there(text string) string {
	for _, each := range p.names {
		text = strings.ReplaceAll(text, each[1], each[0])
	}
	return strings.ReplaceAll(text, p.folder+"/", "")
}

func (p *page) do(t *testing.T, block docBlock) {
	t.Helper()
	text := p.here(block.text)
	if file := block.options["file"]; file != "" {
		if err := os.WriteFile(filepath.Join(p.folder, filepath.Base(file)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	switch block.does {
	case "run":
		p.ran++
		p.run(t, block, text)
	case "start":
		p.ran++
		p.start(t, text)
	case "output":
		if !shows(block.text, p.said) {
			t.Errorf("it says\n%swhere the page shows\n%s", p.said, block.text)
		}
	case "started":
		p.await(t, block.text)
	}
}

// run has a block run to its end.
func (p *page) run(t *testing.T, block docBlock, text string) {
	t.Helper()
	want, args := "0", []string{"-c", p.before + "exec 2>&1\n" + text}
	if block.options["exit"] != "" {
		want = block.options["exit"]
	}
	name := "bash"
	if block.language == "sql" {
		role := "app"
		if block.options["as"] != "" {
			role = block.options["as"]
		}
		at := *p.server
		at.User = url.User(role)
		name, args = "psql", []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", at.String()}
	}
	input := ""
	if block.language == "sql" {
		input = text
	}
	code, stdout, stderr := run(t, input, name, args...)
	p.said = p.there(stdout + stderr)
	if fmt.Sprint(code) != want {
		t.Errorf("it ends with status %d, not %s:\n%s", code, want, p.said)
	}
}

// start has a block go on, once it says that it does.
func (p *page) start(t *testing.T, text string) {
	t.Helper()
	script := p.before + "exec " + text
	if !strings.Contains(text, "sluice serve") {
		p.started, p.seen = start(t, "bash", "-c", script), 0
		p.clients = append(p.clients, p.started)
		if !strings.HasPrefix(text, "sluice ") {
			return // what it says is awaited where the page shows it
		}
		if _, ok := p.started.stderr.next(t.Context(), 0, func(string) bool { return true }); !ok {
			t.Fatalf("it ended:\n%s", p.started.stderr.text())
		}
		return
	}
	p.stop(t)
	p.serving = runs(t, "bash", "-c", strings.Replace(script, "exec ", "export SLUICE_LOG_FORMAT=json; exec ", 1)).ready(t)
	p.names = append(p.names[:1:1], [2]string{"127.0.0.1:4000", p.serving.public}, [2]string{"127.0.0.1:4001", p.serving.admin})
	clients := fmt.Sprintf("export SLUICE_URL=%s SLUICE_ADMIN_URL=http://%s\n", mount(p.serving.public), p.serving.admin)
	p.before, _, _ = strings.Cut(p.before, "export SLUICE_URL=")
	p.before += clients
}

// stop ends the service, and first its clients, which would look for it for good.
func (p *page) stop(t *testing.T) {
	t.Helper()
	if p.serving == nil {
		return
	}
	for _, client := range p.clients {
		client.cmd.Process.Kill()
		client.wait(t)
	}
	p.clients = nil
	if code := p.serving.stop(t); code != 0 {
		t.Errorf("the service before it ended with status %d", code)
	}
	p.serving = nil
}

// await waits for the next lines of what was started last.
func (p *page) await(t *testing.T, shown string) {
	t.Helper()
	for line := range strings.Lines(shown) {
		at, ok := p.started.stdout.next(t.Context(), p.seen, func(string) bool { return true })
		if !ok || !shows(line, p.there(p.started.stdout.line(at))+"\n") {
			t.Fatalf("what was started says\n%swhere the page shows\n%s", p.started.stdout.text(), line)
		}
		p.seen = at + 1
	}
}

// shows tells whether what a page shows is what was said: … is anything within a line, and
// alone any lines. Spaces at the ends of lines do not count.
func shows(shown, said string) bool {
	pattern := regexp.QuoteMeta(trimLines(shown))
	pattern = regexp.MustCompile(`(?m)^…\n`).ReplaceAllString(pattern, `(?:.*\n)*?`)
	pattern = strings.ReplaceAll(pattern, "…", `.*?`)
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(trimLines(said))
}

func trimLines(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestShownOutputIsCompared has the comparison refuse what is not shown.
func TestShownOutputIsCompared(t *testing.T) {
	t.Parallel()
	for _, each := range []struct {
		shown, said string
		same        bool
	}{
		{"a\nb\n", "a\nb\n", true}, {"a\n", "a\nb\n", false}, {"a b\n", "a b  \n\n", true}, {"a\n", "b\n", false},
		{"a … c\n", "a b c\n", true}, {"a …\n", "a b\nc\n", false}, {"…\nc\n", "a\nb\nc\n", true}, {"…\n", "", true}, {"a.c\n", "abc\n", false},
	} {
		if shows(each.shown, each.said) != each.same {
			t.Errorf("%q for %q: want %t", each.shown, each.said, each.same)
		}
	}
	if _, err := exec.LookPath("psql"); err != nil {
		t.Error("the pages need psql (make needs installs it)")
	}
}
