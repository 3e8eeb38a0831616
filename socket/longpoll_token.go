package socket

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// sessionTokens makes and recognises the tokens that name long-poll sessions:
// tokenPrefix and tokenParts parts, which are the version of this form, the node, a
// random text and a signature over all before it, with dots between. Nothing is kept
// of a session that has ended, and yet its token is told from what an application
// sends.
type sessionTokens struct {
	node string
	key  []byte
}

const (
	tokenPrefix  = "poll."
	tokenVersion = "1"
	tokenParts   = 4
)

func newSessionTokens(node string) sessionTokens {
	return sessionTokens{node: base64.RawURLEncoding.EncodeToString([]byte(node)), key: []byte(rand.Text())}
}

// issue makes a new token.
func (t sessionTokens) issue() string {
	token := tokenPrefix + tokenVersion + "." + t.node + "." + rand.Text()
	return token + "." + t.sign(token)
}

// issued tells whether a token is one of these.
func (t sessionTokens) issued(token string) bool {
	at := strings.LastIndexByte(token, '.')
	return at > 0 && hmac.Equal([]byte(token[at+1:]), []byte(t.sign(token[:at])))
}

func (t sessionTokens) sign(text string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// isToken tells whether a text is a session's token, of whatever node and time: those
// of the builds before this one have no version, and so a part less.
func isToken(text string) bool {
	parts, ours := strings.CutPrefix(text, tokenPrefix)
	dots := strings.Count(parts, ".")
	return ours && (dots == tokenParts-1 || dots == tokenParts-2)
}

// isNoToken tells whether a text is what a client sends while it has no token.
func isNoToken(text string) bool { return text == "" || text == "null" || text == "undefined" }
