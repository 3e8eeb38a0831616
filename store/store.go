package store

import (
	"context"
	"time"
)

// Event is one entry of the log, as [Log.Fetch] and [Log.Replay] return it.
//
// Topic, Name, Key and Payload point into memory that the events of one call
// share, so that reading costs no allocation per event. They are immutable.
// Whoever keeps one of them for longer than it takes to deliver the event
// copies it first ([strings.Clone], [bytes.Clone]), or it keeps all that the
// call returned in memory.
type Event struct {
	Offset     int64     // position in the log: dense, from 1, in delivery order
	Topic      string    // 1 to MaxTopicBytes bytes
	Name       string    // the event's name, 1 to MaxNameBytes bytes
	Key        []byte    // nil when the event has none, else up to MaxKeyBytes bytes
	Payload    []byte    // a JSON object, as it was written
	InsertedAt time.Time // when the application inserted the row, in UTC
}

// Draft is an event that is not in the log yet.
type Draft struct {
	Topic   string
	Name    string
	Key     []byte // nil for none
	Payload []byte // a JSON object; empty stands for {}
}

// Limit bounds one [Log.Fetch] or [Log.Replay].
type Limit struct {
	Events int // at most this many events; at least 1
	Bytes  int // stop once the payloads read exceed this; 0 means no bound. The first event is returned whatever its size.

	// Epoch is the only one to read events of: in another they may have the
	// offsets of events that the reader knows. Empty: whichever there is.
	Epoch string
}

// Head says how far the log reaches.
type Head struct {
	Epoch   string // opaque id of this log: offsets of different epochs do not compare
	Offset  int64  // the last event's offset, 0 for an empty log
	Trimmed int64  // events up to and including this offset are no longer kept
	Erased  int64  // number of the last erasure, 0 if there was none: see [Log.Erasures]

	// MaxPayload is how many bytes an event's payload may have, whoever writes it:
	// Append refuses more, and a row of the outbox that has more is set aside in
	// sluice_rejected, with the reason, and never becomes an event.
	MaxPayload int64
}

// Cursor is a committed position in the log: all events up to and including
// Offset have been dealt with.
type Cursor struct {
	Epoch  string
	Offset int64
}

// Log is an append-only, densely numbered sequence of events, fed from an
// outbox. All methods may be called concurrently.
//
// Errors answer two questions. [errors.As] with an [*InvalidError]: was it the
// caller's data? [RetrySafe]: may the same call be made again?
//
// An implementation passes the suite in store/storetest.
type Log interface {
	Leases
	Revocations
	Requests
	Cursors

	// Append writes drafts to the outbox, all of them or none, and returns
	// once they are durable. The first invalid draft is reported as an
	// [*InvalidError]. Concurrent calls share commits. Drafts of one call
	// keep their order in the log. When ctx ends first, the drafts may yet be
	// written.
	Append(ctx context.Context, drafts []Draft) error

	// Fetch returns events after the given offset, in order, without a gap:
	// the first has offset after+1. It may return fewer than the limit and
	// than there are; none means that there is nothing to read yet. It
	// returns ErrTrimmed if the event after+1 is no longer kept, ErrNewEpoch
	// if the log is in another epoch than the limit says.
	Fetch(ctx context.Context, after int64, limit Limit) ([]Event, error)

	// Replay returns one topic's events with after < offset <= upTo, in order.
	// They are all of its events up to and including through, which is upTo
	// unless the limit has cut the answer short or the log, as whoever answers
	// sees it, ends before upTo. So a caller pages with through as the next
	// after, until it has reached upTo. An answer that makes no progress says
	// that nothing further has been seen, never that there is nothing: who knows
	// that the log reaches upTo asks again. Replay returns
	// ErrTrimmed if after+1, of whatever topic, is no longer kept, ErrNewEpoch
	// if the log is in another epoch than the limit says. A topic that no event
	// can have has none.
	Replay(ctx context.Context, topic string, after, upTo int64, limit Limit) (events []Event, through int64, err error)

	// Tail returns the offset after which the last count of those events lie that a
	// topic has at offsets up to upTo and the log keeps, all of them where they are
	// fewer: the one before the first of these, and where there are none upTo, or the
	// log's end, as whoever answers sees it, if that is before. What it costs is bounded
	// by count, at least 1, however many events there are. It returns ErrNewEpoch if the
	// log is in another epoch than the given one, unless that is empty. A topic that no
	// event can have has none.
	Tail(ctx context.Context, topic string, count int, upTo int64, epoch string) (after int64, err error)

	// Wait returns nil once an event after the given offset may be there to
	// fetch. It is a hint: it may return early, and always returns within the
	// poll interval of the store, or within two seconds where the store knows that
	// it is told of events. It returns ctx's error when ctx ends first.
	Wait(ctx context.Context, after int64) error

	// Head reads how far the log reaches at present.
	Head(ctx context.Context) (Head, error)

	// Extent reads how far the log reaches at present, and its epochs, from which
	// [Extent.Resume] tells who may go on where.
	Extent(ctx context.Context) (Extent, error)

	// Cursor reads the position committed under name; ok is false when
	// there is none.
	Cursor(ctx context.Context, name string) (c Cursor, ok bool, err error)

	// Commit stores a position under name. A position never moves back
	// within one epoch: an older one is ignored.
	Commit(ctx context.Context, name string, c Cursor) error

	// Erase makes {} of the payloads of events, and leaves all else of them as it
	// is. It returns how many it has changed, and the offset up to which it has
	// looked: where the limit has ended it, that is what the next call begins after.
	// When more is false there is none to come. If it fails midway, it is to be
	// called again.
	Erase(ctx context.Context, which Selection) (count, through int64, more bool, err error)

	// Erasures returns the erasures after the one with the given number, by
	// whatever process, oldest first, for who keeps payloads in memory. They are
	// kept for a day at least: where the first has not the next number, some are
	// missing. An event that is read after its erasure was seen here is erased.
	Erasures(ctx context.Context, after int64) ([]Erasure, error)

	// Watched returns the tables of the application whose changes are published, by
	// table. A store that watches none has none.
	Watched(ctx context.Context) ([]Watched, error)

	// Run moves what writers commit to the outbox into the log and listens
	// for wake-ups, reconnecting as often as it takes, until ctx ends. It
	// returns nil then, with everything that it started at an end. Append and
	// Fetch work only as fast as somebody runs it: on some node, in some
	// process, Run must be running for events to reach the log. Run it at
	// most once per Log.
	Run(ctx context.Context) error

	// Sequencing returns nil while events get from the outbox into the log,
	// whoever moves them, or while there are none. A [*StalledError] says that
	// some have been seen waiting for MaxStall or longer with none moved; any
	// other, that the store takes no writes, refuses this process what it needs, or
	// cannot be asked. Each says what to do, where that is known. Ask every second
	// or so. A log that nobody runs, anywhere, stalls.
	Sequencing(ctx context.Context) error

	// Outbox is how the outbox stood, and who led, when Sequencing was last called. It
	// asks nobody.
	Outbox() Outbox

	// Close releases what Open acquired. Call it after Run has returned.
	Close() error
}

// Bounds on what may be written. The tables' CHECK constraints say the same.
const (
	MaxTopicBytes = 255
	MaxNameBytes  = 255
	MaxKeyBytes   = 1024
)

// DefaultMaxPayload is what a new log's [Head.MaxPayload] is, unless it is told otherwise.
const DefaultMaxPayload = 1 << 20
