package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"
)

// TestDurationsInJSONAreSeconds, as tools that read logs take them, wherever they stand.
func TestDurationsInJSONAreSeconds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger, err := logFlags{LogLevel: "info", LogFormat: "json"}.logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	logger.With("age", time.Minute).Info("x", "outage", 1500*time.Millisecond, slog.Group("g", "wait", time.Millisecond), "n", 7)
	var line struct {
		Age, Outage float64
		N           int
		G           struct{ Wait float64 }
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Age != 60 || line.Outage != 1.5 || line.G.Wait != 0.001 || line.N != 7 {
		t.Errorf("%s: %v", &out, err)
	}
}
