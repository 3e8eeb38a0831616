package sluice_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
)

func TestDefaultConfigIsValid(t *testing.T) {
	t.Parallel()
	config := sluice.DefaultConfig()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	no, yes := false, true
	for _, test := range []struct {
		name         string
		change       func(*sluice.Config)
		field, given string // of the error; empty if there is none
	}{
		{"nothing at all", func(c *sluice.Config) { *c = sluice.Config{} }, "", ""},
		{"negative demand", func(c *sluice.Config) { c.MaxDemand = -1 }, "MaxDemand", "-1"},
		{"no bounds", func(c *sluice.Config) {
			c.Retention, c.Recent, c.DrainTimeout = sluice.Unlimited, sluice.None, sluice.None
		}, "", ""},
		{"retention less than none", func(c *sluice.Config) { c.Retention = -2 }, "Retention", "-2ns"},
		{"no listeners, open to the world as asked", func(c *sluice.Config) {
			c.Listen, c.AdminListen, c.Anonymous = sluice.NoListener, sluice.NoListener, &yes
		}, "", ""},
		{"no listener, open to the world unasked", func(c *sluice.Config) { c.Listen = sluice.NoListener }, "Listen", "none"},
		{"a certificate for no listener", func(c *sluice.Config) {
			c.Listen, c.Anonymous, c.TLSCert, c.TLSKey = sluice.NoListener, &yes, "a.pem", "b.pem"
		}, "TLSCert", "a.pem"},
		{"a certificate for no admin listener", func(c *sluice.Config) {
			c.AdminListen, c.AdminTLSCert, c.AdminTLSKey = sluice.NoListener, "a.pem", "b.pem"
		}, "AdminTLSCert", "a.pem"},
		{"an admin key without its certificate", func(c *sluice.Config) { c.AdminTLSKey = "b.pem" }, "AdminTLSCert", ""},
		{"no time to write", func(c *sluice.Config) { c.WriteTimeout = time.Millisecond }, "WriteTimeout", "1ms"},
		{"min demand not below max", func(c *sluice.Config) { c.MaxDemand, c.MinDemand = 10, 10 }, "MinDemand", "10"},
		{"smallest demand", func(c *sluice.Config) { c.MaxDemand = 1 }, "", ""},
		{"negative batch timeout", func(c *sluice.Config) { c.BatchTimeout = -time.Second }, "BatchTimeout", "-1s"},
		{"mailbox too large", func(c *sluice.Config) { c.MailboxBytes = 2 << 30 }, "MailboxBytes", "2GiB"},
		{"overflow that does not exist", func(c *sluice.Config) { c.Overflow = 9 }, "Overflow", "no rule (9)"},
		{"dedupe that does not exist", func(c *sluice.Config) { c.Dedupe = 9 }, "Dedupe", "no rule (9)"},
		{"no window for repeats", func(c *sluice.Config) { c.DedupeWindow = -1 }, "DedupeWindow", "-1ns"},
		{"no entries for repeats", func(c *sluice.Config) { c.DedupeEntries = -1 }, "DedupeEntries", "-1"},
		{"rule like the flags", func(c *sluice.Config) {
			c.Topics = []sluice.TopicRule{{Match: "a", Overflow: sluice.Latest, MailboxSize: 1, Dedupe: sluice.DedupePayload,
				DedupeWindow: time.Millisecond, FlushInterval: time.Hour, Tags: map[string]string{"tenant": "acme.eu-1"}}}
		}, "", ""},
		{"rule with an overflow that does not exist", rule(sluice.TopicRule{Overflow: 9}), "Topics[0].Overflow", "no rule (9)"},
		{"rule with a dedupe that does not exist", rule(sluice.TopicRule{Dedupe: 9}), "Topics[0].Dedupe", "no rule (9)"},
		{"rule with a large mailbox", rule(sluice.TopicRule{MailboxSize: 1 << 21}), "Topics[0].MailboxSize", "2097152"},
		{"rule with a short window", rule(sluice.TopicRule{DedupeWindow: 1}), "Topics[0].DedupeWindow", "1ns"},
		{"rule with a long interval", rule(sluice.TopicRule{FlushInterval: 2 * time.Hour}), "Topics[0].FlushInterval", "2h0m0s"},
		{"rule with a negative number of last events", rule(sluice.TopicRule{MaxLast: new(-1)}), "Topics[0].MaxLast", "-1"},
		{"rule with a large number of last events", rule(sluice.TopicRule{MaxLast: new(10_001)}), "Topics[0].MaxLast", "10001"},
		{"rule with no last events", rule(sluice.TopicRule{MaxLast: new(0)}), "", ""},
		{"rule that compresses what nothing does", rule(sluice.TopicRule{Compress: &yes}), "Topics[0].Compress", "true"},
		{"rule that does not compress", rule(sluice.TopicRule{Compress: &no}), "", ""},
		{"rule that compresses as all do", func(c *sluice.Config) {
			c.Compress, c.Topics = true, []sluice.TopicRule{{Match: "a", Compress: &yes}}
		}, "", ""},
		{"rule with a tag without a value", rule(sluice.TopicRule{Tags: map[string]string{"tenant": ""}}), "Topics[0].Tags", ""},
		{"rule with a tag without a name", rule(sluice.TopicRule{Tags: map[string]string{"": "acme"}}), "Topics[0].Tags", ""},
		{"rule with a tag of the service", rule(sluice.TopicRule{Tags: map[string]string{"reason": "why"}}), "Topics[0].Tags", "reason"},
		{"rule with a tag of the configuration", func(c *sluice.Config) {
			rule(sluice.TopicRule{Tags: map[string]string{"env": "dev"}})(c)
			c.Tags = map[string]string{"env": "prod"}
		}, "Topics[0].Tags", "env"},
		{"start at a word", func(c *sluice.Config) { c.Start = "yesterday" }, "Start", "yesterday"},
		{"start below 0", func(c *sluice.Config) { c.Start = "-1" }, "Start", "-1"},
		{"start at an offset", func(c *sluice.Config) { c.Start = "17" }, "", ""},
		{"socket path without a slash", func(c *sluice.Config) { c.SocketPath = "socket" }, "SocketPath", "socket"},
		{"no port", func(c *sluice.Config) { c.Listen = "127.0.0.1" }, "Listen", "127.0.0.1"},
		{"port out of range", func(c *sluice.Config) { c.AdminListen = "127.0.0.1:65536" }, "AdminListen", "127.0.0.1:65536"},
		{"StatsD without a port", func(c *sluice.Config) { c.StatsD = "localhost" }, "StatsD", "localhost"},
		{"open to the world unasked", func(c *sluice.Config) { c.Listen = "0.0.0.0:4000" }, "Listen", "0.0.0.0:4000"},
		{"open to the world as asked", func(c *sluice.Config) { c.Listen, c.Anonymous = "0.0.0.0:4000", &yes }, "", ""},
		{"closed to all", func(c *sluice.Config) { c.Anonymous = &no }, "Anonymous", "false"},
		{"admin for the world without a token", func(c *sluice.Config) { c.AdminListen = ":4001" }, "AdminListen", ":4001"},
		{"admin for the world with a token", func(c *sluice.Config) { c.AdminListen, c.AdminToken = ":4001", adminToken }, "", ""},
		{"IPv6 loopback", func(c *sluice.Config) { c.Listen, c.AdminListen = "[::1]:4000", "localhost:4001" }, "", ""},
		{"unspeakable node", func(c *sluice.Config) { c.Node = " " }, "Node", " "},
		{"node named as consumers are", func(c *sluice.Config) { c.Node = "consumer/mail" }, "Node", "consumer/mail"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := sluice.DefaultConfig()
			test.change(&config)
			err := config.Validate()
			wrong := new(sluice.FieldError)
			switch {
			case test.field == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.field != "" && (!errors.As(err, &wrong) || wrong.Field != test.field || wrong.Given != test.given || wrong.Allowed == ""):
				t.Errorf("got %+v, want field %s, given %q", err, test.field, test.given)
			}
			if _, newErr := sluice.New(config); (newErr == nil) != (err == nil) {
				t.Errorf("New says %v, Validate %v", newErr, err)
			}
		})
	}
}

// TestConfigTellsAllThatIsWrong has every fault told, and none that only follows from
// another.
func TestConfigTellsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	no := false
	for _, test := range []struct {
		name   string
		change func(*sluice.Config)
		want   string // fields, in order
	}{
		{"numbers and words", func(c *sluice.Config) {
			c.Lanes, c.PollInterval, c.Overflow, c.Start, c.Node = -1, 1, 9, "soon", " "
		}, "PollInterval Lanes Overflow Start Node"},
		{"demand of which the least depends", func(c *sluice.Config) { c.MaxDemand, c.MinDemand = -1, 5 }, "MaxDemand"},
		{"demands, both", func(c *sluice.Config) { c.MaxDemand, c.MinDemand = -1, -5 }, "MaxDemand MinDemand"},
		{"addresses that are no loopback, being none", func(c *sluice.Config) { c.Listen, c.AdminListen = "here", "there" }, "Listen AdminListen"},
		{"contradictions", func(c *sluice.Config) {
			c.Anonymous, c.TLSCert, c.AdminReadTokenFile, c.JWTIssuer = &no, "a.pem", "r", "me"
		}, "Anonymous JWTIssuer TLSCert AdminReadTokenFile"},
		{"key files", func(c *sluice.Config) {
			c.Lanes, c.JWTSecretFile, c.AdminTokenFile, c.AdminReadTokenFile = -1, "no-secret", "no-token", "no-read-token"
		}, "Lanes JWTSecretFile AdminTokenFile AdminReadTokenFile"},
		{"tags", func(c *sluice.Config) { c.Tags = map[string]string{"le": "1", "a": "|", "b": "c"} }, "Tags Tags"},
		{"rules", func(c *sluice.Config) {
			c.Topics = []sluice.TopicRule{
				{Match: "a*b", Access: "all", Publish: "some", Overflow: 9, Dedupe: 9, MailboxSize: -1, DedupeWindow: -1, FlushInterval: -1, MaxLast: new(-1)},
				{Match: "room:*"}, {Match: "room:7", Access: "all"},
			}
		}, "Topics[0].Match Topics[0].Access Topics[0].Publish Topics[0].Overflow Topics[0].Dedupe Topics[0].MailboxSize Topics[0].DedupeWindow Topics[0].FlushInterval Topics[0].MaxLast Topics[2].Access Topics[2].Match"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := sluice.DefaultConfig()
			test.change(&config)
			_, err := sluice.New(config)
			several, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, each := range several.Unwrap() {
				wrong := new(sluice.FieldError)
				if !errors.As(each, &wrong) {
					t.Fatalf("%v is no FieldError", each)
				}
				got = append(got, wrong.Field)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

// rule is the change to a configuration with one rule.
func rule(r sluice.TopicRule) func(*sluice.Config) {
	r.Match = "a"
	return func(c *sluice.Config) { c.Topics = []sluice.TopicRule{r} }
}

// TestAdminTokensThatCannotBeUsed starts with tokens that are none.
func TestAdminTokensThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := put(t, filepath.Join(dir, "good"), adminToken)
	for name, text := range map[string]string{"short": "fifteen chars!!", "empty": "", "space": strings.Repeat(" ", 20), "lines": adminToken + "\n" + adminToken} {
		path := put(t, filepath.Join(dir, name), text)
		for field, change := range map[string]func(*sluice.Config){
			"AdminTokenFile":     func(c *sluice.Config) { c.AdminTokenFile = path },
			"AdminReadTokenFile": func(c *sluice.Config) { c.AdminTokenFile, c.AdminReadTokenFile = good, path },
		} {
			config := sluice.DefaultConfig()
			config.Logger = slog.New(slog.DiscardHandler)
			change(&config)
			if _, err := sluice.New(config); err == nil || !strings.Contains(err.Error(), field) || text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%s as %s: %v", name, field, err)
			}
		}
	}
	for name, change := range map[string]func(*sluice.Config){
		"short":         func(c *sluice.Config) { c.AdminToken = "short" },
		"twice":         func(c *sluice.Config) { c.AdminToken, c.AdminTokenFile = adminToken, good },
		"reading alone": func(c *sluice.Config) { c.AdminReadTokenFile = good },
		"one for both":  func(c *sluice.Config) { c.AdminTokenFile, c.AdminReadTokenFile = good, good },
	} {
		config := sluice.DefaultConfig()
		config.Logger = slog.New(slog.DiscardHandler)
		change(&config)
		if _, err := sluice.New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		change func(*sluice.Config)
		want   string
	}{
		{func(c *sluice.Config) { c.JWTSecretFile = filepath.Join(dir, "nowhere") }, "JWTSecretFile"},
		{func(c *sluice.Config) { c.JWTSecretFile = put(t, filepath.Join(dir, "empty"), "\n") }, "empty"},
		{func(c *sluice.Config) { c.JWTKeysFile = put(t, filepath.Join(dir, "set"), "{") }, "JSON Web Key Set"},
	} {
		config := sluice.DefaultConfig()
		config.Logger = slog.New(slog.DiscardHandler)
		test.change(&config)
		if _, err := sluice.New(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want sluice.ByteSize
		back string
	}{
		{"0", 0, "0B"},
		{"4096", 4096, "4KiB"},
		{"64KiB", 64 << 10, "64KiB"},
		{" 8 mib ", 8 << 20, "8MiB"},
		{"1GB", 1e9, "1000000000B"},
		{"2kB", 2000, "2000B"},
		{"17b", 17, "17B"},
	} {
		got, err := sluice.ParseByteSize(test.text)
		if err != nil || got != test.want || got.String() != test.back {
			t.Errorf("%q: got %d (%v), %v; want %d (%s)", test.text, got, got, err, test.want, test.back)
		}
		if again, err := sluice.ParseByteSize(got.String()); err != nil || again != got {
			t.Errorf("%q: written and read again %d, %v", test.text, again, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "9999999999999GiB", "12 parsecs"} {
		if got, err := sluice.ParseByteSize(text); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
}
