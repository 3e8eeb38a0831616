// Package benchmarks measures Sluice, and what can be compared with it, from the
// users' side: events go in where applications write them, and are counted where
// clients receive them.
//
//	Publisher ──▶ Server ──▶ swarm of clients ──▶ what came, and when
//	 rows, or       │ a process of its own, this one,           │
//	 HTTP           │ or one that others run                    ▼
//	                └────── CPU time, memory ──────▶ meter ──▶ Result
//
// A [Scenario] is something to measure. Most are a [ServerScenario]: any
// [target.Server] can be measured by them, since the clients of package swarm are
// told apart from what they speak. [Bulk] is throughput, for one topic or many, in
// batches or one event at a time; [Backlog] how fast events that lie in the
// database are delivered; [Steady] and [LongPoll] how long one takes while they
// come evenly; [Idle] what a socket costs in memory; [Reconnect] what connecting
// costs; [Slow] what a client that reads nothing costs the others. [chaos.Chaos]
// has faults strike nodes of their own processes, their database and their
// clients, with clients of its own, to share no code with what it checks.
//
// Each tells what came of it as a [report.Result]. What counts is the rate per
// second of the server's CPU time: machines drift, and share their cores with
// others. [baseline.New] is the least server there can be, and [baseline.Rows] the
// least that hands on rows, to be measured in the same sitting.
//
// Whoever measures brings the scenario: `sluice bench`, the command in tuning that
// measures what each flag of the stages does, and the one in peers.
//
// # Guarantees
//
// Every run checks delivery: each subscription keeps a sequence check of the
// numbers that its events carry, and the result says how many were lost, came
// twice or out of order, and how many sockets were cut.
//
// A run leaves nothing behind: it makes its tables in a schema of its own, or
// its store in a folder of its own, and removes them. It listens on loopback. A
// target that others run keeps what was appended to its log.
//
// # Shutdown
//
// Run ends with its context, or by itself, with everything that it started. A
// server that was started is drained before these are read, so that an event that
// comes twice at the very end is counted.
package benchmarks
