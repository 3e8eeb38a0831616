package metrics_test

import (
	"context"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// patience is how long something may take before it is taken for missing.
const patience = 15 * time.Minute

// listenStatsD takes StatsD packets until the test ends; lines waits for n
// lines and returns all that came, sorted.
func listenStatsD(t *testing.T) (addr string, lines func(n int) []string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String(), func(n int) []string {
		var got []string
		packet := make([]byte, 64<<10)
		conn.SetReadDeadline(time.Now().Add(patience))
		for len(got) < n {
			size, _, err := conn.ReadFrom(packet)
			if err != nil {
				t.Fatalf("after %d of %d lines (%q): %v", len(got), n, got, err)
			}
			for line := range strings.SplitSeq(string(packet[:size]), "\n") {
				if !slices.Contains(got, line) {
					got = append(got, line)
				}
			}
		}
		slices.Sort(got)
		return got
	}
}

// run runs the set until the test ends.
func run(t *testing.T, set *metrics.Set) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- set.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestStatsDLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		style metrics.TagStyle
		want  []string
	}{
		{"datadog", []string{
			"sluice.events.fetched:7|c|#node:a",
			"sluice.log.head:41|g|#node:a",
			"sluice.sockets:3|g|#node:a",
			"sluice.stage.time:1.5|ms|#node:a,stage:encode",
		}},
		{"influx", []string{
			"sluice.events.fetched,node=a:7|c",
			"sluice.log.head,node=a:41|g",
			"sluice.sockets,node=a:3|g",
			"sluice.stage.time,node=a,stage=encode:1.5|ms",
		}},
		{"graphite", []string{
			"sluice.events.fetched;node=a:7|c",
			"sluice.log.head;node=a:41|g",
			"sluice.sockets;node=a:3|g",
			"sluice.stage.time;node=a;stage=encode:1.5|ms",
		}},
	} {
		t.Run(string(test.style), func(t *testing.T) {
			t.Parallel()
			addr, lines := listenStatsD(t)
			set, err := metrics.New(metrics.Config{
				StatsD: addr, Prefix: "sluice.", TagStyle: test.style, Tags: []metrics.Tag{{Key: "node", Value: "a"}},
				FlushInterval: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			fetched := set.Counter(metrics.EventsFetched)
			fetched.Add(3)
			set.Counter(metrics.EventsFetched).Add(4) // the same counter
			set.Gauge(metrics.Sockets).Add(5)
			set.Gauge(metrics.Sockets).Add(-2)
			set.GaugeFunc(metrics.LogHead, func() int64 { return 41 })
			set.Timing(metrics.StageTime, metrics.Stage("encode")).Observe(1500 * time.Microsecond)
			stop := run(t, set)
			if got := trimZeros(lines(len(test.want))); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			stop()
			fetched.Add(1) // after the client is closed: must not panic
		})
	}
}

// TestSamplesSayTheirRate has more durations within an interval than are sent: each that is says
// for how many it stands, in every style.
func TestSamplesSayTheirRate(t *testing.T) {
	t.Parallel()
	for style, want := range map[metrics.TagStyle]string{
		"datadog":  "sluice.stage.time:1.5|ms|@0.250000000|#node:a,stage:encode",
		"influx":   "sluice.stage.time,node=a,stage=encode:1.5|ms|@0.250000000",
		"graphite": "sluice.stage.time;node=a;stage=encode:1.5|ms|@0.250000000",
	} {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			addr, lines := listenStatsD(t)
			set, err := metrics.New(metrics.Config{StatsD: addr, Prefix: "sluice.", TagStyle: style, Tags: []metrics.Tag{{Key: "node", Value: "a"}}, FlushInterval: 10 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			timing := set.Timing(metrics.StageTime, metrics.Stage("encode"))
			for range 4 * metrics.SampleSize {
				timing.Observe(1500 * time.Microsecond)
			}
			defer run(t, set)() // one that ends before it has an address sends nothing
			if got := lines(1); !slices.Equal(got, []string{want}) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// trimZeros takes the trailing zeros off milliseconds, whose number is the
// client's affair.
func trimZeros(lines []string) []string {
	for i, line := range lines {
		if number, rest, ok := strings.Cut(line, "|ms"); ok {
			lines[i] = strings.TrimRight(number, "0") + "|ms" + rest
		}
	}
	return lines
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	set, err := metrics.New(metrics.Config{Tags: []metrics.Tag{{Key: "data-centre", Value: "eu"}}})
	if err != nil {
		t.Fatal(err)
	}
	set.Counter(metrics.MessagesDropped, metrics.Reason("slow")).Add(2)
	set.Counter(metrics.MessagesDropped, metrics.Reason("slow"), metrics.Tag{Key: "tenant", Value: "acme"}).Add(3)
	set.Gauge(metrics.Channels).Set(9)
	fetch := set.Timing(metrics.StageTime, metrics.Stage("fetch"))
	for _, d := range []time.Duration{time.Millisecond, time.Minute, -time.Second} {
		fetch.Observe(d)
	}
	text := scrape(t, set)
	for _, want := range []string{
		`sluice_messages_dropped_total{data_centre="eu",reason="slow"} 2`,
		`sluice_messages_dropped_total{data_centre="eu",reason="slow",tenant="acme"} 3`,
		`sluice_channels{data_centre="eu"} 9`,
		`sluice_stage_time_seconds_bucket{data_centre="eu",stage="fetch",le="5e-05"} 1`, // of clocks that differ
		`sluice_stage_time_seconds_bucket{data_centre="eu",stage="fetch",le="0.0008"} 1`,
		`sluice_stage_time_seconds_bucket{data_centre="eu",stage="fetch",le="0.0016"} 2`,
		`sluice_stage_time_seconds_bucket{data_centre="eu",stage="fetch",le="26.2144"} 2`,
		`sluice_stage_time_seconds_bucket{data_centre="eu",stage="fetch",le="+Inf"} 3`,
		`sluice_stage_time_seconds_sum{data_centre="eu",stage="fetch"} 60.001`,
		`sluice_stage_time_seconds_count{data_centre="eu",stage="fetch"} 3`,
		"# HELP sluice_channels " + metrics.Meaning[metrics.Channels],
		"go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s\nin\n%s", want, text)
		}
	}
}

func scrape(t *testing.T, set *metrics.Set) string {
	t.Helper()
	response := httptest.NewRecorder()
	set.Handler().ServeHTTP(response, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(response.Result().Body)
	if err != nil || response.Code != 200 {
		t.Fatalf("status %d, %v: %s", response.Code, err, body)
	}
	return string(body)
}

func TestNilMeasuresNothing(t *testing.T) { // not parallel: it counts allocations
	var set *metrics.Set
	allocs := testing.AllocsPerRun(100, func() {
		set.Counter(metrics.Joins).Add(1)
		set.Gauge(metrics.Sockets).Set(1)
		set.Gauge(metrics.Sockets).Add(1)
		set.Timing(metrics.JoinTime).Observe(time.Second)
	})
	set.GaugeFunc(metrics.LogHead, func() int64 { panic("read") })
	if got := set.Counter(metrics.Joins).Value() + set.Gauge(metrics.Sockets).Value(); got != 0 || allocs != 0 {
		t.Errorf("value %d, %v allocations", got, allocs)
	}
}

// TestRecordingAllocatesNothing, on the way of each event; what it costs, the benchmarks say.
func TestRecordingAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	for _, to := range []string{"", "127.0.0.1:9"} {
		set, err := metrics.New(metrics.Config{StatsD: to})
		if err != nil {
			t.Fatal(err)
		}
		counter, gauge, timing := set.Counter(metrics.MessagesPushed), set.Gauge(metrics.Sockets), set.Timing(metrics.StageTime)
		allocs := testing.AllocsPerRun(10*metrics.SampleSize, func() {
			counter.Add(1)
			gauge.Set(1)
			timing.Observe(time.Millisecond)
		})
		if allocs != 0 {
			t.Errorf("%v allocations, with StatsD at %q", allocs, to)
		}
	}
}

func TestOneNameOfTwoKindsPanics(t *testing.T) {
	t.Parallel()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	set.Counter(metrics.Joins)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	set.Gauge(metrics.Joins)
}

func TestUnknownTagStyle(t *testing.T) {
	t.Parallel()
	if _, err := metrics.New(metrics.Config{TagStyle: "xml"}); err == nil || !strings.Contains(err.Error(), "influx") {
		t.Errorf("got %v", err)
	}
}

// The cost of recording, also in the processor's time, which a busy machine does not stretch
// as much as the clock's.
func BenchmarkCounter(b *testing.B) {
	set, _ := metrics.New(metrics.Config{})
	counter := set.Counter(metrics.Joins)
	benchmark(b, func() { counter.Add(1) })
}

func BenchmarkTiming(b *testing.B) {
	for name, to := range map[string]string{"Prometheus": "", "StatsD": "127.0.0.1:9"} {
		b.Run(name, func(b *testing.B) {
			set, _ := metrics.New(metrics.Config{StatsD: to})
			timing := set.Timing(metrics.JoinTime)
			benchmark(b, func() { timing.Observe(time.Millisecond) })
		})
	}
}

func benchmark(b *testing.B, record func()) {
	b.ReportAllocs()
	spent := func() time.Duration {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := spent()
	for b.Loop() {
		record()
	}
	b.ReportMetric(float64(spent()-before)/float64(b.N), "cpu-ns/op")
}
