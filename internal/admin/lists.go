package admin

import (
	"net/http"
	"strconv"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/socket"
)

// getSockets lists open connections.
func (a *api) getSockets(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	list, total := a.Node.Sockets(limit)
	httpserver.Answer(w, http.StatusOK, struct {
		Sockets []socket.SocketInfo `json:"sockets"`
		Total   int                 `json:"total"`
	}{list, total})
}

// deleteSockets closes all connections of an id.
func (a *api) deleteSockets(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	closed := a.Node.Disconnect(id)
	a.audit(r, "disconnect", closed, "id", id)
	httpserver.Answer(w, http.StatusOK, map[string]int{"closed": closed})
}

// topicInfo describes a topic that somebody has joined.
type topicInfo struct {
	Topic    string `json:"topic"`
	Channels int    `json:"channels"`
}

// getTopics lists topics, the most watched first.
func (a *api) getTopics(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	list := []topicInfo{}
	for _, each := range a.Hub.List(limit) {
		list = append(list, topicInfo(each))
	}
	httpserver.Answer(w, http.StatusOK, struct {
		Topics []topicInfo `json:"topics"`
		Total  int64       `json:"total"`
	}{list, a.Hub.Topics()})
}

// How many a list names: unless the request says otherwise, and at most.
const defaultLimit, maxLimit = 100, 10_000

// readLimit reads how many the request wants to be named, or answers what is
// wrong with it.
func readLimit(w http.ResponseWriter, r *http.Request) (limit int, ok bool) {
	given := r.URL.Query().Get("limit")
	if given == "" {
		return defaultLimit, true
	}
	limit, err := strconv.Atoi(given)
	if err != nil || limit < 0 || limit > maxLimit {
		httpserver.Refuse(w, http.StatusBadRequest, "limit is "+strconv.Quote(given), "a number from 0 to "+strconv.Itoa(maxLimit))
		return 0, false
	}
	return limit, true
}
