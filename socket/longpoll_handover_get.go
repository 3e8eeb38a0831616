package socket

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// handedPollTime is how long a GET is asked for at most, whatever is lost meanwhile, and a
// little less than clients wait: the stock ones take a poll that is not answered within 20 s
// for a connection that is gone, and the holder is to be told in that time, too.
const handedPollTime = 15 * time.Second

// retriesOfGet are those of a client's GET that has until limit, of a request that takes
// an attempt so long: there is always another one.
func retriesOfGet(limit time.Time, attempt time.Duration) retries {
	left := time.Until(limit) - attempt
	return retries{away: min(handedAway, left), unknown: min(cluster.NodeTimeout, left), lost: min(pollTimeout, left)}
}

// handGet has the holder of a session answer a GET of its client.
func (e *Endpoint) handGet(w http.ResponseWriter, r *http.Request, token, holder string) {
	h := e.config.Handover
	if !e.beginHanding() {
		h.metrics.handed[handedBusy].Add(1)
		pause(r.Context(), handedAway)
		answer(w, pollNothing, token, nil)
		return
	}
	defer e.endHanding()
	g := &handedGet{endpoint: e, handover: h, holder: holder, token: token}
	h.metrics.handed[g.run(w, r)].Add(1)
}

// handedGet is a GET whose session another node holds.
type handedGet struct {
	endpoint *Endpoint
	handover *Handover
	holder   string
	token    string
	id       uint64 // of the request to the holder
}

// run answers the GET. While nothing comes it asks again.
func (g *handedGet) run(w http.ResponseWriter, r *http.Request) handedResult {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(g.endpoint.accepting, cancel)() // a drain waits for no poll
	begun := time.Now()
	end, limit := begun.Add(pollTimeout), begun.Add(handedPollTime)
	for {
		g.id = g.handover.ids.Add(1)
		ask := g.request(handGet, max(min(time.Until(end), handedWait), 0))
		got, data, err := g.handover.ask(ctx, g.holder, ask, nil, retriesOfGet(limit, ask.attempt()))
		switch {
		case err != nil:
			return g.failed(w, r, err)
		case got.Status == pollOK:
			return g.write(w, r, got.Length, data)
		case got.Status == handedWaits && ctx.Err() == nil && time.Until(end) > 0:
			continue
		case got.Status == handedFull && time.Until(end) > 0 && pause(ctx, handedAway):
			continue
		case got.Status == handedWaits, got.Status == pollNothing, got.Status == handedFull:
			answer(w, pollNothing, g.token, nil)
			return handedNothing
		default:
			answer(w, pollError, "", nil)
			return handedEnded
		}
	}
}

func (g *handedGet) request(verb handedVerb, wait time.Duration) handedRequest {
	return handedRequest{Version: handedVersion, Verb: verb, Mount: g.endpoint.config.Path, Token: g.token,
		ID: g.id, Wait: wait.Milliseconds()}
}

// failed answers a GET that has got no answer. While the session may be there, its
// client goes on with it.
func (g *handedGet) failed(w http.ResponseWriter, r *http.Request, err error) handedResult {
	result := resultOf(err)
	status, token := pollNothing, g.token
	if result == handedUnknown || result == handedRefused {
		status, token = pollError, "" // as for a session of before a restart
	} else {
		g.done(r, answerUnwritten, retries{}) // the holder may have answered, or be about to
	}
	if r.Context().Err() == nil {
		answer(w, status, token, nil)
	}
	return result
}

// write writes the answer, whose messages come in pieces, and tells the holder what
// became of it.
func (g *handedGet) write(w http.ResponseWriter, r *http.Request, length int, data []byte) handedResult {
	if r.Context().Err() != nil {
		g.done(r, answerUnwritten, retries{})
		return handedLeft
	}
	head, tail := answerHead(pollOK, g.token), answerTail
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(head)+length+len(tail)))
	_, err := w.Write(head)
	for written := 0; err == nil; {
		if _, err = w.Write(data); err != nil {
			break
		}
		if written += len(data); written == length {
			_, err = w.Write([]byte(tail))
			break
		}
		more := g.request(handMore, 0)
		more.Offset = written
		var got handedAnswer
		got, data, err = g.handover.ask(r.Context(), g.holder, more, nil, retries{lost: 2 * handedAnswerTime})
		if err == nil && (got.Status != pollOK || len(data) == 0 || len(data) > length-written) {
			err = errHandedMalformed // it has given up, say
		}
	}
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		// What of it has come, the client throws away: the length was to be another.
		g.done(r, answerBroken, retries{})
		return handedLeft
	}
	g.done(r, answerWritten, retries{away: handedAway, unknown: handedAway, lost: 2 * handedAnswerTime})
	return handedAnswered
}

// done tells the holder what became of its answer. If that does not arrive, the answer
// counts as lost, and the session ends: its client joins again, and resumes.
func (g *handedGet) done(r *http.Request, result writeResult, p retries) {
	done := g.request(handDone, 0)
	done.Result = string(result)
	// An error means that the holder is out of reach.
	_, _, _ = g.handover.ask(context.WithoutCancel(r.Context()), g.holder, done, nil, p)
}
