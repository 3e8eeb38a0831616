// Package pipeline compares, in one run and for the same work, what one event costs
// through package pipeline, through go-streams alone and through bare Go channels:
//
//	go test -run '^$' -bench . -count 5 ./benchmarks/pipeline
//
// The work is a source, a filter that keeps everything, a map from a row to its
// offset and a sink that adds these up, each on a goroutine of its own; ns/op is the
// cost of one event. The names say what travels: an event, or a batch of them. Only
// package pipeline bounds what is in flight by what the sink has ended, fails
// poisoned events alone and knows which position is safe to commit.
package pipeline
