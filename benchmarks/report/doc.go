// Package report is what measurements come to, and how that is shown: a
// [Result] as JSON, as a table, or in a line of a [WriteSummary]; pictures with
// [Draw] and [DrawSweep], which are made of a [Chart].
//
// The scenarios of package benchmarks make results; `sluice bench`, and the
// commands in tuning and peers, show them.
//
// # Guarantees
//
// It measures nothing itself, and knows no server. What it is given it shows: a
// [Spread] says how sure a median is, from the order of the values alone.
package report
