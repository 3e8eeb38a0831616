package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// auditSQL keeps a book of what comes into the log, in the transaction that
// brings it there: the log itself forgets. The node's role may be less than
// ours, and the book is written all the same.
const auditSQL = `
CREATE TABLE chaos_epochs (number integer PRIMARY KEY, epoch text NOT NULL, first bigint NOT NULL);
INSERT INTO chaos_epochs SELECT number, epoch, first FROM sluice_epochs;
CREATE TABLE chaos_log (entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, epoch integer, "offset" bigint, topic text,
  writer bigint, number bigint, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION chaos_note_epoch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO chaos_epochs VALUES (NEW.number, NEW.epoch, NEW.first);
  RETURN NULL;
END $$;
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO chaos_log (epoch, "offset", topic, writer, number)
    SELECT (SELECT max(number) FROM chaos_epochs), "offset", topic, 
      substring(payload::text FROM '^\{"w":(\d+),')::bigint, substring(payload::text FROM '^\{"w":\d+,"n":(\d+)')::bigint
    FROM added ORDER BY "offset";
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_note_epoch AFTER INSERT ON sluice_epochs FOR EACH ROW EXECUTE FUNCTION chaos_note_epoch();
CREATE TRIGGER chaos_note AFTER INSERT ON sluice_log REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION chaos_note();`

// position is a place in the log: offsets of a later epoch come later, whatever
// their number.
type position struct {
	epoch  int
	offset int64
}

func (p position) before(q position) bool {
	return p.epoch < q.epoch || p.epoch == q.epoch && p.offset < q.offset
}

// entry is an event that came into the log.
type entry struct {
	position
	writer, number int64
	at             time.Time
}

// epoch is one of the log's, by the first offset that it gives out.
type epoch struct {
	number int
	name   string
	first  int64
}

// audit is what came into the log, in that order.
type audit struct {
	epochs  []epoch // one after the other
	all     []entry
	byTopic map[string][]entry
}

// readAudit reads the whole book.
func readAudit(ctx context.Context, conn *pgx.Conn) (*audit, error) {
	a := &audit{byTopic: map[string][]entry{}}
	rows, err := conn.Query(ctx, `SELECT number, epoch, first FROM chaos_epochs ORDER BY number`)
	if err != nil {
		return nil, fmt.Errorf("read the epochs: %w", err)
	}
	var of epoch
	if _, err := pgx.ForEachRow(rows, []any{&of.number, &of.name, &of.first}, func() error {
		a.epochs = append(a.epochs, of)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the epochs: %w", err)
	}
	rows, err = conn.Query(ctx, `SELECT epoch, "offset", topic, coalesce(writer, -1), coalesce(number, -1), at FROM chaos_log ORDER BY entry`)
	if err != nil {
		return nil, fmt.Errorf("read what came into the log: %w", err)
	}
	var e entry
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&e.epoch, &e.offset, &name, &e.writer, &e.number, &e.at}, func() error {
		a.all = append(a.all, e)
		a.byTopic[name] = append(a.byTopic[name], e)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read what came into the log: %w", err)
	}
	return a, nil
}

// at is the position of an offset in an epoch that a client knows by name. What
// an epoch had given out before it began is its predecessor's. An epoch of no
// name is before all.
func (a *audit) at(name string, offset int64) position {
	i := slices.IndexFunc(a.epochs, func(e epoch) bool { return e.name == name })
	if i < 0 {
		return position{0, offset}
	}
	for i > 0 && offset < a.epochs[i].first {
		i--
	}
	return position{a.epochs[i].number, offset}
}

// logged is what the book says that the log has of a topic, by writer.
func (a *audit) logged(topic string, writers int) []numbers {
	by := make([]numbers, writers)
	for _, e := range a.byTopic[topic] {
		if e.writer >= 0 && e.writer < int64(writers) {
			by[e.writer].add(e.number)
		}
	}
	return by
}

// disordered counts the events that came into the log behind a later one of
// their writer and topic: it writes one transaction after the other. Those of
// which it does not know when they were committed are doubtful.
func (a *audit) disordered(doubtful func(topic string, writer, number int64) bool) (n int64) {
	for topic, entries := range a.byTopic {
		last := map[int64]int64{}
		for _, e := range entries {
			if e.writer < 0 || doubtful(topic, e.writer, e.number) {
				continue
			}
			if before, ok := last[e.writer]; ok && e.number < before {
				n++
				continue
			}
			last[e.writer] = e.number
		}
	}
	return n
}

// oldestAfter is when the first event after a position came into the log, of
// whatever topic: how long ago that is says whether the position is kept.
func (a *audit) oldestAfter(p position) (at time.Time, ok bool) {
	for _, e := range a.all {
		if p.before(e.position) {
			return e.at, true
		}
	}
	return at, false
}
