package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/store"
)

// revokeRequest is the body of POST /api/revoke.
type revokeRequest struct {
	Subject *string         `json:"sub"`
	TokenID *string         `json:"jti"`
	Before  json.RawMessage `json:"issued_before"` // a time of RFC 3339, or as tokens have it
	Until   json.RawMessage `json:"until"`         // likewise
}

// revocation is what the request asks for.
func (q *revokeRequest) revocation() (r store.Revocation, err error) {
	switch {
	case (q.Subject == nil) == (q.TokenID == nil):
		return r, errors.New("one of sub and jti is needed, and not both")
	case q.Subject != nil:
		r.Kind, r.Value = store.ClaimSubject, *q.Subject
	default:
		r.Kind, r.Value = store.ClaimTokenID, *q.TokenID
	}
	if r.IssuedBefore, err = readTime("issued_before", q.Before); err == nil {
		r.Until, err = readTime("until", q.Until)
	}
	return r, err
}

// readTime reads a time as RFC 3339 has it, or in seconds since 1970, as tokens do
// (RFC 7519, section 2); the zero time where there is none.
func readTime(field string, text json.RawMessage) (at time.Time, err error) {
	if len(text) == 0 {
		return time.Time{}, nil
	}
	var seconds int64
	switch {
	case string(text) == "null":
	case json.Unmarshal(text, &seconds) == nil:
		if seconds > 0 && seconds < maxSeconds {
			return time.Unix(seconds, 0).UTC(), nil
		}
	case json.Unmarshal(text, &at) == nil && !at.IsZero():
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%s is %.100s: want a time such as %q, or seconds since 1970", field, text, time.Now().UTC().Format(time.RFC3339))
}

// maxSeconds is what four digits of a year can say.
const maxSeconds = 253402300800

// revocationInfo is a revocation as the API tells of it.
type revocationInfo struct {
	Subject string    `json:"sub,omitempty"`
	TokenID string    `json:"jti,omitempty"`
	Before  time.Time `json:"issued_before"`
	Until   time.Time `json:"until"`
	Number  int64     `json:"number"`
}

func infoOf(r store.Revocation) revocationInfo {
	info := revocationInfo{Before: r.IssuedBefore, Until: r.Until, Number: r.Number}
	if r.Kind == store.ClaimSubject {
		info.Subject = r.Value
	} else {
		info.TokenID = r.Value
	}
	return info
}

// postRevoke revokes tokens.
func (a *api) postRevoke(w http.ResponseWriter, r *http.Request) {
	const hint = `a request is {"sub":"…"} or {"jti":"…"}, with "issued_before" and "until" (times) if need be`
	var request revokeRequest
	if !a.readRequest(w, r, &request, hint) {
		return
	}
	which, err := request.revocation()
	if err != nil {
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), hint)
		return
	}
	if a.Stream.Log() == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	is, err := a.Node.Revoke(r.Context(), which)
	if invalid := new(store.RevocationError); errors.As(err, &invalid) {
		field := invalid.Field
		if field == "value" {
			field = string(which.Kind)
		}
		httpserver.Refuse(w, http.StatusBadRequest, field+" "+invalid.Reason, hint)
		return
	}
	named := []any{string(which.Kind), which.Value}
	switch {
	case errors.Is(err, store.ErrTooManyRevocations):
		a.audit(r, "revoke", 0, append(named, "outcome", "refused")...)
		httpserver.Refuse(w, http.StatusInsufficientStorage, fmt.Sprintf("%d revocations are in force, and there may be no more", store.MaxRevocations),
			"revoke a subject rather than each of its tokens, with an earlier until, or change the key that signs tokens")
	case err != nil:
		a.audit(r, "revoke", 0, append(named, "outcome", "unknown")...)
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "it may be in force: ask again, which does no harm")
	default:
		a.audit(r, "revoke", 1, append(named, "issued_before", is.IssuedBefore, "until", is.Until)...)
		httpserver.Answer(w, http.StatusOK, infoOf(is))
	}
}

// getRevocations lists the revocations in force, the oldest first.
func (a *api) getRevocations(w http.ResponseWriter, r *http.Request) {
	limit, ok := readLimit(w, r)
	if !ok {
		return
	}
	after := int64(0)
	if given := r.URL.Query().Get("after"); given != "" {
		var err error
		if after, err = strconv.ParseInt(given, 10, 64); err != nil || after < 0 {
			httpserver.Refuse(w, http.StatusBadRequest, "after is "+strconv.Quote(given), "the number of the last one that you have, or none")
			return
		}
	}
	log := a.Stream.Log()
	if log == nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, a.Readiness.Reason().Error(), "try again when /readyz answers 200")
		return
	}
	found, err := log.Revocations(r.Context(), after, limit+1)
	if err != nil {
		httpserver.Refuse(w, http.StatusServiceUnavailable, err.Error(), "ask again")
		return
	}
	more := len(found) > limit
	list := []revocationInfo{}
	for _, each := range found[:min(limit, len(found))] {
		list = append(list, infoOf(each))
	}
	httpserver.Answer(w, http.StatusOK, struct {
		Revocations []revocationInfo `json:"revocations"`
		More        bool             `json:"more"` // ask again, with after: the last number
	}{list, more})
}
