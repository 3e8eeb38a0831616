package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// wrong are pieces of a file with one fault each, by kind, and what is said of it: with
// the fault's line, counted from the piece's first, and column.
var wrong = []struct {
	kind, piece string
	line        int
	told        string // %d is the line
}{
	{"unknown key", "max-demnad: 3", 0, `sluice.yaml:%d:1: "max-demnad" is no setting: did you mean "max-demand"?`},
	{"wrong number", "lanes: many", 0, `--lanes is "many": allowed is a whole number (given by sluice.yaml:%d:8)`},
	{"wrong duration", "poll-interval: 100", 0, `--poll-interval is "100": allowed is a duration with its unit, such as 100ms, 30s or 1h (given by sluice.yaml:%d:16)`},
	{"wrong truth", "migrate: perhaps", 0, `--migrate is "perhaps": allowed is true or false (given by sluice.yaml:%d:10)`},
	{"wrong truth where none means something", "anonymous: perhaps", 0, `--anonymous is "perhaps": allowed is true or false (given by sluice.yaml:%d:12)`},
	{"wrong shape", "origins: //a", 0, `sluice.yaml:%d:1: origins takes a list, such as [one, two]`},
	{"out of range", "fetch-bytes: 1B", 0, `--fetch-bytes is "1B": allowed is 1KiB to 1GiB (given by sluice.yaml:%d:14)`},
	{"unknown word", "overflow: hope", 0, `--overflow is "hope": allowed is catch-up, drop-oldest, drop-newest, latest, disconnect (given by sluice.yaml:%d:11)`},
	{"contradiction with a default", "min-demand: 5000", 0, `--min-demand is "5000": allowed is less than --max-demand (0: half of it) (given by sluice.yaml:%d:13)`},
	{"contradiction of two", "node: n\nrecent: 1MiB\ntls-key: k.pem\ntls-cert: ''", 3, `--tls-cert is "": allowed is a PEM file, together with --tls-key, or neither (given by sluice.yaml:%d:11)`},
	{"duplicate", "writers: 2\nwriters: 3", 1, `sluice.yaml:%d:1: writers is given twice`},
	{"duplicate in a mapping", "tag:\n  env: a\n  env: b", 2, `sluice.yaml:%d:3: tag: env is given twice`},
	{"of another flag set", "log-level: loud", 0, `--log-level is "loud": allowed is debug, info, warn, error (given by sluice.yaml:%d:12)`},
	{"rule with an unknown field", "topics:\n- match: a\n  acces: deny", 2, `sluice.yaml:%d:3: topics: rule 1: unknown field "acces"`},
	{"rule with its match misspelt", "topics:\n- mach: a", 1, `sluice.yaml:%d:3: topics: rule 1: unknown field "mach"`},
	{"rule with a wrong match", "topics:\n- match: a*b", 1, `topics: rule 1: match is "a*b": allowed is a topic, or the beginning of topics followed by one * at the end, such as room:* (given by sluice.yaml:%d:10)`},
	{"rule with a wrong type behind a pointer", "topics:\n- match: b\n  max-last: many", 2, `sluice.yaml:%d:13: topics: rule 1: max-last: "many" is not a whole number`},
	{"rule with a number out of its bound", "topics:\n- match: b\n  max-last: -1", 2, `topics: rule 1: max-last is "-1": allowed is 0 to 10000 events (given by sluice.yaml:%d:13)`},
	{"rule with a wrong type", "topics:\n- match: a\n- match: b\n  mailbox-size: many", 3, `sluice.yaml:%d:17: topics: rule 2: mailbox-size: "many" is not a whole number`},
	{"rule out of range", "topics:\n- match: a\n  flush-interval: 2h", 2, `topics: rule 1: flush-interval is "2h0m0s": allowed is 1ms to 1h (given by sluice.yaml:%d:19)`},
	{"rule that is none", "topics:\n- match: a\n- 5", 2, `sluice.yaml:%d:3: topics: rule 2: expected lines of the form key: value, not one plain value`},
	{"rule with a duplicate", "topics:\n- match: a\n  access: deny\n  access: deny", 3, `sluice.yaml:%d:3: topics: rule 1: access is given twice`},
	{"rule with a duplicate tag", "topics:\n- match: a\n  tags:\n    x: a\n    x: b", 4, `sluice.yaml:%d:5: topics: rule 1: tags: x is given twice`},
	{"rule with an own tag", "topics:\n- match: a\n  tags: {le: b}", 2, `topics: rule 1: tags is "le": allowed is as key letters`},
	{"rule with an unknown key of presence", "topics:\n- match: a\n  presence: {key: name}", 2, `topics: rule 1: presence is "name": allowed is sub, client (given by sluice.yaml:%d:`},
	{"rule with presences out of range", "topics:\n- match: a\n  presence: {max: 0x20000}", 2, `topics: rule 1: presence is "131072": allowed is max: 1 to 10000 presences (given by sluice.yaml:%d:`},
	{"rule with an unknown field of presence", "topics:\n- match: a\n  presence: {keys: sub}", 2, `sluice.yaml:%d:3: topics: rule 1: presence: expected true, false, or key, meta, max-meta and max: unknown field "keys"`},
	{"rule with a presence that is none", "topics:\n- match: a\n  presence: perhaps", 2, `sluice.yaml:%d:13: topics: rule 1: presence: expected true, false, or key, meta, max-meta and max`},
	{"rule that never counts", "topics:\n- match: a*\n- match: ab", 2, `topics: rule 2: match is "ab": allowed is what no rule above matches: rule 1 (a*) takes all of it, so put this one before that (given by sluice.yaml:%d:10)`},
	{"rules that are no list", "topics: all", 0, `sluice.yaml:%d:1: topics: expected a list, of lines that begin with -, not one plain value`},
}

// TestFaultsOfAFileAreToldTogether has each kind of fault by itself, and beside each
// other kind, told with its place, and nothing besides.
func TestFaultsOfAFileAreToldTogether(t *testing.T) {
	t.Parallel()
	for i, a := range wrong {
		t.Run(a.kind, func(t *testing.T) {
			t.Parallel()
			for j, b := range wrong {
				rules := strings.HasPrefix(a.piece, "topics:") && strings.HasPrefix(b.piece, "topics:")
				if i != j && rules { // one list a file
					continue
				}
				if i != j && (i < j) == ((i+j)%2 == 0) { // one of the two orders
					continue
				}
				file, want := a.piece+"\n", []string{toldAt(a.told, 1+a.line)}
				if i != j {
					want = append(want, toldAt(b.told, strings.Count(file, "\n")+1+b.line))
					file += b.piece + "\n"
				}
				if i%2 == 0 {
					file = "\ufeff" + file
				}
				got := call{args: []string{"serve"}, file: file}.run(t)
				lines := strings.Split(strings.TrimSuffix(got.stderr, "\n"), "\n")
				if len(want) > 1 {
					want = append(want, "2 faults")
				}
				if got.exit != exitUsage || len(lines) != len(want) {
					t.Fatalf("%q: exit %d,\n%s", file, got.exit, got.stderr)
				}
				for k, line := range lines {
					if !strings.HasPrefix(line, "sluice: "+want[k]) {
						t.Errorf("%q:\n%s\nwant\n%s", file, line, want[k])
					}
				}
			}
		})
	}
}

func toldAt(told string, line int) string {
	if !strings.Contains(told, "%d") {
		return told
	}
	return fmt.Sprintf(told, line)
}

// TestFaultsOfAllOriginsAreToldTogether tells of command line and environment first, then
// of the file in its order.
func TestFaultsOfAllOriginsAreToldTogether(t *testing.T) {
	t.Parallel()
	got := call{
		args: strings.Fields("serve --batch-size 0 --inbound-rate x --admin-token-file nowhere"),
		env:  map[string]string{"SLUICE_RATE_LIMIT": "-1", "SLUICE_MAX_CONNECTIONS": "few", "SLUICE_MAXDEMAND": "3", "SLUICE_TAG": "env"},
		file: "dedupe: taste\nlisten: nowhere\nbatch-size: a flag has it\n",
	}.run(t)
	want := `sluice: --inbound-rate is "x": allowed is a whole number
sluice: --max-connections is "few": allowed is a whole number (given by SLUICE_MAX_CONNECTIONS)
sluice: --tag is "env": allowed is KEY=VALUE, and more of them after commas (given by SLUICE_TAG)
sluice: SLUICE_MAXDEMAND is "3": allowed is nothing, since no flag has this variable: did you mean SLUICE_MAX_DEMAND?
sluice: --batch-size is "0": allowed is 1 to 100000 events
sluice: --rate-limit is "-1": allowed is events per second, 0 for no limit (given by SLUICE_RATE_LIMIT)
sluice: --admin-token-file is "nowhere": allowed is a file with the token as its one line: open nowhere: no such file or directory
sluice: --dedupe is "taste": allowed is offset, key, payload (given by sluice.yaml:1:9)
sluice: --listen is "nowhere": allowed is host:port, such as 127.0.0.1:4000 (given by sluice.yaml:2:9)
sluice: 9 faults
`
	if got.exit != exitUsage || got.stderr != want || got.stdout != "" {
		t.Errorf("exit %d, got\n%swant\n%s", got.exit, got.stderr, want)
	}
}

// TestFaultsBesideAnUnknownFlag: what comes behind it is not read, the file is.
func TestFaultsBesideAnUnknownFlag(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"serve", "--bogus", "--lanes", "many"}, file: "lisen: a\nwriters: many\n"}.run(t)
	want := `sluice: unknown flag --bogus
sluice: sluice.yaml:1:1: "lisen" is no setting: did you mean "listen"?
sluice: --writers is "many": allowed is a whole number (given by sluice.yaml:2:10)
sluice: 3 faults; see: sluice serve --help
`
	if got.exit != exitUsage || got.stderr != want {
		t.Errorf("exit %d, got\n%swant\n%s", got.exit, got.stderr, want)
	}
}

// TestReloadRefusesAFileWhole tells all that is wrong in it, settings included that
// count from the next start on.
func TestReloadRefusesAFileWhole(t *testing.T) {
	t.Parallel()
	p, path := call{file: "lanes: 2\ntopics:\n- match: a\n"}.process(t, io.Discard, io.Discard)
	resolver := newConfigResolver(p.env)
	parser, err := newParser(t.Context(), p, resolver)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resolver.parse(parser, []string{"serve", "--writers", "3"}); err != nil {
		t.Fatal(err)
	}
	r := &reloader{process: p, resolver: resolver}
	for file, want := range map[string]string{
		"lanes: 3\nwriters: 4\ntopics:\n- match: b\n- match: c\n": "",
		"lanes: -3\nlisen: a\ntopics:\n- match: a*b\n  access: all\n  mailbox-size: many\n": `--lanes is "-3": allowed is 1 to 1024 (0: one per core) (given by F:1:8); ` +
			`F:2:1: "lisen" is no setting: did you mean "listen"?; ` +
			`topics: rule 1: match is "a*b": allowed is a topic, or the beginning of topics followed by one * at the end, such as room:* (given by F:4:10); ` +
			`topics: rule 1: access is "all": allowed is public, token, hook, sql, deny (given by F:5:11); ` +
			`F:6:17: topics: rule 1: mailbox-size: "many" is not a whole number`,
	} {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		read, changed, err := r.reread()
		switch {
		case want == "" && (err != nil || len(read.topics) != 2 || fmt.Sprint(changed) != "[lanes writers]"):
			t.Errorf("%q: %v, changed %v, %v", file, read.topics, changed, err)
		case want != "" && (err == nil || strings.ReplaceAll(err.Error(), path, "F") != want):
			t.Errorf("%q: got\n%v\nwant\n%s", file, err, want)
		}
	}
}

// TestRulesWithAnchors are read as YAML has them.
func TestRulesWithAnchors(t *testing.T) {
	t.Parallel()
	const rules = "topics:\n- &first\n  match: a\n  overflow: latest\n- <<: *first\n  match: b*\n"
	for more, want := range map[string]string{
		"":                        "",
		"  acces: all\n":          `sluice: sluice.yaml:7:3: topics: unknown field "acces"`,
		"  access: all\n":         `sluice: topics: rule 2: access is "all": allowed is public, token, hook, sql, deny (given by sluice.yaml:7:11)`,
		"- match: bc\n":           `sluice: topics: rule 3: match is "bc": allowed is what no rule above matches: rule 2 (b*)`, // what stands beside a merge beats it
		"- match: c\n  dedupe: x": `sluice: topics: rule 3: dedupe is "x": allowed is offset, key, payload (given by sluice.yaml:8:11)`,
	} {
		got := call{args: []string{"serve", "--lanes", "-1"}, file: rules + more}.run(t)
		if got.exit != exitUsage || !strings.Contains(got.stderr, "--lanes") || !strings.Contains(got.stderr, want) || strings.Count(got.stderr, "rule") > 0 && want == "" {
			t.Errorf("%q: exit %d,\n%s", more, got.exit, got.stderr)
		}
	}
}
