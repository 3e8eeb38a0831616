package socket

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// sessionTokens makes and recognises the tokens that name long-poll sessions:
// tokenPrefix and tokenParts parts, which are the version of this form, the node that
// holds the session, a random text and a signature over all before it, with dots
// between. Nothing is kept of a session that has ended, and yet its token is told from
// what an application sends.
type sessionTokens struct {
	node string        // as others know this one, "" if there are none
	key  func() []byte // that all nodes share; nil as long as it is not known
}

const (
	tokenPrefix  = "poll."
	tokenVersion = "2" // in 1 a node was named by what --node says
	tokenParts   = 4
)

// newSessionTokens makes tokens that this process alone recognises.
func newSessionTokens() sessionTokens {
	key := []byte(rand.Text())
	return sessionTokens{key: func() []byte { return key }}
}

// issue makes a new token.
func (t sessionTokens) issue() string {
	token := tokenPrefix + tokenVersion + "." + base64.RawURLEncoding.EncodeToString([]byte(t.node)) + "." + rand.Text()
	return token + "." + sign(t.key(), token)
}

// holder is the node that has issued a token. It returns false for what none of those
// that share the key has.
func (t sessionTokens) holder(token string) (node string, issued bool) {
	key, at := t.key(), strings.LastIndexByte(token, '.')
	if key == nil || at <= 0 || !hmac.Equal([]byte(token[at+1:]), []byte(sign(key, token[:at]))) {
		return "", false
	}
	parts := strings.Split(token[:at], ".")
	if len(parts) != tokenParts || parts[1] != tokenVersion {
		return "", false // of a build before this one, or after
	}
	decoded, err := base64.RawURLEncoding.DecodeString(parts[2])
	return string(decoded), err == nil
}

func sign(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// isToken tells whether a text is a session's token, of whatever node and time: those
// of the first builds have no version, and so a part less.
func isToken(text string) bool {
	parts, ours := strings.CutPrefix(text, tokenPrefix)
	dots := strings.Count(parts, ".")
	return ours && (dots == tokenParts-1 || dots == tokenParts-2)
}

// isNoToken tells whether a text is what a client sends while it has no token.
func isNoToken(text string) bool { return text == "" || text == "null" || text == "undefined" }
