// Package metrics counts and times what happens in Sluice, and tells it to
// StatsD and Prometheus.
//
// A component asks a [Set] for its handles once, when it is made, and keeps
// them:
//
//	pushed := set.Counter(metrics.MessagesPushed)
//	took := set.Timing(metrics.StageTime, metrics.Stage("encode"))
//	…
//	pushed.Add(500)
//	took.Observe(time.Since(start))
//
// A nil *Set hands out nil handles, and a nil handle does nothing: a component
// that nobody measures pays a comparison.
//
// # Guarantees
//
// A counter costs one atomic addition, whatever listens, and a timing two and, where
// StatsD listens, a random number. Nothing is allocated. Handles may be used
// from any goroutine, at any time, also after Run has returned. Counters and
// the histograms of Prometheus miss nothing; StatsD gets counters as sums and
// gauges as they stand once per flush interval, and of each timing a uniform
// sample of at most SampleSize values per interval, each with its rate where it
// stands for several. Nothing here grows with
// load: the number of handles is the number of distinct names and tags asked
// for, and tags are few by rule (see names.go).
//
// # Shutdown
//
// [Set.Run] owns the StatsD client: it alone sends, and closes the client
// after a last flush. Run it last and stop it last.
package metrics
