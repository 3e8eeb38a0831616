package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
)

// A wrong value tells where it came from: that is how the winner is seen.
func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	t.Parallel()
	const (
		flag = `--lanes is "-1": allowed is 1 to 1024 (0: one per core)`
		env  = `--lanes is "-2": allowed is 1 to 1024 (0: one per core) (given by SLUICE_LANES)`
		file = `--lanes is "-3": allowed is 1 to 1024 (0: one per core) (given by sluice.yaml:2:8)`
	)
	given := []string{"--lanes", "-1"}
	environment := map[string]string{"SLUICE_LANES": "-2"}
	settings := "# stages\nlanes: -3\n"
	for _, test := range []struct {
		name string
		call call
		want string
	}{
		{"all three", call{args: given, env: environment, file: settings}, flag},
		{"flag and file", call{args: given, file: settings}, flag},
		{"flag and environment", call{args: given, env: environment}, flag},
		{"environment and file", call{env: environment, file: settings}, env},
		{"file alone", call{file: settings}, file},
		{"an empty variable is not set", call{env: map[string]string{"SLUICE_LANES": ""}, file: settings}, file},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.call.args = append([]string{"serve"}, test.call.args...)
			got := test.call.run(t)
			if got.exit != exitUsage || got.stderr != "sluice: "+test.want+"\n" {
				t.Errorf("exit %d, %q; want 2, %q", got.exit, got.stderr, test.want)
			}
		})
	}
}

func TestConfigFlagBeatsItsVariable(t *testing.T) {
	t.Parallel()
	named := writeFile(t, "lanes: 3")
	got := call{args: []string{"serve", "--config", named}, file: "lanes: 4"}.parse(t)
	if got.Serve.Settings.Lanes != 3 {
		t.Errorf("lanes %d, want those of the file that the flag names", got.Serve.Settings.Lanes)
	}
}

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	const general, own = "DATABASE_URL", "SLUICE_DATABASE_URL"
	for _, test := range []struct {
		name string
		call call
		want string
	}{
		{"by the general variable", call{env: map[string]string{general: "a"}}, "a"},
		{"own variable beats the general one", call{env: map[string]string{general: "a", own: "b"}}, "b"},
		{"general variable beats the file", call{env: map[string]string{general: "a"}, file: "database-url: c"}, "a"},
		{"flag beats them", call{args: []string{"--database-url", "d"}, env: map[string]string{general: "a", own: "b"}}, "d"},
	} {
		for _, command := range []string{"serve", "migrate"} {
			t.Run(command+" "+test.name, func(t *testing.T) {
				t.Parallel()
				test := test
				test.call.args = append([]string{command}, test.call.args...)
				cli := test.call.parse(t)
				got := map[string]string{"serve": cli.Serve.Settings.DatabaseURL, "migrate": cli.Migrate.DatabaseURL}[command]
				if got != test.want {
					t.Errorf("database URL %q, want %q", got, test.want)
				}
			})
		}
	}
}

func TestNoFlagsMeanDefaults(t *testing.T) {
	t.Parallel()
	got := sluice.Config(call{args: []string{"serve"}}.parse(t).Serve.Settings)
	if want := sluice.DefaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFileSetsEveryKind(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"serve"}, file: `
# every kind of value, as people write them
listen: 127.0.0.1:5000
node: 7            # a name, though it looks like a number
migrate: false
anonymous: true
max-demand: 20
fetch-bytes: 64KiB
max-body-bytes: 4096
poll-interval: 250ms
batch-timeout: 0
origins: ["//example.org", "https://example.com:8443"]
tag:
  env: dev
  shard: 7
log-format: json
admin-url: http://127.0.0.1:4001  # another command's setting
data-dir: |-
  /var/lib/sluice
`}.parse(t).Serve
	want := sluice.DefaultConfig()
	anonymous := true
	want.Listen, want.Node, want.Migrate, want.Anonymous = "127.0.0.1:5000", "7", new(false), &anonymous
	want.MaxDemand, want.FetchBytes, want.MaxBodyBytes = 20, 64<<10, 4096
	want.PollInterval, want.BatchTimeout = 250*time.Millisecond, 0
	want.Origins = []string{"//example.org", "https://example.com:8443"}
	want.Tags = map[string]string{"env": "dev", "shard": "7"}
	want.DataDir = "/var/lib/sluice"
	if config := sluice.Config(got.Settings); !reflect.DeepEqual(config, want) {
		t.Errorf("got  %+v\nwant %+v", config, want)
	}
	if got.Log.LogFormat != "json" {
		t.Errorf("log format %q", got.Log.LogFormat)
	}
}

func TestRulesOfTopics(t *testing.T) {
	t.Parallel()
	p, _ := call{}.process(t, io.Discard, io.Discard)
	settings := newConfigResolver(p.env)
	parser, err := newParser(t.Context(), p, settings)
	if err != nil {
		t.Fatal(err)
	}
	settings.read(writeFile(t, `
topics:
- match: board:*
  access: token
  publish: log
  overflow: latest
  mailbox-size: 16
  dedupe: key
  dedupe-window: 90s
  flush-interval: 250ms
  max-last: 0
  tags: {tenant: acme, shard: 7}
  presence: {key: client, meta: client, max-meta: 2KiB, max: 50}
- match: lobby
  presence: true
- match: attic
  presence: false
- match: "*"
`), parser.Model)
	if len(settings.faults) > 0 {
		t.Fatal(settings.join())
	}
	want := []sluice.TopicRule{{
		Match: "board:*", Access: "token", Publish: "log",
		Overflow: sluice.Latest, MailboxSize: 16, Dedupe: sluice.DedupeKey, DedupeWindow: 90 * time.Second,
		FlushInterval: 250 * time.Millisecond, MaxLast: new(0), Tags: map[string]string{"tenant": "acme", "shard": "7"},
		Presence: sluice.PresenceRule{On: true, Key: "client", Meta: "client", MaxMeta: 2 << 10, Max: 50},
	}, {Match: "lobby", Presence: sluice.PresenceRule{On: true}}, {Match: "attic"}, {Match: "*"}}
	if !reflect.DeepEqual(settings.file.topics, want) {
		t.Errorf("got  %+v\nwant %+v", settings.file.topics, want)
	}
}

// TestEmptyRulesAreRules tells a list that is there from none.
func TestEmptyRulesAreRules(t *testing.T) {
	t.Parallel()
	for text, listed := range map[string]bool{
		"": false, "# topics:\n": false, "max-demand: 7\n": false,
		"topics:\n": true, "topics: []\n": true, "topics: ~\n": true, "topics: # none\n": true,
		"\ufefftopics:\n": true, "\ufeffmax-demand: 7\r\n": false,
	} {
		p, _ := call{}.process(t, io.Discard, io.Discard)
		settings := newConfigResolver(p.env)
		parser, err := newParser(t.Context(), p, settings)
		if err != nil {
			t.Fatal(err)
		}
		settings.read(writeFile(t, text), parser.Model)
		if len(settings.faults) > 0 || (settings.file.topics != nil) != listed {
			t.Errorf("%q: %v, %v", text, settings.file.topics, settings.faults)
		}
	}
}

func TestEnvironmentSetsEveryKind(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"serve", "--tag", "a=1", "--tag", "b=2"}, env: map[string]string{
		"SLUICE_MIGRATE":    "false",
		"SLUICE_ANONYMOUS":  "TRUE",
		"SLUICE_FETCH_SIZE": "7",
		"SLUICE_ORIGINS":    "//a,//b",
		"SLUICE_TAG":        "c=3",
		"SLUICE_STATSD":     "localhost:8125",
		"SLUICE_COUNT":      "not for this command",
	}}.parse(t).Serve.Settings
	if *got.Migrate || got.Anonymous == nil || !*got.Anonymous || got.FetchSize != 7 || got.StatsD != "localhost:8125" {
		t.Errorf("got %+v", got)
	}
	if !reflect.DeepEqual(got.Origins, []string{"//a", "//b"}) || !reflect.DeepEqual(got.Tags, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("origins %q, tags %q", got.Origins, got.Tags)
	}
	tags := call{args: []string{"serve"}, env: map[string]string{"SLUICE_TAG": "c=3,d=4"}}.parse(t).Serve.Settings.Tags
	if !reflect.DeepEqual(tags, map[string]string{"c": "3", "d": "4"}) {
		t.Errorf("tags %q", tags)
	}
}

func TestFilesThatDoNotNameSettings(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"# nothing set\n", "---\n", "\n\n", "~\n", "{}\n"} {
		call{args: []string{"serve"}, file: file}.parse(t)
	}
}

// Variables that others set, such as Kubernetes for a service named sluice, are no
// reason not to start; one that is not known to be theirs is told.
func TestForeignVariables(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{
		"SLUICE_SERVICE_HOST":           false,
		"SLUICE_SERVICE_PORT_SOCKET":    false,
		"SLUICE_PORT":                   false,
		"SLUICE_PORT_4000_TCP_ADDR":     false,
		"SLUICE_INTERNAL_PORT_4001_TCP": false,
		"SLUICE_INTERNAL_SERVICE_HOST":  false,
		"SLUICE_OF_ANOTHER_PROGRAM":     true,
		"SLUICE_MAX_DEMAND":             false,
		"SLUICE_TOKEN":                  false, // of watch
		"SLUICY_LANES":                  false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := call{args: []string{"version"}, env: map[string]string{name: "3"}}.run(t)
			if got.exit != exitOK || strings.Contains(got.stderr, name) != told {
				t.Errorf("exit %d, stderr %q", got.exit, got.stderr)
			}
		})
	}
}

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args string
		env  map[string]string
		file string
		want string
	}{
		// The command line.
		{name: "unknown flag", args: "serve --max-demnad 3", want: `unknown flag --max-demnad, did you mean "--max-demand"?; see: sluice serve --help`},
		{name: "unknown command", args: "swerve", want: `unexpected argument swerve, did you mean "serve"?; see: sluice --help`},
		{name: "argument too many", args: "serve now", want: `unexpected argument now; see: sluice serve --help`},
		{name: "argument missing", args: "publish demo", want: `expected "<event>"; see: sluice publish --help`},
		{name: "value missing at the end", args: "serve --listen", want: `--listen: a value is missing; see: sluice serve --help`},
		{name: "value missing before a flag", args: "serve --max-demand --lanes 2", want: `--max-demand: a value is missing; see: sluice serve --help`},

		// Types.
		{name: "no number", args: "serve --max-demand many", want: `--max-demand is "many": allowed is a whole number`},
		{name: "a fraction", args: "serve --lanes 1.5", want: `--lanes is "1.5": allowed is a whole number`},
		{name: "no duration", args: "serve --poll-interval 100", want: `--poll-interval is "100": allowed is a duration with its unit, such as 100ms, 30s or 1h`},
		{name: "no size", args: "serve --fetch-bytes 8MM", want: `--fetch-bytes is "8MM": allowed is a size such as 4096, 64KiB or 8MiB`},
		{name: "no truth", args: "serve --migrate=maybe", want: `--migrate is "maybe": allowed is true or false`},
		{name: "no truth in a pointer", env: map[string]string{"SLUICE_ANONYMOUS": "sure"}, args: "serve", want: `--anonymous is "sure": allowed is true or false (given by SLUICE_ANONYMOUS)`},
		{name: "no pair", args: "serve --tag env", want: `--tag: expected "<key>=<value>" but got "env"; see: sluice serve --help`},

		// Ranges and contradictions, which the service knows.
		{name: "below the range", args: "serve --max-demand 0", want: `--max-demand is "0": allowed is 1 to 1048576 events`},
		{name: "negative", args: "serve --max-demand -5", want: `--max-demand is "-5": allowed is 1 to 1048576 events`},
		{name: "by the environment", args: "serve", env: map[string]string{"SLUICE_MAX_DEMAND": "0"}, want: `--max-demand is "0": allowed is 1 to 1048576 events (given by SLUICE_MAX_DEMAND)`},
		{name: "by the file", args: "serve", file: "\nmax-demand: 0", want: `--max-demand is "0": allowed is 1 to 1048576 events (given by sluice.yaml:2:13)`},
		{name: "min against max", args: "serve --max-demand 10 --min-demand 10", want: `--min-demand is "10": allowed is less than --max-demand (0: half of it)`},
		{name: "size out of range", args: "serve --mailbox-bytes 1", want: `--mailbox-bytes is "1B": allowed is 4KiB to 1GiB`},
		{name: "duration out of range", args: "serve --heartbeat-timeout 1ms", want: `--heartbeat-timeout is "1ms": allowed is 1s to 1h`},
		{name: "no rule", args: "serve --overflow explode", want: `--overflow is "explode": allowed is catch-up, drop-oldest, drop-newest, latest, disconnect`},
		{name: "named oddly: statsd", args: "serve --statsd nowhere", want: `--statsd is "nowhere": allowed is host:port, such as 127.0.0.1:4000`},
		{name: "named oddly: statsd-tags", args: "serve --statsd-tags xml", want: `--statsd-tags is "xml": allowed is datadog, influx, graphite`},
		{name: "no start", args: "serve --start soon", want: `--start is "soon": allowed is committed, head, earliest, or an offset from 0`},
		{name: "no path", args: "serve --socket-path socket", want: `--socket-path is "socket": allowed is a path such as /socket, with no slash at its end`},
		{name: "open to all", args: "serve --listen 0.0.0.0:4000", want: `--listen is "0.0.0.0:4000": allowed is a loopback address; anywhere else give --jwt-secret-file or --jwt-keys-file, or --anonymous to let in everybody`},
		{name: "admin without token", args: "serve --admin-listen :4001", want: `--admin-listen is ":4001": allowed is a loopback address, or any other with --admin-token-file`},
		{name: "log level", args: "serve --log-level loud", want: `--log-level is "loud": allowed is debug, info, warn, error`},
		{name: "log format", args: "serve", file: "log-format: xml", want: `--log-format is "xml": allowed is text, json (given by sluice.yaml:1:13)`},
		{name: "role without a database", args: "migrate --grant-to app", want: `--grant-to is "app": allowed is a role of the database that --database-url names; the embedded store has none`},
		{name: "log level of migrate", args: "migrate --log-level loud", want: `--log-level is "loud": allowed is debug, info, warn, error`},
		{name: "no token", args: "serve --admin-token-file nowhere", want: `--admin-token-file is "nowhere": allowed is a file with the token as its one line: open nowhere: no such file or directory`},

		// Files.
		{name: "no file", args: "serve --config nowhere.yaml", want: `--config is "nowhere.yaml": allowed is a YAML file that can be read (no such file or directory)`},
		{name: "unknown key", args: "serve", file: "listen: 127.0.0.1:0\nmax-demands: 3", want: `sluice.yaml:2:1: "max-demands" is no setting: did you mean "max-demand"?; see: sluice serve --help`},
		{name: "key with underscores", args: "serve", file: "max_demand: 3", want: `sluice.yaml:1:1: "max_demand" is no setting: did you mean "max-demand"?; see: sluice serve --help`},
		{name: "key like no other", args: "serve", file: "colour: blue", want: `sluice.yaml:1:1: "colour" is no setting; see: sluice serve --help`},
		{name: "the file in the file", args: "serve", file: "config: x", want: `sluice.yaml:1:1: "config" is no setting; see: sluice serve --help`},
		{name: "unknown key for another command", args: "publish demo greeted", file: "subjects: 3", want: `sluice.yaml:1:1: "subjects" is no setting; see: sluice publish --help`},
		{name: "no list of rules", args: "serve", file: "topics: 3", want: `sluice.yaml:1:1: topics: expected a list, of lines that begin with -, not one plain value; ` + ruleHint + `; see: sluice serve --help`},
		{name: "rule with an unknown key", args: "serve", file: "topics:\n- match: a\n  acces: deny", want: `sluice.yaml:3:3: topics: rule 1: unknown field "acces"; ` + ruleHint + `; see: sluice serve --help`},
		{name: "rule with an unknown value", args: "serve", file: "topics:\n- match: a\n  access: all", want: `topics: rule 1: access is "all": allowed is public, token, hook, sql, deny (given by sluice.yaml:3:11)`},
		{name: "rule with an unknown overflow", args: "serve", file: "topics:\n- match: a\n  overflow: hope", want: `topics: rule 1: overflow is "hope": allowed is catch-up, drop-oldest, drop-newest, latest, disconnect (given by sluice.yaml:3:13)`},
		{name: "rule with a mailbox out of range", args: "serve", file: "topics:\n- match: a\n  mailbox-size: -1", want: `topics: rule 1: mailbox-size is "-1": allowed is 1 to 1048576 messages (given by sluice.yaml:3:17)`},
		{name: "rule with an unknown dedupe", args: "serve", file: "topics:\n- match: a\n  dedupe: taste", want: `topics: rule 1: dedupe is "taste": allowed is offset, key, payload (given by sluice.yaml:3:11)`},
		{name: "rule with a window out of range", args: "serve", file: "topics:\n- match: a\n  dedupe-window: 1000h", want: `topics: rule 1: dedupe-window is "1000h0m0s": allowed is 1ms to 720h (given by sluice.yaml:3:18)`},
		{name: "rule with an interval out of range", args: "serve", file: "topics:\n- match: a\n  flush-interval: -1s", want: `topics: rule 1: flush-interval is "-1s": allowed is 1ms to 1h (given by sluice.yaml:3:19)`},
		{name: "rule with no interval", args: "serve", file: "topics:\n- match: a\n  flush-interval: soon", want: `sluice.yaml:3:19: topics: rule 1: flush-interval: "soon" is not a duration with its unit, such as 200ms`},
		{name: "rule with a tag of the service", args: "serve", file: "topics:\n- match: a\n  tags: {node: b}", want: `topics: rule 1: tags is "node": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version (given by sluice.yaml:3:3)`},
		{name: "rule with a tag of the flags", args: "serve --tag env=dev", file: "topics:\n- match: a\n  tags: {env: b}", want: `topics: rule 1: tags is "env": allowed is as key none of those of --tag (given by sluice.yaml:3:3)`},
		{name: "rule with a tag that breaks lines", args: "serve", file: "topics:\n- match: a\n  tags: {tenant: 'a|c'}", want: `topics: rule 1: tags is "a|c": allowed is as value 1 to 200 letters, digits and any of _.-/ (given by sluice.yaml:3:3)`},
		{name: "rule with a tag of histograms", args: "serve", file: "topics:\n- match: a\n  tags: {le: '1'}", want: `topics: rule 1: tags is "le": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version (given by sluice.yaml:3:3)`},
		{name: "tag of histograms", args: "serve --tag le=1", want: `--tag is "le": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version`},
		{name: "tag of Prometheus", args: "serve --tag __name__=x", want: `--tag is "__name__": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version`},
		{name: "tag without a name", args: "serve --tag =x", want: `--tag is "": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version`},
		{name: "tag without a value", args: "serve --tag x=", want: `--tag is "": allowed is as value 1 to 200 letters, digits and any of _.-/`},
		{name: "tag that breaks lines", args: "serve --tag a=b|c", want: `--tag is "b|c": allowed is as value 1 to 200 letters, digits and any of _.-/`},
		{name: "tag that is there already", args: "serve --tag node=x", want: `--tag is "node": allowed is as key letters, digits and _, with no digit and no __ at the beginning, other than commit, go, hook, le, node, quantile, reason, route, stage, status, transport, version`},
		{name: "node that breaks lines", args: "serve --node a|b", want: `--node is "a|b": allowed is 1 to 200 letters, digits and any of _.-/, since it is a tag of every metric`},
		{name: "prefix that breaks lines", args: "serve --statsd-prefix a|b", want: `--statsd-prefix is "a|b": allowed is letters, digits and any of _.-, such as sluice.`},
		{name: "no origin", args: "serve --origins example.org", want: `--origins is "example.org": allowed is a list of //host, //*.host, scheme://host:port, scheme:// (file:// for one), null or * (origin "example.org": must be of the form //host, //*.host, scheme://host:port or scheme://, or null, or *)`},
		{name: "no network", args: "serve --trusted-proxies proxy.example", want: `--trusted-proxies is "proxy.example": allowed is addresses and networks such as 10.0.0.0/8,fd00::/8 ("proxy.example" is no address and no network)`},
		{name: "no dedupe", args: "serve --dedupe taste", want: `--dedupe is "taste": allowed is offset, key, payload`},
		{name: "no window", args: "serve --dedupe-window 0", want: `--dedupe-window is "0s": allowed is 1ms to 720h`},
		{name: "no entries", args: "serve --dedupe-entries 0", want: `--dedupe-entries is "0": allowed is 1 to 1048576 messages`},
		{name: "rule with an interval without a unit", args: "serve", file: "topics:\n- match: a\n  flush-interval: 200", want: `sluice.yaml:3:19: topics: rule 1: flush-interval: "200" is not a duration with its unit, such as 200ms`},
		{name: "rule with a size in words", args: "serve", file: "topics:\n- match: a\n  mailbox-size: many", want: `sluice.yaml:3:17: topics: rule 1: mailbox-size: "many" is not a whole number`},
		{name: "rule with a list for a topic", args: "serve", file: "topics:\n- match: [a]", want: `sluice.yaml:2:10: topics: rule 1: match: a list is not one plain value`},
		{name: "rule with a plain value for tags", args: "serve", file: "topics:\n- match: a\n  tags: b", want: `sluice.yaml:3:9: topics: rule 1: tags: expected lines of the form key: value, not one plain value`},
		{name: "rule with a star in its midst", args: "serve", file: "topics:\n- match: a*b", want: `topics: rule 1: match is "a*b": allowed is a topic, or the beginning of topics followed by one * at the end, such as room:* (given by sluice.yaml:2:10)`},
		{name: "rule that never counts", args: "serve", file: "topics:\n- match: room:*\n- match: '*'\n- match: news", want: `topics: rule 3: match is "news": allowed is what no rule above matches: rule 2 (*) takes all of it, so put this one before that (given by sluice.yaml:4:10)`},
		{name: "rule that is there twice", args: "serve", file: "topics:\n- match: news\n- match: news", want: `topics: rule 2: match is "news": allowed is what no rule above matches: rule 1 (news) takes all of it, so put this one before that (given by sluice.yaml:3:10)`},
		{name: "database of another kind", args: "serve --database-url mysql://user:secret@host/app", want: `--database-url is "mysql://…": allowed is postgres://user:password@host:5432/database, with special characters percent-encoded (failed to parse as keyword/value)`},
		{name: "database of another kind to migrate", args: "migrate --database-url mysql://user:secret@host/app", want: `--database-url is "mysql://…": allowed is postgres://user:password@host:5432/database, with special characters percent-encoded (failed to parse as keyword/value)`},
		{name: "variable with a slip", args: "serve", env: map[string]string{"SLUICE_MAXDEMAND": "3"}, want: `SLUICE_MAXDEMAND is "3": allowed is nothing, since no flag has this variable: did you mean SLUICE_MAX_DEMAND?`},
		{name: "variable for another command, with a slip", args: "serve", env: map[string]string{"SLUICE_ADMIN_URI": "x"}, want: `SLUICE_ADMIN_URI is "x": allowed is nothing, since no flag has this variable: did you mean SLUICE_ADMIN_URL?`},
		{name: "rule without a match", args: "serve", file: "topics:\n- access: deny", want: `topics: rule 1: match is "": allowed is a topic, or the beginning of topics followed by one * at the end, such as room:* (given by sluice.yaml:2:3)`},
		{name: "two kinds of keys", args: "serve --jwt-secret-file a --jwt-keys-file b", want: `--jwt-keys-file is "b": allowed is nothing, since --jwt-secret-file is given too: choose one
sluice: --jwt-secret-file is "a": allowed is a file with keys to verify tokens with: open a: no such file or directory
sluice: 2 faults`},
		{name: "keys that are not there", args: "serve --jwt-secret-file nowhere", want: `--jwt-secret-file is "nowhere": allowed is a file with keys to verify tokens with: open nowhere: no such file or directory`},
		{name: "certificate without key", args: "serve --tls-cert a", want: `--tls-cert is "a": allowed is a PEM file, together with --tls-key, or neither`},
		{name: "key twice", args: "serve", file: "lanes: 1\nlanes: 2", want: `sluice.yaml:2:1: lanes is given twice, first in line 1`},
		{name: "list for one", args: "serve", file: "lanes: [1]", want: `sluice.yaml:1:1: lanes takes one plain value, not a sequence; see: sluice serve --help`},
		{name: "mapping for one", args: "serve", file: "lanes:\n  a: 1", want: `sluice.yaml:1:1: lanes takes one plain value, not a mapping; see: sluice serve --help`},
		{name: "nothing for one", args: "serve", file: "lanes:", want: `sluice.yaml:1:1: lanes takes one plain value, not a null; see: sluice serve --help`},
		{name: "one for a list", args: "serve", file: "origins: //a", want: `sluice.yaml:1:1: origins takes a list, such as [one, two]; see: sluice serve --help`},
		{name: "list of lists", args: "serve", file: "origins: [[a]]", want: `sluice.yaml:1:1: origins takes a list of plain values; see: sluice serve --help`},
		{name: "one for a mapping", args: "serve", file: "tag: a=b", want: `sluice.yaml:1:1: tag takes lines of the form key: value below it; see: sluice serve --help`},
		{name: "list in a mapping", args: "serve", file: "tag: {a: [b]}", want: `sluice.yaml:1:1: tag takes a plain value for "a"; see: sluice serve --help`},
		{name: "word for a number", args: "serve", file: "lanes: many", want: `--lanes is "many": allowed is a whole number (given by sluice.yaml:1:8)`},
		{name: "number for a truth", args: "serve", file: "migrate: 5", want: `--migrate is "5": allowed is true or false (given by sluice.yaml:1:10)`},
		{name: "hooks of another shape", args: "serve", file: "hooks: [a]", want: `sluice.yaml:1:8: hooks: expected lines of the form key: value, not a list, of lines that begin with -; ` + hooksHint + `; see: sluice serve --help`},
		{name: "unknown hook", args: "serve", file: "hooks:\n  joins: {url: a}", want: `sluice.yaml:2:3: hooks: unknown field "joins"; ` + hooksHint + `; see: sluice serve --help`},
		{name: "unknown field of a hook", args: "serve", file: "hooks:\n  join: {uri: a}", want: `sluice.yaml:2:10: hooks: join: unknown field "uri"; ` + hooksHint + `; see: sluice serve --help`},
		{name: "hook with a word for a time", args: "serve", file: "hooks:\n  join:\n    timeout: soon", want: `sluice.yaml:3:14: hooks: join: timeout: "soon" is not a duration with its unit, such as 200ms`},
		{name: "hook with no URL, and no secret", args: "serve", file: "hooks:\n  join:\n    url: app", want: `hooks: secret-file is "": allowed is a file with the secrets that requests are signed with, so that your backend knows who asks (given by sluice.yaml:1:1)
sluice: hooks: join: url is "…": allowed is an absolute URL of http or https, such as https://app.example.org/sluice (it is no absolute URL of http or https) (given by sluice.yaml:3:10)
sluice: 2 faults`},
		{name: "hook with a time out of range", args: "serve", file: "hooks:\n  secret-file: nowhere\n  push:\n    url: http://a/b\n    timeout: 2h", want: `hooks: secret-file is "nowhere": allowed is a file with the secrets that requests are signed with: open nowhere: no such file or directory (given by sluice.yaml:2:16)
sluice: hooks: push: timeout is "2h0m0s": allowed is 10ms to 1m (0: 1s) (given by sluice.yaml:5:14)
sluice: 2 faults`},
		{name: "webhooks of another shape", args: "serve", file: "webhooks: {a: b}", want: `sluice.yaml:1:1: webhooks: expected a list, of lines that begin with -, not lines of the form key: value; ` + webhooksHint + `; see: sluice serve --help`},
		{name: "webhook of another shape", args: "serve", file: "webhooks:\n- a", want: `sluice.yaml:2:3: webhooks: webhook 1: expected lines of the form key: value, not one plain value; ` + webhooksHint + `; see: sluice serve --help`},
		{name: "unknown field of a webhook, and a word for a number", args: "serve", file: "webhooks:\n- uri: a\n  batch: many", want: `sluice.yaml:2:3: webhooks: webhook 1: unknown field "uri"; ` + webhooksHint + `
sluice: sluice.yaml:3:10: webhooks: webhook 1: batch: "many" is not a whole number
sluice: 2 faults; see: sluice serve --help`},
		{name: "webhook with nothing right", args: "serve", file: "webhooks:\n- name: a b\n  url: app\n  match: \"\"\n  batch-bytes: 1B\n  start: now", want: `webhooks: webhook 1: secret-file is "": allowed is a file with the secrets that requests are signed with, so that your backend knows who sends (given by sluice.yaml:2:3)
sluice: webhooks: webhook 1: name is "a b": allowed is 1 to 64 of A-Z, a-z, 0-9, _ and - (given by sluice.yaml:2:9)
sluice: webhooks: webhook 1: url is "…": allowed is an absolute URL of http or https, such as https://app.example.org/sluice (it is no absolute URL of http or https) (given by sluice.yaml:3:8)
sluice: webhooks: webhook 1: match is "": allowed is a topic, or the beginning of topics and *, such as orders:* (given by sluice.yaml:4:10)
sluice: webhooks: webhook 1: batch-bytes is "1B": allowed is 1KiB to 64MiB (0: 1MiB) (given by sluice.yaml:5:16)
sluice: webhooks: webhook 1: start is "now": allowed is earliest, head (given by sluice.yaml:6:10)
sluice: 6 faults`},
		{name: "two webhooks of one name", args: "serve", file: "webhooks:\n- &w {name: a, url: \"http://a/b\", match: \"*\", secret-file: nowhere}\n- {name: a, url: \"http://a/b\", match: \"*\", secret-file: nowhere}", want: `webhooks: webhook 1: secret-file is "nowhere": allowed is a file with the secrets that requests are signed with: open nowhere: no such file or directory (given by sluice.yaml:2:60)
sluice: webhooks: webhook 2: name is "a": allowed is a name that no other webhook has, and webhook 1 has it (given by sluice.yaml:3:10)
sluice: webhooks: webhook 2: secret-file is "nowhere": allowed is a file with the secrets that requests are signed with: open nowhere: no such file or directory (given by sluice.yaml:3:57)
sluice: 3 faults`},
		{name: "rule that asks nobody", args: "serve", file: "topics:\n- match: a\n  access: hook", want: `topics: rule 1: access is "hook": allowed is another one, or hook with a hook join: see hooks in the file (given by sluice.yaml:3:11)`},
		{name: "rule that asks a function of no database", args: "serve", file: "topics:\n- match: a\n  access: sql\n  function: may_join", want: `topics: rule 1: access is "sql": allowed is another one, or sql with --database-url: the embedded store has no functions (given by sluice.yaml:3:11)
sluice: topics: rule 1: function is "may_join": allowed is a function of the database with its schema, such as app.may_join (given by sluice.yaml:4:13)
sluice: 2 faults`},
		{name: "rule that asks a function as nobody", args: "serve --database-url postgres://localhost/app", file: "topics:\n- match: a\n  access: sql\n  function: app.may_join", want: `topics: rule 1: access is "sql": allowed is another one, or sql with --access-role, the role that functions are called as (given by sluice.yaml:3:11)`},
		{name: "function that is not asked", args: "serve", file: "topics:\n- match: a\n  function: app.may_join", want: `topics: rule 1: function is "app.may_join": allowed is nothing, since only access: sql asks one (given by sluice.yaml:3:13)`},
		{name: "role of no database", args: "serve --access-role web", want: `--access-role is "web": allowed is nothing without --database-url: the embedded store has no roles`},
		{name: "no role at all", args: "serve --access-role none --database-url postgres://localhost/app", want: `--access-role is "none": allowed is a role of the database (it stands for no role)`},
		{name: "no mapping", args: "serve", file: "- lanes", want: `sluice.yaml:1:1: expected lines of the form name: value, such as max-demand: 1000; see: sluice serve --help`},

		// Other commands.
		{name: "no admin URL", args: "publish --admin-url localhost:4001 demo greeted", want: `--admin-url is "localhost:4001": allowed is a URL such as http://127.0.0.1:4001`},
		{name: "no socket URL", args: "watch --url localhost demo", want: `--url is "localhost": allowed is a URL such as ws://127.0.0.1:4000/socket`},
		{name: "negative offset", args: "watch --after -1 demo", want: `--after is "-1": allowed is an offset from 0`},
		{name: "negative count", args: "watch --count -1 demo", want: `--count is "-1": allowed is a number of events, 0 to stay`},
		{name: "payload is a list", args: "publish demo greeted [1]", want: `<payload> is "[1]": allowed is a JSON object: it is no JSON object, such as {"id": 7}`},
		{name: "payload is no JSON", args: "broadcast demo greeted {a}", want: `<payload> is "{a}": allowed is a JSON object: invalid character 'a' looking for beginning of object key string (at byte 2)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := call{args: strings.Fields(test.args), env: test.env, file: test.file}.run(t)
			if got.exit != exitUsage || got.stderr != "sluice: "+test.want+"\n" || got.stdout != "" {
				t.Errorf("exit %d, stdout %q, stderr:\n%swant 2 and:\nsluice: %s", got.exit, got.stdout, got.stderr, test.want)
			}
		})
	}
}

func TestNoTopic(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"watch", ""}}.run(t)
	if got.exit != exitUsage || got.stderr != "sluice: <topic> is \"\": allowed is a topic, such as orders:eu\n" {
		t.Errorf("got %+v", got)
	}
}

func TestBrokenYAMLNamesTheLine(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"lanes: 1\n\torigins: [", "lanes: 1\nlisten: \"abc", "lanes: 1\n]"} {
		got := call{args: []string{"serve"}, file: file}.run(t)
		if got.exit != exitUsage || !regexp.MustCompile(`^sluice: sluice\.yaml:2:[19]: this is no YAML: `).MatchString(got.stderr) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, %q", file, got.exit, got.stderr)
		}
	}
}

func TestReadToken(t *testing.T) {
	t.Parallel()
	if token, err := readToken(writeFile(t, " secret\n")); token != "secret" || err != nil {
		t.Errorf("token %q, %v", token, err)
	}
	for name, content := range map[string]string{"empty": "\n", "two lines": "one\ntwo\n"} {
		if token, err := readToken(writeFile(t, content)); err == nil {
			t.Errorf("%s: token %q", name, token)
		}
	}
	if _, err := readToken(filepath.Join(t.TempDir(), "missing")); err == nil || os.IsNotExist(err) {
		t.Errorf("missing: %v, want a refusal of the flag", err)
	}
}

// TestZeroIsWhatWasGiven keeps a zero that was given from becoming the default: it is what
// it means, or refused.
func TestZeroIsWhatWasGiven(t *testing.T) {
	t.Parallel()
	otherwise := reflect.ValueOf(sluice.DefaultConfig())
	for i, field := range reflect.VisibleFields(reflect.TypeFor[configFlags]()) {
		if otherwise.Field(i).IsZero() || field.Type.Kind() == reflect.Pointer {
			continue
		}
		zero := map[bool]string{true: "0", false: ""}[otherwise.Field(i).CanInt()]
		settings := call{args: []string{"serve", flagOf(field.Name) + "=" + zero}}.parse(t).Serve.Settings
		config, err := settings.config()
		var wrong *sluice.FieldError
		switch field.Name {
		case "Retention", "Recent", "DrainTimeout":
			if err != nil || config.Validate() != nil || reflect.ValueOf(config).Field(i).Int() != sluice.None {
				t.Errorf("%s: %v, %v", field.Name, reflect.ValueOf(config).Field(i), err)
			}
		default:
			if !errors.As(err, &wrong) || wrong.Field != field.Name || wrong.Allowed == "" {
				t.Errorf("%s: %v", field.Name, err)
			}
		}
	}
	settings := call{args: []string{"serve", "--statsd-prefix=", "--migrate=false", "--jwt-require-exp=false", "--lanes=0"}}.parse(t).Serve.Settings
	if config, err := settings.config(); err != nil || *config.StatsDPrefix != "" || *config.Migrate || *config.JWTRequireExp {
		t.Errorf("%+v, %v", config, err)
	}
}
