package postgres_test

import (
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/storetest"
)

// Benchmark runs on a server that does not wait for its disk: compare its
// figures with each other only.
func Benchmark(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Harness {
		return harness(b, postgres.Config{DatabaseURL: pgtest.Schema(b)})
	})
}
