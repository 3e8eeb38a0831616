package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/sluicehq/sluice/internal/httpserver"
)

// readRequest reads a body that is one JSON object, or answers what is wrong with it. What
// it has beyond the fields of into is refused, so that a slip does no more than was meant.
func (a *api) readRequest(w http.ResponseWriter, r *http.Request, into any, hint string) bool {
	if !a.fits(w, r) {
		return false
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, a.MaxBodyBytes))
	in.DisallowUnknownFields()
	err := in.Decode(into)
	if err == nil && in.More() {
		err = errors.New("more than one request: send one at a time")
	}
	if err != nil {
		a.refuseBody(w, err, hint)
	}
	return err == nil
}

// fits tells whether a body is as short as it has to be, by the length that is declared, or
// answers that it is not: who waits to be asked for it never sends it.
func (a *api) fits(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > a.MaxBodyBytes {
		a.refuseTooLarge(w)
		return false
	}
	return true
}

func (a *api) refuseTooLarge(w http.ResponseWriter) {
	httpserver.Refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %s", a.BytesText(a.MaxBodyBytes)), inParts)
}

const inParts = "send it in parts, or raise --max-body-bytes"

// refuseBody answers what is wrong with a body.
func (a *api) refuseBody(w http.ResponseWriter, err error, hint string) {
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.As(err, &tooLarge):
		a.refuseTooLarge(w)
	case errors.Is(err, errCopies):
		httpserver.Refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("%v than %s", err, a.BytesText(a.MaxBodyBytes)), inParts)
	default:
		httpserver.Refuse(w, http.StatusBadRequest, err.Error(), hint)
	}
}
