package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Request tells a request from all others, for who makes it again because it does not
// know what has become of it.
type Request struct {
	Key        string            // 1 to MaxRequestKeyBytes bytes of UTF-8 without control characters
	BodySHA256 [sha256.Size]byte // of all that was asked for
}

// Bounds of requests that are kept.
const (
	MaxRequestKeyBytes = 255
	RequestKept        = 24 * time.Hour // by the store's clock; after that the key counts as a new one
)

// ErrOtherRequest is returned where a key came with another body before.
var ErrOtherRequest = errors.New("store: this key was given to a request with another body")

// CheckRequestKey says what is wrong with a key.
func CheckRequestKey(key string) error {
	if reason := checkName(key, MaxRequestKeyBytes); reason != "" {
		return fmt.Errorf("store: the key of a request %s", reason)
	}
	return nil
}

// Requests append once what may be asked for more than once, of whatever process on the
// same store.
type Requests interface {
	// AppendOnce is [Log.Append], and keeps the request in the same transaction. While
	// one of the same key and body is kept, it appends nothing, and returns how many
	// events that one did, and true; with another body, ErrOtherRequest. Of calls at the
	// same time one appends, and the others wait for it. What fails is not kept.
	AppendOnce(ctx context.Context, request Request, drafts []Draft) (count int, again bool, err error)
}
