// Package sqlite keeps the event log in a file of its own: no server, no set-up,
// for one machine. It is what Sluice uses when it is given no database.
//
//	Append ───────────────┐                   ┌▶ sluice_log ────▶ Fetch
//	                      ├─ one transaction ─┤       ▼
//	sluice_outbox ────────┘                   └▶ sluice_topics ─▶ Replay
//	  └── INSERT by any other program, with the sqlite3 shell for instance
//
// [Open] creates the folder and the file, brings the tables up to date, and
// returns a [Log], which is a [store.Log]. SQLite lets one transaction write at
// a time, so commit order is offset order: Append gives its drafts their
// offsets itself, in the transaction that first moves what lies in the outbox.
// Rows that another process inserts are found by [Log.Run], which polls
// SQLite's counter of changes. What a process has appended it need not read: a
// Fetch that has waited for it gets it from memory.
//
// A backup that is put in the file's place looks like the original. Whoever puts
// it there begins an epoch, so that readers notice:
//
//	INSERT INTO sluice_epochs DEFAULT VALUES;
//
// Leases are kept in memory, by the log that the folder's one service has opened: who
// serves from it has locked it ([Lock]), and nobody else wants any.
//
// # Guarantees
//
// Those of package store. A commit is on the disk when Append returns (WAL
// with synchronous FULL). Several processes on one machine may open the same
// folder: SQLite's locks keep them apart, and each finds the others' events
// within the poll interval. Not over a network file system, where those locks
// cannot be trusted.
//
// Memory is bounded by a few connections' page caches, one batch of events for
// each Fetch under way, the drafts of those who wait in Append, and a copy of
// what was written last, up to 1 MiB. A row that is moved to the log is held in it
// for that time, and so are those that are read, whatever their size: the bound of
// payloads is theirs too. What is set aside, erased or removed is not: its size does
// not matter.
//
// # Shutdown
//
// Run finishes the transaction under way and returns. Close waits for calls
// under way; the last process to close the file leaves no -wal file behind.
package sqlite
