package socket

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A request from one node to another, and its answer, are a line of JSON, whose members
// one may add to, and then data: of a POST its messages, of an answer what is in its
// list of messages.

// handedVersion is of the requests. The holder refuses what it does not know: the
// client then begins a new session.
const handedVersion = 1

// maxHandedHead is how long that line may be.
const maxHandedHead = 8 << 10

// handedVerb is what a node wants of the one that holds a session.
type handedVerb string

const (
	handGet  handedVerb = "get"  // what there is, as a GET of the session's client
	handMore handedVerb = "more" // what follows in the answer to that GET
	handDone handedVerb = "done" // with that GET: what became of the answer is its result
	handPost handedVerb = "post" // take these messages, from a POST
	handFail handedVerb = "fail" // end the session: its result says what its client did
)

// writeResult is what became of the answer to a GET.
type writeResult string

const (
	answerWritten   writeResult = "written"
	answerUnwritten writeResult = "unwritten" // nothing of it
	answerBroken    writeResult = "broken"    // not all of it, perhaps
)

// handedRequest is a request to the node that holds a session.
type handedRequest struct {
	Version int        `json:"v"`
	Verb    handedVerb `json:"do"`
	Mount   string     `json:"mount"` // the endpoint's path
	Token   string     `json:"token"`

	// ID is of a GET, or of a piece of a POST: the requests of one node have growing
	// ones. Who gets the same one again answers as it did.
	ID uint64 `json:"id,omitempty"`

	Wait   int64  `json:"wait,omitempty"`   // milliseconds that it may take
	Offset int    `json:"offset,omitempty"` // of handMore: bytes that have come
	Result string `json:"result,omitempty"` // of handDone, handFail

	// Of handPost, where data is a piece of one message that is too large: the ID of the
	// first piece, and how many bytes follow.
	Of   uint64 `json:"of,omitempty"`
	Rest int    `json:"rest,omitempty"`
}

// handedAnswer answers it.
type handedAnswer struct {
	Status int   `json:"status"`           // of the protocol, or handedWaits, or handedFull
	Length int   `json:"length,omitempty"` // of pollOK to a GET: bytes of its messages
	Left   int64 `json:"left,omitempty"`   // of handPost: milliseconds that are left for the POST's next piece
}

// Statuses that are not the protocol's.
const (
	handedWaits = 0   // nothing came in the time that the GET had
	handedFull  = 503 // too much is held for others: ask again
)

func (r *handedRequest) waits() time.Duration { return time.Duration(r.Wait) * time.Millisecond }

// attempt is how long to wait for the answer before the request is sent again. Who asks
// again for what a POST comes to gets it when it is there.
func (r *handedRequest) attempt() time.Duration {
	if r.Verb == handGet {
		return r.waits() + handedAnswerTime
	}
	return handedAnswerTime
}

func (r *handedRequest) append(dst, data []byte) []byte { return appendHanded(dst, r, data) }
func (a *handedAnswer) append(dst, data []byte) []byte  { return appendHanded(dst, a, data) }

func appendHanded(dst []byte, head any, data []byte) []byte {
	line, err := json.Marshal(head)
	if err != nil {
		panic(err) // a programmer's error: all of it is ours
	}
	return append(append(append(dst, line...), '\n'), data...)
}

var errHandedMalformed = errors.New("socket: malformed message about a long-poll")

func parseHandedRequest(message []byte) (r handedRequest, data []byte, err error) {
	if data, err = parseHanded(message, &r); err != nil {
		return r, nil, err
	}
	switch {
	case r.Version != handedVersion:
		return r, nil, fmt.Errorf("requests of long-polls of version %d are not answered here, only %d", r.Version, handedVersion)
	case r.Wait < 0 || r.Wait > int64(pollTimeout/time.Millisecond), r.Offset < 0, r.Rest < 0:
		return r, nil, errHandedMalformed
	}
	return r, data, nil
}

func parseHandedAnswer(message []byte) (a handedAnswer, data []byte, err error) {
	data, err = parseHanded(message, &a)
	if err == nil && (a.Length < 0 || len(data) > a.Length) {
		err = errHandedMalformed
	}
	return a, data, err
}

func parseHanded(message []byte, head any) (data []byte, err error) {
	end := bytes.IndexByte(message[:min(len(message), maxHandedHead)], '\n')
	if end < 0 {
		return nil, errHandedMalformed
	}
	if err := json.Unmarshal(message[:end], head); err != nil {
		return nil, fmt.Errorf("%w: %w", errHandedMalformed, err)
	}
	return message[end+1:], nil
}

// The messages of a POST have their lengths before them: those that are not lines may
// hold line ends.

func appendHandedMessage(dst, message []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(message))), message...)
}

// cutHandedMessage returns the first message, and what follows it.
func cutHandedMessage(data []byte) (message, rest []byte, err error) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) {
		return nil, nil, errHandedMalformed
	}
	return data[n:][:length], data[n:][length:], nil
}
