package main

import (
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice"
)

// promised are the flags of serve, by group, as users and scripts know them: a
// name that goes from here breaks somebody's start script.
var promised = map[string][]string{
	"Listeners": {"listen", "admin-listen", "tls-cert", "tls-key", "admin-tls-cert", "admin-tls-key", "socket-path"},
	"Store":     {"node", "database-url", "data-dir", "retention", "migrate", "start"},
	"Stages":    {"max-demand", "min-demand", "fetch-size", "fetch-bytes", "poll-interval", "batch-size", "batch-timeout", "lanes", "writers", "rate-limit"},
	"Mailboxes": {"mailbox-size", "mailbox-bytes", "overflow", "compress", "compress-min-bytes", "recent"},
	"Dedupe":    {"dedupe", "dedupe-window", "dedupe-entries"},
	"Access": {"jwt-secret-file", "jwt-keys-file", "jwt-keys-url", "jwt-previous-secret-file", "jwt-previous-until",
		"jwt-issuer", "jwt-audience", "jwt-algorithms", "jwt-leeway", "jwt-require-exp",
		"access-role", "access-timeout", "access-cache", "access-connections",
		"anonymous", "origins", "admin-token-file", "admin-read-token-file", "max-connections", "max-connections-per-ip", "max-connections-per-user", "max-connections-per-second", "trusted-proxies", "max-channels", "max-message-bytes", "inbound-queue", "inbound-bytes", "inbound-rate", "max-body-bytes", "max-payload-bytes"},
	"Cluster": {
		"cluster-listen", "cluster-routes", "cluster-advertise", "cluster-name", "cluster-secret-file", "cluster-tls-cert", "cluster-tls-key",
		"cluster-tls-ca", "nats-url", "nats-creds-file", "nats-tls-ca", "relay", "relay-bytes",
	},
	"Presence":  {"presence-interval", "presence-permdown", "max-presences"},
	"Lifecycle": {"heartbeat-timeout", "write-timeout", "max-connection-age", "drain-timeout"},
	"Logging":   {"log-level", "log-format"},
	"Metrics":   {"statsd", "statsd-prefix", "statsd-tags", "tag"},
}

// commands parses nothing and returns the grammar's commands by name.
func commands(t *testing.T) map[string]*kong.Node {
	t.Helper()
	p, _ := call{}.process(t, io.Discard, io.Discard)
	parser, err := newParser(t.Context(), p, newConfigResolver(p.env))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*kong.Node{}
	for _, node := range parser.Model.Leaves(false) {
		nodes[node.Name] = node
	}
	return nodes
}

func TestServeHasThePromisedFlags(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	for _, flag := range commands(t)["serve"].Flags {
		got[flag.Group.Title] = append(got[flag.Group.Title], flag.Name)
	}
	for _, group := range slices.Sorted(maps.Keys(promised)) {
		want := slices.Sorted(slices.Values(promised[group]))
		if have := slices.Sorted(slices.Values(got[group])); !slices.Equal(have, want) {
			t.Errorf("%s: have %v, want %v", group, have, want)
		}
		delete(got, group)
	}
	if len(got) > 0 {
		t.Errorf("flags that nobody was promised: %v", got)
	}
}

// That every field has its place in configFlags is kept by the compiler; this
// keeps that the place is a flag, and that no flag is left without a field.
func TestFieldsAndFlagsCorrespond(t *testing.T) {
	t.Parallel()
	notFlags := []string{"OnListen", "Console", "Logger", "Topics", "Hooks", "Webhooks", "AdminToken"}
	notFields := []string{"--log-level", "--log-format"} // they make the Logger
	flags := map[string]bool{}
	for _, flag := range commands(t)["serve"].Flags {
		flags["--"+flag.Name] = true
	}
	for field := range reflect.TypeFor[sluice.Config]().Fields() {
		if slices.Contains(notFlags, field.Name) {
			continue
		}
		if !flags[flagOf(field.Name)] {
			t.Errorf("Config.%s has no flag %s", field.Name, flagOf(field.Name))
		}
		delete(flags, flagOf(field.Name))
	}
	if left := slices.Sorted(maps.Keys(flags)); !slices.Equal(left, slices.Sorted(slices.Values(notFields))) {
		t.Errorf("flags with no field: %v, want %v", left, notFields)
	}
}

func TestHelpShowsEverything(t *testing.T) {
	t.Parallel()
	for name, node := range commands(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := call{args: []string{name, "--help"}}.run(t)
			// Words wrap anywhere: compare with the white space taken out.
			page := strings.Join(strings.Fields(got.stdout), " ")
			if got.exit != exitOK || got.stderr != "" {
				t.Fatalf("exit %d, stderr %q", got.exit, got.stderr)
			}
			for _, flag := range node.Flags {
				for _, want := range append(envNames(flag), "--"+flag.Name) {
					if !strings.Contains(page, want) {
						t.Errorf("help of %s lacks %s", name, want)
					}
				}
				if flag.HasDefault && !strings.Contains(page, "default "+flag.Default) {
					t.Errorf("help of %s lacks the default %s of --%s", name, flag.Default, flag.Name)
				}
				if flag.Help == "" || !strings.HasSuffix(flag.Help, ".") {
					t.Errorf("--%s of %s is described as %q", flag.Name, name, flag.Help)
				}
			}
			_, examples, ok := strings.Cut(got.stdout, "\nExamples:\n")
			if n := strings.Count(examples, "\n"); !ok || n < 2 || n > 4 || strings.Count(examples, "sluice ") < n {
				t.Errorf("help of %s ends with the examples %q, want 2 to 4", name, examples)
			}
		})
	}
}

func TestHelpOfTheProgram(t *testing.T) {
	t.Parallel()
	bare, asked := call{}.run(t), call{args: []string{"--help"}}.run(t)
	if bare != asked || bare.exit != exitOK {
		t.Errorf("no arguments: %+v\n--help: %+v", bare, asked)
	}
	for name := range commands(t) {
		if !strings.Contains(asked.stdout, "\n  "+name+" ") {
			t.Errorf("help lacks the command %s", name)
		}
	}
}

func TestHelpComesBeforeMistakes(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"publish", "--help"}, env: map[string]string{"SLUICE_CONFIG": "nowhere"}}.run(t)
	if got.exit != exitOK || got.stderr != "" {
		t.Errorf("help with arguments missing and a wrong file: %+v", got)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for value, want := range map[any]string{
		time.Duration(0): "0", sluice.ByteSize(0): "0", 100 * time.Millisecond: "100ms", 30 * time.Second: "30s", time.Minute: "1m",
		90 * time.Second: "1m30s", time.Hour: "1h", 72 * time.Hour: "72h", 90 * time.Minute: "1h30m",
		sluice.ByteSize(8 << 20): "8MiB", true: "true", 7: "7",
	} {
		if got := text(value); got != want {
			t.Errorf("text(%v) is %q, want %q", value, got, want)
		}
	}
}

// TestHelpIsACommandToo, and version a flag, as people try them.
func TestHelpIsACommandToo(t *testing.T) {
	t.Parallel()
	for asked, same := range map[string]string{"help": "--help", "help serve": "serve --help", "help help": "help --help", "--version": "version"} {
		got, want := call{args: strings.Fields(asked)}.run(t), call{args: strings.Fields(same)}.run(t)
		if got != want || got.exit != exitOK || got.stdout == "" {
			t.Errorf("%s: %+v\n%s: %+v", asked, got, same, want)
		}
	}
	if got := (call{args: []string{"help", "serv"}}).run(t); got.exit != exitUsage || !strings.Contains(got.stderr, `<command> is "serv": allowed is one of serve, `) {
		t.Errorf("%+v", got)
	}
}
