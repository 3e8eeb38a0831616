package hooks

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/internal/reload"
)

// Bounds of a secret, in bytes, as Standard Webhooks has them.
const minSecret, maxSecret = 24, 64

// secretPrefix stands before a secret in base64.
const secretPrefix = "whsec_"

// Secrets sign requests: each with all that the file has, so that a receiver may take over
// the next secret before the old one is taken away.
type Secrets struct {
	keys *reload.Value[[][]byte]
}

// ReadSecrets reads a file of secrets, one a line, each whsec_ and the base64 of 24 to 64
// bytes. It is read again once it has changed.
func ReadSecrets(path string, logger *slog.Logger) (*Secrets, error) {
	keys, err := reload.Read(logger, func() ([][]byte, error) {
		text, err := reload.ReadFile(path, reload.Secret, logger)
		if err != nil {
			return nil, err
		}
		return parseSecrets(text)
	}, path)
	if err != nil {
		return nil, err
	}
	return &Secrets{keys}, nil
}

func parseSecrets(text []byte) (keys [][]byte, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		encoded, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("line %d is no secret: %s and the base64 of %d to %d bytes", n, secretPrefix, minSecret, maxSecret)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no secret: " + secretPrefix + " and base64, one a line")
	}
	return keys, nil
}

// Sign adds the headers by which a receiver knows who asks.
func (s *Secrets) Sign(header http.Header, id string, at time.Time, body []byte) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	var signatures []string
	for _, key := range s.keys.Get() {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + seconds + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", seconds)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
}

// Reread reads the file now, and returns what puts it in force. Nil has nothing to read.
func (s *Secrets) Reread() (accept func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	return s.keys.Reread()
}
