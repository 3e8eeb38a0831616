// Command tuning measures what each flag of the stages does to throughput and
// latency, and draws it: the pictures of docs/tuning.md are its work.
//
//	go run ./benchmarks/tuning --help
//	go run ./benchmarks/tuning --database-url postgres://localhost/scratch
//
// It sets one flag at a time to each of a few values, the others at their
// defaults, and runs the scenarios of package benchmarks with them. Machines
// drift in speed by more than many flags do: so all values of a flag are
// measured one right after the other, in several rounds, forwards and
// backwards, and what is told is the median, with the range.
//
// It writes results.json, every run as it was, and a picture for each flag,
// and prints a table. With --redraw it makes pictures and table of the
// results that are there.
//
// # Guarantees
//
// A run that lost, doubled or disordered an event is kept in the results,
// named on standard error, and makes the command fail.
//
// # Shutdown
//
// An interrupt ends the run under way, which removes what it made in the
// database; rounds that were completed are in results.json.
package main
