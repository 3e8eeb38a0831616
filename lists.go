package sluice

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// SocketInfo describes an open connection.
type SocketInfo struct {
	ID         string    `json:"id"`        // what the connect hook named it, or else one of its own
	Mount      string    `json:"mount"`     // the path of its mount
	Transport  string    `json:"transport"` // "websocket" or "longpoll"
	RemoteAddr string    `json:"remote_addr"`
	Channels   int       `json:"channels"` // topics joined
	Opened     time.Time `json:"opened"`
}

// Sockets describes open connections of this node, the oldest ones and at most
// limit of them, and says how many there are.
func (s *Service) Sockets(limit int) (oldest []SocketInfo, total int) {
	oldest = []SocketInfo{} // in JSON a list, also with nobody there
	for _, m := range s.mounts {
		list := m.endpoint.List()
		total += len(list)
		for _, each := range list[:min(limit, len(list))] {
			oldest = append(oldest, SocketInfo{each.ID, m.path, each.Transport, each.RemoteAddr, each.Channels, each.Opened})
		}
	}
	slices.SortFunc(oldest, func(a, b SocketInfo) int { return a.Opened.Compare(b.Opened) })
	return oldest[:min(limit, len(oldest))], total
}

// getSockets lists open connections.
func (s *Service) getSockets(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	list, total := s.Sockets(limit)
	answer(w, http.StatusOK, struct {
		Sockets []SocketInfo `json:"sockets"`
		Total   int          `json:"total"`
	}{list, total})
}

// deleteSockets closes all connections of an id.
func (s *Service) deleteSockets(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	closed := s.Disconnect(id)
	s.audit(r, "disconnect", closed, "id", id)
	answer(w, http.StatusOK, map[string]int{"closed": closed})
}

// topicInfo describes a topic that somebody has joined.
type topicInfo struct {
	Topic    string `json:"topic"`
	Channels int    `json:"channels"`
}

// getTopics lists topics, the most watched first.
func (s *Service) getTopics(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	list := []topicInfo{}
	for _, each := range s.hub.List(limit) {
		list = append(list, topicInfo(each))
	}
	answer(w, http.StatusOK, struct {
		Topics []topicInfo `json:"topics"`
		Total  int64       `json:"total"`
	}{list, s.hub.Topics()})
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
		refuse(w, http.StatusBadRequest, "limit is "+strconv.Quote(given), "a number from 0 to "+strconv.Itoa(maxLimit))
		return 0, false
	}
	return limit, true
}
