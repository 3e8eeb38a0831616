package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

func TestParseStatsD(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]statsdSample{
		"a.b:3|c":                          {name: "a.b", kind: "c", value: 3, rate: 1},
		"a:3|c|@0.1":                       {name: "a", kind: "c", value: 3, rate: .1},
		"a:-3|g":                           {name: "a", kind: "g", value: -3, delta: true, rate: 1},
		"a:+3|g":                           {name: "a", kind: "g", value: 3, delta: true, rate: 1},
		"a:0.5|ms|@0.5|#x:1,b:2":           {name: "a{b=2,x=1}", kind: "ms", value: .5, rate: .5},
		"a:1|h|#x:1|@0.5":                  {name: "a{x=1}", kind: "h", value: 1, rate: .5},
		"a,x=1,b=2:1|d":                    {name: "a{b=2,x=1}", kind: "d", value: 1, rate: 1},
		"a;x=1;b=2:1|c":                    {name: "a{b=2,x=1}", kind: "c", value: 1, rate: 1},
		"a;x=host:80:1|c":                  {name: "a{x=host:80}", kind: "c", value: 1, rate: 1},
		"a:1|c|#url:http://h":              {name: "a{url=http://h}", kind: "c", value: 1, rate: 1},
		"a:user 7|s":                       {name: "a", kind: "s", text: "user 7", rate: 1},
		"a:1|c|T1656581400|c:container-id": {name: "a", kind: "c", value: 1, rate: 1}, // of newer protocols
	} {
		if got, ok := parseStatsD(line); !ok || got != want {
			t.Errorf("%s is read as %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "a", "a:1", ":1|c", "a|c", "a:|c", "a:x|c", "a:1|x", "a:1|c|@0", "a:1|c|@2", "a:1|c|@x", "a:NaN|g", "a:Inf|g", "a:|s", ";x=1:1|c", "|", "a:1|"} {
		if got, ok := parseStatsD(line); ok {
			t.Errorf("%q is read as %+v", line, got)
		}
	}
}

func FuzzParseStatsD(f *testing.F) {
	f.Add("a,x=1:3|c|@0.1|#b:2")
	f.Fuzz(func(t *testing.T, line string) {
		newStatsDTable().take([]byte(line), "")
		if s, ok := parseStatsD(line); ok && (s.name == "" || !(s.rate > 0 && s.rate <= 1)) {
			t.Errorf("%q is read as %+v", line, s)
		}
	})
}

// TestStatsDTable has samples of all kinds, some of which stand for several.
func TestStatsDTable(t *testing.T) {
	t.Parallel()
	table := newStatsDTable()
	take := func(format string, args ...any) { table.take(fmt.Appendf(nil, format, args...), "") }
	for n := range 100 {
		take("c:1|c|@0.5|#x:y")
		take("t:%d|ms|@0.1", n)
		take("s:%d|s", n%7)
		take("g:+1|g")
	}
	take("junk")
	take("evil\x1b[2J:1|g")
	rows := func() map[string]string {
		list := map[string]string{}
		for line := range strings.SplitSeq(table.page(2*time.Second), "\n") {
			name, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
			list[name] = rest
		}
		return list
	}
	got := rows()
	for name, want := range map[string]string{
		"c{x=y}": "counter 100 200", "t": "timing 500 50 90 99 99", "s": "set 7", "g": "gauge 100", `evil\u001b[2J`: "gauge 1", "5": "metrics, 1 lines that are no StatsD",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	got = rows() // of a time in which nothing has come
	if got["c{x=y}"] != "counter 0 200" || got["t"] != "timing 0" || got["s"] != "set 0" || got["g"] != "gauge 100" {
		t.Errorf("after that: %v", got)
	}
}

// TestStatsDTableIsBounded, whatever is sent.
func TestStatsDTableIsBounded(t *testing.T) {
	t.Parallel()
	table := newStatsDTable()
	for n := range maxStatsDSeries + 10 {
		table.take(fmt.Appendf(nil, "m%d:1|c", n), "")
	}
	for n := range 5 * maxStatsDSamples {
		table.take([]byte("m1:1|c"), "")
		table.series[statsdKey{"m1", "c"}].take(statsdSample{kind: "ms", value: float64(n), rate: 1})
		table.series[statsdKey{"m1", "c"}].take(statsdSample{kind: "s", text: fmt.Sprint(n), rate: 1})
	}
	s := table.series[statsdKey{"m1", "c"}]
	if len(table.series) != maxStatsDSeries || table.dropped != 10 || len(s.samples) != maxStatsDSamples || len(s.distinct) != maxStatsDSamples {
		t.Errorf("%d metrics, %d dropped, %d samples, %d distinct", len(table.series), table.dropped, len(s.samples), len(s.distinct))
	}
}

// TestStatsDShowsOurMetrics has our own client send, in all tag styles, and the command show it.
func TestStatsDShowsOurMetrics(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		for style, line := range map[metrics.TagStyle]string{metrics.TagsDatadog: "|#node:n", metrics.TagsInflux: ",node=n", metrics.TagsGraphite: ";node=n"} {
			t.Run(fmt.Sprintf("%v raw %v", style, raw), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stdout, stderr := newAwaited(), newAwaited()
				p := process{stdout: stdout, stderr: stderr}
				args := statsdCmd{Listen: "127.0.0.1:0", Raw: raw, Filter: "channels", Every: minStatsDEvery}
				ended := make(chan error, 1)
				go func() { ended <- args.Run(ctx, p) }()
				_, address, _ := strings.Cut(stderr.await("receiving metrics at "), "receiving metrics at ")
				address, _, _ = strings.Cut(address, ";")
				set, err := metrics.New(metrics.Config{StatsD: address, Prefix: "p.", TagStyle: style, Tags: []metrics.Tag{{Key: "node", Value: "n"}}, FlushInterval: 10 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				sending, stop := context.WithCancel(t.Context())
				sent := make(chan error, 1)
				go func() { sent <- set.Run(sending) }()
				set.Gauge(metrics.Channels).Set(3) // which is sent again and again
				set.Gauge(metrics.Topics).Set(3)
				want := "p.channels{node=n}  gauge"
				if raw {
					want = line
				}
				if got := stdout.await(want); strings.Contains(got, "p.topics") {
					t.Errorf("the filter lets through %s", got)
				}
				stop()
				cancel()
				if err := <-sent; err != nil {
					t.Error(err)
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// awaited is written by a command, while a test waits for what it writes.
type awaited struct {
	mu      sync.Mutex
	written *sync.Cond
	text    strings.Builder
}

func newAwaited() *awaited {
	a := &awaited{}
	a.written = sync.NewCond(&a.mu)
	return a
}

func (a *awaited) Write(text []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.written.Broadcast()
	return a.text.Write(text)
}

// await waits for words, and returns all that has been written with them.
func (a *awaited) await(words string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !strings.Contains(a.text.String(), words) {
		a.written.Wait()
	}
	return a.text.String()
}

// TestStatsDRefuses what it cannot do.
func TestStatsDRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for args, test := range map[string]struct {
		exit int
		says string
	}{
		"statsd --listen nowhere":                       {exitUsage, `--listen is "nowhere": allowed is an address such as 127.0.0.1:8125`},
		"statsd --every 1ms":                            {exitUsage, `--every is "1ms": allowed is 100ms to 1h`},
		"statsd --listen " + taken.LocalAddr().String(): {exitFailure, "choose one with --listen"},
	} {
		if got := (call{args: strings.Fields(args)}).run(t); got.exit != test.exit || !strings.Contains(got.stderr, test.says) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	// What serve listens at, by variable or file, is nothing to this command.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := call{args: []string{"statsd", "--listen", "127.0.0.1:0"}, env: map[string]string{"SLUICE_LISTEN": "nowhere"}, file: "listen: 127.0.0.1:1\nstatsd-listen: 127.0.0.1:2"}.runUntil(ctx, t)
	if got.exit != exitOK {
		t.Errorf("%+v", got)
	}
}
