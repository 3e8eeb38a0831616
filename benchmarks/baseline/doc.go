// Package baseline is the least servers there can be, which the scenarios are
// measured against in the same sitting: [New] for events that are posted, [Rows]
// for rows that are inserted into Postgres. On the command line and in results a
// baseline is called the floor.
//
// Each runs as a process of its own: `sluice bench floor` calls [Serve]. It takes
// what Sluice takes where scenarios need it, POST /api/broadcast or the outbox,
// and speaks a dialect of its own with the swarm's clients.
//
// # Guarantees
//
// It writes each event once to each socket of its topic, in order, and a row only
// after it is committed that it was taken. It knows no rules and no limits, and a
// client that does not read holds up all.
//
// # Shutdown
//
// Serve ends with its context, or with what it cannot do without; it has closed
// its listeners and sockets then.
package baseline
