package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// Bounds of one look at the log, and so of its time and memory. Events that do not match
// are looked at, too.
const (
	defaultLogLimit = 100
	maxLogLimit     = 1000
	maxLogAnswer    = 4 << 20 // bytes of the answer, but for its last event
	maxLogEvents    = 50_000  // that are looked at
	maxLogBytes     = 64 << 20
	logPage         = 500
	logPageBytes    = 1 << 20
)

// logQuery says what a request wants to see of the log.
type logQuery struct {
	topic  string // or the beginning of topics, followed by *; empty: all
	after  int64  // -1: from the first that is kept
	before int64  // 0: to the end
	limit  int
	epoch  string // that after belongs to; empty: the present one
	wait   time.Duration
}

func readLogQuery(values url.Values) (q logQuery, err error) {
	q = logQuery{topic: values.Get("topic"), after: -1, limit: defaultLogLimit, epoch: values.Get("epoch")}
	prefix, _ := strings.CutSuffix(q.topic, "*")
	if prefix != "" && !store.ValidTopic(prefix) {
		return q, fmt.Errorf("topic is %q: want 1 to %d bytes without control characters, or the beginning of topics and *", q.topic, store.MaxTopicBytes)
	}
	number := func(name string, least, most, unsaid int64) int64 {
		given := values.Get(name)
		if given == "" || err != nil {
			return unsaid
		}
		n, wrong := strconv.ParseInt(given, 10, 64)
		if wrong != nil || n < least || n > most {
			err = fmt.Errorf("%s is %q: want a number from %d to %d", name, given, least, most)
		}
		return n
	}
	q.after = number("after", 0, 1<<63-1, q.after)
	q.before = number("before", 1, 1<<63-1, 0)
	q.limit = int(number("limit", 1, maxLogLimit, defaultLogLimit))
	if err != nil {
		return q, err
	}
	q.wait, err = waitOf(values.Get("wait"))
	return q, err
}

// getLog shows events that the log keeps.
func (a *api) getLog(w http.ResponseWriter, r *http.Request) {
	q, err := readLogQuery(r.URL.Query())
	if err != nil {
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), "as in ?topic=orders:*&after=41&limit=100")
		return
	}
	log, ok := a.openLog(w)
	if !ok {
		return
	}
	view, err := a.awaitLog(r.Context(), log, q)
	answerView(w, view, err, "read the state anew, and go on from its position; what is kept begins after trimmed")
}

// openLog is the log, or answers that it is not there yet.
func (a *api) openLog(w http.ResponseWriter) (log store.Log, ok bool) {
	if log = a.Stream.Log(); log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
	}
	return log, log != nil
}

// answerView answers with what readLog has read, or has found to be gone.
func answerView(w http.ResponseWriter, view *logView, err error, hint string) {
	gone := new(goneError)
	switch {
	case errors.As(err, &gone):
		httpserver.Answer(w, http.StatusGone, struct {
			Error   string `json:"error"`
			Hint    string `json:"hint"`
			Trimmed int64  `json:"trimmed"`
			Epoch   string `json:"epoch"`
			Resume  int64  `json:"resume"`
		}{"events after this offset are no longer kept, or are of another epoch", hint, gone.trimmed, gone.epoch, gone.resume})
	case errors.Is(err, errManyWait):
		w.Header().Set("Retry-After", "1")
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "ask again in a second, or without wait, or another node")
	case err != nil:
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(view.json())
	}
}

// goneError says that a part of what was asked for is not kept any more.
type goneError struct {
	trimmed int64
	epoch   string // the present one
	resume  int64  // the greatest offset of it from which on one may go on
}

func (e *goneError) Error() string { return fmt.Sprintf("trimmed up to %d", e.trimmed) }

// logView is a part of the log.
type logView struct {
	extent  store.Extent
	events  []byte // as JSON
	count   int
	through int64 // up to here all that was asked for is there
	more    bool
}

// readLog reads what a query wants: a goneError says that it is not kept.
func readLog(ctx context.Context, log store.Log, q logQuery) (*logView, error) {
	extent, err := log.Extent(ctx)
	if err != nil {
		return nil, err
	}
	ahead := q.after > extent.Offset && (q.epoch == "" || q.epoch == extent.Epoch)
	if q.after < 0 {
		q.after = extent.Trimmed
	} else if from, whole := extent.Resume(store.Cursor{Epoch: q.epoch, Offset: q.after}); !whole && !ahead {
		return nil, &goneError{extent.Trimmed, extent.Epoch, from}
	}
	v := &logView{extent: extent, through: q.after}
	upTo := extent.Offset
	if q.before > 0 {
		upTo = min(upTo, q.before-1)
	}
	if q.after < upTo {
		if q.topic == "" || strings.HasSuffix(q.topic, "*") {
			err = v.readAll(ctx, log, q, upTo)
		} else {
			err = v.readTopic(ctx, log, q, upTo)
		}
		v.more = v.through < upTo
	}
	if errors.Is(err, store.ErrTrimmed) {
		head, err := log.Head(ctx)
		if err != nil {
			return nil, err
		}
		return nil, &goneError{head.Trimmed, head.Epoch, head.Trimmed}
	}
	return v, err
}

func (v *logView) readTopic(ctx context.Context, log store.Log, q logQuery, upTo int64) error {
	events, through, err := log.Replay(ctx, q.topic, v.through, upTo, store.Limit{Events: q.limit, Bytes: maxLogAnswer, Epoch: v.extent.Epoch})
	if err != nil {
		return err
	}
	for i := range events {
		v.add(&events[i])
	}
	v.through = through
	return nil
}

// readAll reads page by page, and keeps of each what matches: the rest of it is not kept in
// memory.
func (v *logView) readAll(ctx context.Context, log store.Log, q logQuery, upTo int64) error {
	prefix, _ := strings.CutSuffix(q.topic, "*")
	for looked, bytes := 0, 0; looked < maxLogEvents && bytes < maxLogBytes; {
		page := min(logPage, upTo-v.through)
		if prefix == "" {
			page = min(page, int64(q.limit-v.count))
		}
		events, err := log.Fetch(ctx, v.through, store.Limit{Events: int(page), Bytes: logPageBytes, Epoch: v.extent.Epoch})
		if err != nil || len(events) == 0 { // none: whoever answers is behind
			return err
		}
		for i := range events {
			e := &events[i]
			if strings.HasPrefix(e.Topic, prefix) {
				v.add(e)
			}
			v.through = e.Offset
			bytes += len(e.Payload)
			if v.count == q.limit || len(v.events) >= maxLogAnswer || v.through == upTo {
				return nil
			}
		}
		looked += len(events)
	}
	return nil
}

// add writes an event, its payload as it was written.
func (v *logView) add(e *store.Event) {
	if v.count++; v.count > 1 {
		v.events = append(v.events, ',')
	}
	v.events = fmt.Appendf(v.events, `{"offset":%d,"topic":%s,"event":%s,"payload":`, e.Offset, quote(e.Topic), quote(e.Name))
	if utf8.Valid(e.Payload) {
		v.events = append(v.events, e.Payload...)
	} else {
		v.events = append(v.events, strings.ToValidUTF8(string(e.Payload), "\ufffd")...)
	}
	if e.Key != nil {
		v.events = fmt.Appendf(v.events, `,"key":%s`, quote(string(e.Key)))
	}
	v.events = fmt.Appendf(v.events, `,"inserted_at":%s}`, quote(e.InsertedAt.UTC().Format(time.RFC3339Nano)))
}

func quote(text string) []byte {
	quoted, _ := json.Marshal(text) // a string always marshals
	return quoted
}

func (v *logView) json() []byte {
	out := make([]byte, 0, len(v.events)+256)
	out = append(append(append(out, `{"events":[`...), v.events...), ']')
	return fmt.Appendf(out, `,"through":%d,"more":%t,"head":%d,"trimmed":%d,"epoch":%s}`+"\n",
		v.through, v.more, v.extent.Offset, v.extent.Trimmed, quote(v.extent.Epoch))
}
