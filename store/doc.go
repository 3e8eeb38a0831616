// Package store defines the event log: what is written to it, what is read
// from it, and the one interface, [Log], that both engines fulfil.
//
//	application ──INSERT──▶ sluice_outbox ──sequencer──▶ sluice_log ──Fetch──▶ stages
//	                          (commits in                (dense offsets,
//	                           any order)                 delivery order)
//
// Applications insert rows into the outbox, in transactions of their own and
// from any language. [Log.Run] moves what has been committed to the log, and
// only there a row gets its offset. Ids drawn before commit cannot serve as
// positions: a transaction that commits late would be skipped by everyone who
// has already read past its id.
//
// Package store/postgres keeps the log in PostgreSQL, store/sqlite in a file
// of its own. Both pass the suite in store/storetest.
//
// # Guarantees
//
//   - A committed row reaches the log exactly once; one rolled back never does.
//   - Offsets are dense and only grow. A transaction that stays open holds up
//     nobody: its rows are sequenced once it commits.
//   - Rows of one transaction keep their order of insertion.
//   - [Log.Append] is all or nothing, and durable when it returns nil.
//   - [Log.Fetch] returns no gap, and [Log.Replay] leaves out none of a topic's
//     events: what has been trimmed is an error, [ErrTrimmed], not an empty
//     answer.
//   - An event is kept for the retention at least, counted from when it was
//     sequenced, and for little longer; no reader holds that up.
//   - A log that was failed over or restored says so by a new epoch, and
//     [Extent.Resume] which positions of the old one still count.
//   - A lease is one holder's at a time, and its fence grows from holder to holder.
//   - Memory is bounded: by the caller's [Limit] when reading, and by the
//     drafts of the callers that wait in Append when writing.
//   - Wake-ups are hints, and may be lost. A poll is the net under them.
//
// # Shutdown
//
// Run ends with its context, leaving no goroutine. Then Close: a call that is
// still under way is waited for, one that comes later gets [ErrClosed].
package store
