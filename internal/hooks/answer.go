package hooks

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/store"
)

// What answers may say, in bytes.
const (
	// MaxAnswer bounds the body of an answer.
	MaxAnswer = 256 << 10

	maxReason  = 255
	maxSubject = 255
)

// answer is what a hook may say, whichever it is. What it says besides is ignored.
type answer struct {
	Allow     *bool          `json:"allow"`
	Reason    *string        `json:"reason"`
	Subject   string         `json:"sub"`
	Topics    jsontext.Value `json:"topics"`
	ExpiresAt *float64       `json:"expires_at"`
	Claims    jsontext.Value `json:"claims"`
	Response  jsontext.Value `json:"response"`
	Do        string         `json:"do"`
	Event     string         `json:"event"`
	Payload   jsontext.Value `json:"payload"`
	Reply     jsontext.Value `json:"reply"`
}

// members say what those of an answer must be.
var members = map[string]string{
	"allow": "true or false", "reason": "a string", "sub": "a string", "expires_at": "a number of seconds since 1970",
	"do": doMust, "event": "a string",
}

const (
	objectMust = "a JSON object"
	doMust     = `"broadcast", "log" or "none"`
)

// parse reads an answer, which says at least whether it allows or not.
func parse(text []byte) (answer, error) {
	var said answer
	if err := json.Unmarshal(text, &said); err != nil {
		var wrong *json.SemanticError
		if errors.As(err, &wrong) {
			for name := range wrong.JSONPointer.Tokens() {
				if must := members[name]; must != "" {
					return said, fmt.Errorf("%s must be %s", name, must)
				}
				break
			}
			return said, errors.New("it must be " + objectMust)
		}
		return said, fmt.Errorf("it is no JSON: %w", err)
	}
	switch {
	case said.Allow == nil:
		return said, errors.New("allow must be there, and be true or false")
	case said.Reason != nil && len(*said.Reason) > maxReason:
		return said, fmt.Errorf("reason must be at most %d bytes long", maxReason)
	}
	return said, nil
}

// object returns a member that must be an object if it is there.
func object(name string, value jsontext.Value) ([]byte, error) {
	switch value.Kind() {
	case 0, 'n':
		return nil, nil
	case '{':
		return value.Clone(), nil
	}
	return nil, fmt.Errorf("%s must be %s", name, objectMust)
}

// expires is when what is allowed ends, zero if it does not say.
func (a *answer) expires() (time.Time, error) {
	if a.ExpiresAt == nil {
		return time.Time{}, nil
	}
	seconds := *a.ExpiresAt
	if seconds < 1 || seconds >= 1<<38 { // some thousand years
		return time.Time{}, errors.New("expires_at must be " + members["expires_at"])
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, unicode.IsControl)
}

// read checks what a hook says that allows.
func (a *answer) read(hook string) (said Answer, err error) {
	if said.Expires, err = a.expires(); err != nil {
		return said, err
	}
	switch hook {
	case Connect:
		err = a.readConnect(&said)
	case Join:
		said.Response, err = object("response", a.Response)
	case Push:
		err = a.readPush(&said)
	}
	return said, err
}

// readConnect reads what lets a client connect.
func (a *answer) readConnect(said *Answer) (err error) {
	if len(a.Subject) > maxSubject || hasControl(a.Subject) {
		return fmt.Errorf("sub must be at most %d bytes, without control characters", maxSubject)
	}
	said.Subject = a.Subject
	if said.Listed = a.Topics.Kind() != 0; said.Listed {
		if a.Topics.Kind() != '[' || json.Unmarshal(a.Topics, &said.Topics) != nil {
			return errors.New("topics must be a list of strings")
		}
	}
	said.Claims, err = object("claims", a.Claims)
	return err
}

// readPush reads what is to become of an event.
func (a *answer) readPush(said *Answer) (err error) {
	switch a.Do {
	case "", DoNone:
		said.Do = DoNone
	case DoBroadcast, DoLog:
		said.Do = a.Do
	default:
		return errors.New("do must be " + doMust)
	}
	if said.Event = a.Event; said.Event != "" {
		if err := store.CheckEvent(said.Event); err != nil {
			return fmt.Errorf("event must be one that clients can be sent: %w", err)
		}
	}
	if said.Payload, err = object("payload", a.Payload); err != nil {
		return err
	}
	said.Reply, err = object("reply", a.Reply)
	return err
}
