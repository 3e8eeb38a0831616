package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// Bounds of consumers.
const (
	maxConsumers        = 1000 // that are kept
	consumerCommitTries = 4
)

// consumerNames are those that there may be.
var consumerNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// readConsumer is the cursor of the consumer that a path names, or answers what is wrong with it.
func readConsumer(w http.ResponseWriter, r *http.Request) (cursor string, ok bool) {
	name := r.PathValue("name")
	if !consumerNames.MatchString(name) {
		httpserver.Refuse(w, http.StatusBadRequest, fmt.Sprintf("the consumer's name is %q", name), "1 to 64 of A-Z, a-z, 0-9, _ and -")
		return "", false
	}
	return store.ConsumerCursors + name, true
}

// consumerInfo is how a consumer stands.
type consumerInfo struct {
	Name      string    `json:"name"`
	Epoch     string    `json:"epoch"`
	Offset    int64     `json:"offset"`
	Lag       int64     `json:"lag"`  // events of the log that it has not committed yet
	Lost      bool      `json:"lost"` // some of these are no longer kept
	UpdatedAt time.Time `json:"updated_at"`
}

// getConsumers lists consumers, by name.
func (a *api) getConsumers(w http.ResponseWriter, r *http.Request) {
	log, ok := a.openLog(w)
	if !ok {
		return
	}
	extent, err := log.Extent(r.Context())
	var cursors []store.NamedCursor
	if err == nil {
		cursors, err = log.Cursors(r.Context(), store.ConsumerCursors, "", maxConsumers)
	}
	if err != nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
		return
	}
	list := make([]consumerInfo, 0, len(cursors))
	for _, c := range cursors {
		from, whole := extent.Resume(c.Cursor)
		list = append(list, consumerInfo{c.Name[len(store.ConsumerCursors):], c.Epoch, c.Offset, max(0, extent.Offset-from), !whole, c.UpdatedAt})
	}
	httpserver.Answer(w, http.StatusOK, struct {
		Consumers []consumerInfo `json:"consumers"`
		Head      int64          `json:"head"`
		Trimmed   int64          `json:"trimmed"`
		Epoch     string         `json:"epoch"`
	}{list, extent.Offset, extent.Trimmed, extent.Epoch})
}

// deleteConsumer forgets a consumer.
func (a *api) deleteConsumer(w http.ResponseWriter, r *http.Request) {
	name, ok := readConsumer(w, r)
	if !ok {
		return
	}
	log, ok := a.openLog(w)
	if !ok {
		return
	}
	deleted, err := log.DeleteCursor(r.Context(), name)
	if err != nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
		return
	}
	count := 0
	if deleted {
		count = 1
	}
	a.audit(r, "delete consumer", count, "consumer", name[len(store.ConsumerCursors):])
	httpserver.Answer(w, http.StatusOK, struct {
		Deleted int `json:"deleted"`
	}{count})
}

// getConsumerEvents shows what comes after a consumer's position: of one that has none, all
// that is kept.
func (a *api) getConsumerEvents(w http.ResponseWriter, r *http.Request) {
	name, ok := readConsumer(w, r)
	if !ok {
		return
	}
	values := r.URL.Query()
	for _, own := range []string{"after", "before", "epoch"} {
		values.Del(own) // that is the consumer's position
	}
	q, err := readLogQuery(values)
	if err != nil {
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), "as in ?topic=orders:*&limit=100&wait=20s")
		return
	}
	log, ok := a.openLog(w)
	if !ok {
		return
	}
	view, err := a.readConsumerLog(r.Context(), log, name, q)
	answerView(w, view, err, "read the state anew, and commit its position with epoch; or go on with what is kept: commit resume, with epoch")
}

// readConsumerLog reads what is wanted after a cursor.
func (a *api) readConsumerLog(ctx context.Context, log store.Log, name string, q logQuery) (*logView, error) {
	cursor, known, err := log.Cursor(ctx, name)
	if err != nil {
		return nil, err
	}
	if known {
		q.after, q.epoch = cursor.Offset, cursor.Epoch
	}
	return a.awaitLog(ctx, log, q)
}

// commitRequest is the body of POST /api/consumers/{name}/commit.
type commitRequest struct {
	Epoch  string `json:"epoch"`
	Offset *int64 `json:"offset"`
	Rewind bool   `json:"rewind"`

	// ReadAfter is the position after which the events were read: what was moved since then
	// stays as it is. nil: that is not compared.
	ReadAfter *struct {
		Epoch  string `json:"epoch"`
		Offset int64  `json:"offset"`
	} `json:"read_after"`
}

// commitError says why a position cannot be committed as things are.
type commitError struct{ text, hint string }

func (e *commitError) Error() string { return e.text }

// postConsumerCommit moves a consumer's position.
func (a *api) postConsumerCommit(w http.ResponseWriter, r *http.Request) {
	name, ok := readConsumer(w, r)
	if !ok {
		return
	}
	const form = `{"epoch": "…", "offset": 41}, as GET …/events answers with epoch and through`
	var request commitRequest
	if !a.readRequest(w, r, &request, form) {
		return
	}
	if request.Epoch == "" || request.Offset == nil || *request.Offset < 0 {
		httpserver.Refuse(w, http.StatusBadRequest, "epoch and an offset from 0 are needed", form)
		return
	}
	var readAfter *store.Cursor
	if given := request.ReadAfter; given != nil {
		if given.Epoch == "" || given.Offset < 0 {
			httpserver.Refuse(w, http.StatusBadRequest, "read_after needs an epoch and an offset from 0", `as GET /api/consumers has them: {"epoch": "…", "offset": 40}`)
			return
		}
		readAfter = &store.Cursor{Epoch: given.Epoch, Offset: given.Offset}
	}
	log, ok := a.openLog(w)
	if !ok {
		return
	}
	err := commitConsumer(r.Context(), log, name, readAfter, store.Cursor{Epoch: request.Epoch, Offset: *request.Offset}, request.Rewind)
	refused := new(commitError)
	switch {
	case errors.As(err, &refused):
		httpserver.Refuse(w, http.StatusConflict, refused.text, refused.hint)
		return
	case err != nil:
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "try again")
		return
	}
	if request.Rewind {
		a.audit(r, "rewind consumer", 1, "consumer", name[len(store.ConsumerCursors):], "offset", *request.Offset)
	}
	httpserver.Answer(w, http.StatusOK, struct {
		Offset int64 `json:"offset"`
	}{*request.Offset})
}

// commitConsumer moves a cursor, unless that would skip or repeat what nobody has asked for, or it no longer
// stands at readAfter, if that is given. Of those who commit at a time, each is judged by where the one
// before has left it.
func commitConsumer(ctx context.Context, log store.Log, name string, readAfter *store.Cursor, to store.Cursor, rewind bool) error {
	for range consumerCommitTries {
		extent, err := log.Extent(ctx)
		if err != nil {
			return err
		}
		switch {
		case to.Epoch != extent.Epoch:
			return &commitError{fmt.Sprintf("epoch is %q, and the log's is %q", to.Epoch, extent.Epoch), "read on, or read the state anew, and commit what is answered then"}
		case to.Offset > extent.Offset:
			return &commitError{fmt.Sprintf("offset is %d, beyond the log's last, %d", to.Offset, extent.Offset), "commit what was read"}
		}
		at, known, err := log.Cursor(ctx, name)
		if err != nil {
			return err
		}
		from := &at
		switch {
		case at == to:
			return nil
		case readAfter != nil && !known:
			return &commitError{"no position is kept under this name: it was deleted since these events were read", "look at GET /api/consumers, and begin again"}
		case readAfter != nil && at != *readAfter:
			return &commitError{fmt.Sprintf("these events were read after %d, and the position was moved to %d since", readAfter.Offset, at.Offset), "read on from the position that is kept"}
		case !known:
			from = nil
			if all, err := log.Cursors(ctx, store.ConsumerCursors, "", maxConsumers); err != nil {
				return err
			} else if len(all) == maxConsumers {
				return &commitError{fmt.Sprintf("there are %d consumers, as many as there may be", maxConsumers), "delete those that are no longer used: GET /api/consumers lists them"}
			}
		}
		if err := judgeCommit(&extent, at, to, known, rewind); err != nil {
			return err
		}
		if moved, err := log.MoveCursor(ctx, name, from, to); err != nil || moved {
			return err
		}
	}
	return &commitError{"others commit under this name at the same time", "have one process at a time use it"}
}

// judgeCommit says what is wrong with moving a position of the log's to another one, of its present
// epoch. Who goes forward may commit what is no longer kept: so far it has come.
func judgeCommit(extent *store.Extent, at, to store.Cursor, known, rewind bool) error {
	present := at.Offset
	if at.Epoch != to.Epoch {
		present, _ = extent.Resume(at)
	}
	back := known && to.Offset < present
	switch {
	case back && !rewind:
		return &commitError{fmt.Sprintf("offset is %d, and %d is committed already: another process may use this name", to.Offset, present), `to go back: "rewind": true`}
	case (back || !known) && to.Offset < extent.Trimmed:
		return &commitError{fmt.Sprintf("offset is %d, and what is kept begins after %d", to.Offset, extent.Trimmed), fmt.Sprintf("read the state anew, and commit from %d on", extent.Trimmed)}
	}
	return nil
}
