package patterns_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/patterns"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// TestIndexIsTheList compares the index with reading the list, and what covers is said to
// mean with the topics that there are.
func TestIndexIsTheList(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { // of few letters, and short: so patterns and topics meet
		made := make([]byte, random.IntN(5))
		for i := range made {
			made[i] = "ab:"[random.IntN(3)]
		}
		return string(made)
	}
	pattern := func() string { return text() + []string{"", "*"}[random.IntN(2)] }
	for range 2000 {
		list := make([]string, random.IntN(12))
		for i := range list {
			list[i] = pattern()
		}
		index := patterns.Of(list...)
		for range 20 {
			topic, other := text(), pattern()
			if got, want := index.Match(topic), slices.IndexFunc(list, func(p string) bool { return matches(p, topic) }); got != want {
				t.Fatalf("of %q, pattern %d matches %q, want %d", list, got, topic, want)
			}
			if got, want := index.Covers(other), slices.IndexFunc(list, func(p string) bool { return covers(p, other) }); got != want {
				t.Fatalf("of %q, pattern %d covers %q, want %d", list, got, other, want)
			}
		}
	}
	var none patterns.Index
	if none.Match("a") != -1 || none.Covers("*") != -1 {
		t.Error("without a pattern one matches")
	}
}

func matches(pattern, topic string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return topic == pattern || wild && strings.HasPrefix(topic, prefix)
}

func covers(pattern, other string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == other || wild && strings.HasPrefix(strings.TrimSuffix(other, "*"), prefix)
}

// BenchmarkMatch looks for a topic that the last of the patterns matches.
func BenchmarkMatch(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("patterns=%d", count), func(b *testing.B) {
			var index patterns.Index
			for i := range count {
				index.Add(fmt.Sprintf("tenant-%d:*", i))
			}
			topic := fmt.Sprintf("tenant-%d:orders", count-1)
			b.ReportAllocs()
			for b.Loop() {
				if index.Match(topic) != count-1 {
					b.Fatal("another pattern matches")
				}
			}
		})
	}
}
