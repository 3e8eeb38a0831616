// Package benchmarks measures Sluice from its users' side: rows go in where
// applications write them, and are counted where clients receive them.
//
//	rows ──▶ outbox or log ──▶ sluice.Service ──▶ sockets ──▶ ledgers, latencies
//	           └─────────── in this process, on a place of its own ──────────┘
//
// A [Scenario] is something to measure: [Backlog] how fast waiting events are
// delivered, [Steady] how long one takes while they come evenly, [Slow] what a
// client that reads nothing costs the others. They run a service with the
// configuration they are given, on Postgres or on the embedded store. [Chaos]
// has faults strike nodes of their own processes, their database and their
// clients. Each tells what came of it as a [Result], a table or JSON. A
// [Chart] draws curves through many of them.
//
// Whoever measures brings the scenario; the command in tuning measures what
// each flag of the stages does.
//
// # Guarantees
//
// Every run checks delivery: each subscription keeps a ledger of the numbers
// that its events carry, and the result says how many were lost, came twice
// or out of order, and how many sockets were cut. The ledger costs memory for
// what went wrong only.
//
// A run leaves nothing behind: it makes its tables in a schema of its own, or
// its store in a folder of its own, and removes them. It listens on loopback.
//
// Clients and service share the process, and so the machine: absolute figures
// are lower than those of a service that has the machine to itself. Compare
// what was measured in one sitting.
//
// # Shutdown
//
// Run ends with its context, or by itself, with everything that it started. A
// service that has nothing more to deliver is drained before the ledgers are
// read, so that an event that comes twice at the very end is counted.
package benchmarks
