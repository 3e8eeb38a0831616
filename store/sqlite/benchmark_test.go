package sqlite_test

import (
	"testing"

	"github.com/sluicehq/sluice/store/storetest"
)

func Benchmark(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Harness { return harness(b) })
}
