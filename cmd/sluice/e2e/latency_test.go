package e2e

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// BenchmarkInsertToReceive takes the time from just before an INSERT, its
// commit included, until a client has the event, at a leisurely pace. It
// measures; it asserts nothing.
func BenchmarkInsertToReceive(b *testing.B) {
	url := pgtest.Schema(b)
	s := serve(b, "--database-url", url).ready(b)
	sub, err := subscribe(b.Context(), s.public, "latency", false)
	if err != nil {
		b.Fatal(err)
	}
	defer sub.conn.Close()
	db := database(b, url)
	pace := time.NewTicker(time.Second / 200)
	defer pace.Stop()

	var took []time.Duration
	for b.Loop() {
		<-pace.C
		began := time.Now()
		if _, err := db.Exec(b.Context(), `INSERT INTO sluice_outbox (topic, event, payload) VALUES ('latency', 'beat', '{"beat":true}')`); err != nil {
			b.Fatal(err)
		}
		event, payload, err := sub.read()
		if err != nil || event != "beat" || !json.Valid(payload) {
			b.Fatalf("received %s %s: %v", event, payload, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for name, share := range map[string]float64{"p50-ms": 0.50, "p99-ms": 0.99, "max-ms": 1} {
		at := min(len(took)-1, int(share*float64(len(took))))
		b.ReportMetric(float64(took[at])/float64(time.Millisecond), name)
	}
}
