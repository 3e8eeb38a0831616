// Command guard tells whether Sluice has become slower since another commit: it is run by
// hand before a release, and fails if it has.
//
//	make bench-guard                       # since the last release
//	make bench-guard BASE=1a2b3c4          # since a commit
//	go run ./benchmarks/guard --help
//
// It builds the program of that commit and the one of the working tree, and has the same
// scenarios of package benchmarks, with the same clients, measure both in turns: pair by
// pair, in alternating order, as machines drift in speed by more than what is looked for.
// What counts are deliveries per second of the server's CPU time, as the ratio of each pair.
//
// # Guarantees
//
// It fails where the working tree is slower with a probability of 95 %, by more than the
// tolerance at the median, and where an event was lost, came twice or out of order. That a
// scenario is not found to be slower says no more than the interval that is printed.
//
// # Shutdown
//
// An interrupt ends the run under way. The commit's files and both programs are in a folder
// that is removed at the end.
package main
