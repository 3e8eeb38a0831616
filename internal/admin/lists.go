package admin

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/socket"
)

// getSockets lists open connections.
func (a *api) getSockets(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	switch all, ok := readNodes(w, r); {
	case !ok:
	case all:
		httpserver.Answer(w, http.StatusOK, a.allSockets(r.Context(), limit))
	default:
		httpserver.Answer(w, http.StatusOK, a.sockets(limit))
	}
}

// socketList are open connections of one node.
type socketList struct {
	Sockets []socket.SocketInfo `json:"sockets"`
	Total   int                 `json:"total"`
}

func (a *api) sockets(limit int) socketList {
	list, total := a.Node.Sockets(limit)
	return socketList{list, total}
}

// deleteSockets closes all connections of an id, on all nodes.
func (a *api) deleteSockets(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	closed, err := a.Node.DisconnectContext(r.Context(), id)
	unreached := new(cluster.UnreachedError)
	errors.As(err, &unreached)
	a.audit(r, "disconnect", closed, append(told(unreached.Nodes), "id", id)...)
	httpserver.Answer(w, http.StatusOK, struct {
		Closed    int      `json:"closed"`
		Unreached []string `json:"unreached,omitempty"`
	}{closed, unreached.Nodes})
}

// told is what the log says of nodes that could not be told of something.
func told(unreached []string) []any {
	if len(unreached) == 0 {
		return nil
	}
	return []any{"unreached", unreached}
}

// topicInfo describes a topic that somebody has joined.
type topicInfo struct {
	Topic    string  `json:"topic"`
	Channels int     `json:"channels"`
	Rate     float64 `json:"rate"` // messages a second of late, counted once whatever the number of channels
}

// getTopics lists topics, the most watched first.
func (a *api) getTopics(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	switch all, ok := readNodes(w, r); {
	case !ok:
	case all:
		httpserver.Answer(w, http.StatusOK, a.allTopics(r.Context(), limit))
	default:
		httpserver.Answer(w, http.StatusOK, a.topics(limit))
	}
}

// topicList are topics of one node, or of all: then the total has a topic once for each
// node that has it.
type topicList struct {
	Topics []topicInfo `json:"topics"`
	Total  int64       `json:"total"`
}

func (a *api) topics(limit int) topicList {
	list := topicList{[]topicInfo{}, a.Hub.Topics()}
	for _, each := range a.Hub.List(limit) {
		list.Topics = append(list.Topics, topicInfo(each))
	}
	return list
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
