package stages

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store"
)

// TestPayloadBoundFollowsTheLog has the log say what a node was given, and other than
// that.
func TestPayloadBoundFollowsTheLog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		given, before int64
		log, after    int64
		told          string // "": nothing
	}{
		{"nothing is given, nothing said", 0, store.DefaultMaxPayload, 0, store.DefaultMaxPayload, ""},
		{"nothing is given", 0, store.DefaultMaxPayload, 4000, 4000, "level=INFO"},
		{"the same", 4000, 4000, 4000, 4000, ""},
		{"another", 2000, 2000, 4000, 4000, "level=WARN"},
	} {
		var log bytes.Buffer
		b := NewPayloadBound(test.given, func(bytes int64) string { return strconv.FormatInt(bytes, 10) }, slog.New(slog.NewTextHandler(&log, nil)))
		if got := b.Bytes(); got != test.before {
			t.Errorf("%s: %d before the log is open", test.name, got)
		}
		b.adopt(test.log)
		if got := b.Bytes(); got != test.after {
			t.Errorf("%s: %d, want %d", test.name, got, test.after)
		}
		if told := log.String(); (told != "") != (test.told != "") || !strings.Contains(told, test.told) {
			t.Errorf("%s: told %q", test.name, told)
		}
	}
}
