package sqlite

// Bounds of sluice_topics_recent: topics leave it when it holds more than
// maxRecent events, minLeave or more at once. A larger one lets each topic gather
// more of them, but is spread over more pages, which transactions write. Variables
// for tests.
var (
	maxRecent int64 = 16 << 10
	minLeave  int64 = 256
	maxLeave  int64 = 16 << 10 // at once, so that other processes need not wait for long
)

// OR IGNORE spares SQLite a journal of the statement for the case of a conflict,
// which there is not.
const (
	listSQL = `INSERT OR IGNORE INTO sluice_topics_recent SELECT topic, "offset" FROM sluice_log WHERE "offset" > ?1`

	countSQL = `SELECT count(*) FROM sluice_topics_recent`

	// upToSQL finds the topic up to which those after ?1 have about ?2 events.
	upToSQL = `SELECT coalesce(
		(SELECT topic FROM sluice_topics_recent WHERE topic > ?1 ORDER BY topic LIMIT 1 OFFSET ?2),
		(SELECT max(topic) FROM sluice_topics_recent))`

	gatherSQL = `INSERT OR IGNORE INTO sluice_topics SELECT topic, "offset" FROM sluice_topics_recent
		WHERE topic > ?1 AND topic <= ?2 ORDER BY topic, "offset"`

	forgetSQL = `DELETE FROM sluice_topics_recent WHERE topic > ?1 AND topic <= ?2`
)

// list takes down the topics of the events from after to last. When there are
// more than sluice_topics_recent is to hold, the topics whose turn it is leave
// it, each with all that it has gathered. They take turns in their order.
func (w *writer) list(after, last int64) error {
	if last == after {
		return nil
	}
	if _, err := w.exec(w.listed, after); err != nil {
		return err
	}
	if w.uncounted += last - after; w.uncounted < minLeave {
		return nil // counting takes longer than a small transaction does
	}
	recent, err := w.integer(w.count)
	if err != nil {
		return err
	}
	w.uncounted = 0
	if recent <= maxRecent {
		return nil
	}
	return w.leave(min(recent-maxRecent+minLeave, maxLeave))
}

// leave lets topics of so many events leave sluice_topics_recent.
func (w *writer) leave(events int64) error {
	after := w.lastLeft
	upTo, err := w.text(w.upTo, after, events)
	if err != nil {
		return err
	}
	if upTo <= after { // all have had their turn
		w.lastLeft = ""
		return nil
	}
	w.lastLeft = upTo
	if _, err := w.exec(w.gather, after, upTo); err != nil {
		return err
	}
	_, err = w.exec(w.forget, after, upTo)
	return err
}
