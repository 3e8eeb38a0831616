// Package chaos has faults strike a service of several nodes while rows are
// written, clients of every kind watch and hostile ones attack, and checks what
// came of it all: [Chaos] says what runs, its seed what happens.
//
//	plan ──▶ faults ──▶ nodes, database, rows, clients
//	writers ──▶ relay ──▶ Postgres ◀── relay ◀── nodes ◀── clients, hostiles
//	   └─ what was committed ─────▶ audit ◀───── what arrived ─┘
//
// Three nodes or more hear each other, through relays too; watchers are told who is there
// and what is broadcast, and in the end all must know the same.
//
// On the embedded store there is one node, its file in the database's place, and
// no relays: writers insert as another program on the same machine does.
//
// A run goes from setting up over injecting to verifying. Every second node is an
// application's own program that intercepts events: `sluice bench chaos-node`
// calls [ServeNode].
//
// # Guarantees
//
// It shares no code with what it checks: clients speak the protocol by
// themselves, writers know what they have committed, and the audit is a table of
// its own, written in the transaction that brings an event into the log.
//
// A seed decides everything but time: the same faults in the same order, the same
// rows, the same clients.
//
// # Shutdown
//
// A run ends with its context, or by itself, and has ended all nodes, relays,
// clients and writers then, and removed its database.
package chaos
