package sluice

import (
	"reflect"
	"strings"
	"testing"
)

// TestBoundsHold gives each number what is just allowed, and what is just not.
func TestBoundsHold(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	bounded := map[string]bool{}
	for _, b := range config.bounds() {
		bounded[b.field] = true
		faulty := func(given int64) string {
			var f faults
			b.given = given
			b.validate(&f)
			if len(f) == 0 {
				return ""
			}
			return f[0].Error()
		}
		if wrong := faulty(b.given); wrong != "" {
			t.Error(wrong)
		}
		for _, given := range []int64{b.least, b.most} {
			if wrong := faulty(given); wrong != "" {
				t.Error(wrong)
			}
		}
		for _, given := range []int64{b.least - 1, b.most + 1, -1} {
			if zero := given == 0 && b.zero != ""; (faulty(given) == "") != zero {
				t.Errorf("%s is %d: %q", b.field, given, faulty(given))
			}
		}
		if text := b.allowed(); strings.ContainsAny(text, "{}") || (b.zero != "") != strings.Contains(text, "(0: ") {
			t.Errorf("%s may be %s", b.field, text)
		}
	}
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		switch field := fields.Field(i); field.Type.Kind() {
		case reflect.Int, reflect.Int64:
			if !bounded[field.Name] {
				t.Errorf("%s has no bound", field.Name)
			}
		}
	}
}

// TestBoundsInWords reads what is said of numbers.
func TestBoundsInWords(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	said := map[string]string{}
	for _, b := range append(config.bounds(), flushInterval(0)) {
		said[b.field] = b.allowed()
	}
	for field, want := range map[string]string{
		"MaxDemand":       "1 to 1048576 events",
		"MinDemand":       "less than --max-demand (0: half of it)",
		"PollInterval":    "1ms to 1m",
		"BatchTimeout":    "0 (never wait) to 1m",
		"Lanes":           "1 to 1024 (0: one per core)",
		"Recent":          "0 to 1024GiB",
		"RelayBytes":      "2MiB to 1024GiB",
		"DedupeWindow":    "1ms to 720h",
		"JWTLeeway":       "0 to 10m",
		"MaxMessageBytes": "128B to 1GiB",
		"MaxPayloadBytes": "1KiB to 256MiB (0: what the store says, 1 MiB at first)",
		"FlushInterval":   "1ms to 1h",
	} {
		if said[field] != want {
			t.Errorf("%s: allowed is %s, want %s", field, said[field], want)
		}
	}
}
