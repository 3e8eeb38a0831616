// Package postgres keeps the event log in PostgreSQL 14 or newer.
//
//	application ──INSERT──▶ sluice_outbox ──sluice_sequence()──▶ sluice_log ──▶ Fetch
//	                          │ NOTIFY                             │ NOTIFY
//	                          └────▶ the node that sequences       └────▶ every node
//
// [Open] connects, brings the tables up to date, and returns a [Log], which is
// a [store.Log]. Writers are anyone's transactions that insert into
// sluice_outbox; the tables' CHECK constraints keep out what could not be
// delivered. The SQL is in migrations/, and says why it is as it is.
//
// Names resolve through the connection's search_path, so that a schema is an
// installation: put search_path into the database URL to have several in one
// database. Advisory locks and notification names derive from the oid of
// sluice_outbox, and do not meet.
//
// # Watches
//
// sluice_watch has the changes of an application's table published, by triggers that
// write to the outbox in the application's own transaction. It is SQL alone: nothing
// here runs for it. See migrations/0019_watches.sql.
//
// # Sequencing
//
// Every node runs the loop in [Log.Run] on a connection of its own. A session
// lock keeps all but one of them quiet; the lock that matters is the one that
// sluice_sequence takes for each transaction, and the log's primary key stands
// behind it. A node that dies leaves both with its connection, and the next
// one that polls goes on. One that hangs, or that the network has lost, loses its session
// to the server, which ends it when it has been idle, or has taken nothing of what it is
// sent, for longer than a live one ever does. Who leads is noted in sluice_leases, for
// those who want to know: no more depends on it.
//
// Where rows come one by one and this node's reader waits for them, a round
// brings back what it moved, and the reader makes no round trip of its own.
//
// While nothing happens, and notifications are known to come through, sessions rest: they
// look for rows about once a second, or less often where another one leads. What is
// committed then is announced, unless its trigger does not fire. Readers, which are told of
// what is moved, ask nothing as long as somebody asks for the head each second. The leader
// rests only once it has seen that nobody has anything to commit, and has then looked for
// rows: who commits while another notifies does not notify.
//
// Rounds begin after a low watermark, below which no open transaction can still commit
// a row, so that dead rows which a held snapshot keeps cost nothing.
//
// A round is bounded in rows, bytes and time. One that does not fit is undone, and
// done again with less, down to a single row, which is given more time instead.
// What another session has locked is passed by, with all that is behind it of its
// topic. A row goes to sluice_rejected if the log refuses it alone, for its own
// content; any other refusal is told, and tried again. A round that waits for a
// synchronous standby is never cancelled: that would show what the standby may
// not have.
//
// Two-phase commit: PREPARE TRANSACTION refuses what has notified, so disable the
// trigger of sluice_outbox where events are written so; the poll finds them.
//
// # Retention and epochs
//
// The node that sequences also trims: sluice_trim notes which offset the log
// has reached at what time, and advances sluice_meta.trimmed; rows go after
// that, with their partition where it is full. Each round compares
// sluice_identity, the cluster, its timeline, the database and the table, with
// that of the last epoch, and begins a new one before it gives out an offset
// anywhere else. After a restore that leaves all of these as they were, such as
// the snapshot of a disk, call sluice_begin_epoch.
//
// What somebody removes from the log by hand counts as trimmed from that moment on,
// and an epoch begins where it was not the front alone. Triggers of the log, and of
// each partition, see what is deleted or truncated, and the view sluice_trimmed which
// partitions are gone. Where triggers were off, a hole in the midst is unseen until
// somebody fetches across it.
//
// # Leases
//
// A row of sluice_leases is a name and who has it. Each call is one statement that
// finds out and acts under the row's lock, by this server's clock, so that it works
// through a transaction pooler too, where nobody has a session lock. A server's clock
// can be set: back, a name would be taken for longer, which [store.Claim] knows a way
// around; forth, it is free too early, and who had it hears of that when it renews.
//
// # Guarantees
//
// Those of package store, and: a lost connection is restored for as long as
// Run runs, and logged twice, when it is lost and when it is back. Memory is
// bounded by the pool's connections, one batch of events for each Fetch under
// way, the drafts of those who wait in Append, and a small page of what was moved
// last.
//
// Through a transaction pooler such as PgBouncer there is no LISTEN, no
// session lock and no prepared statement: the log works by polling, and says
// so once. Give it a direct connection to be woken.
//
// # Shutdown
//
// Run lets the round under way finish, closes its connection and returns.
// Close waits for calls under way, then closes the pool.
package postgres
