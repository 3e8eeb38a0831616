package socket

import (
	"encoding/base64"
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// Params are the parameters of a connection's URL. A value is a string, a
// Params for a[b]=c, or a []any for a[]=c.
type Params map[string]any

// Get returns a parameter that is a string, or "".
func (p Params) Get(name string) string {
	s, _ := p[name].(string)
	return s
}

// Bounds on the parameters of a URL: what goes beyond them is left out.
const (
	maxParams     = 256
	maxParamDepth = 16
)

// parseParams reads a query. What is not well-formed is left out.
func parseParams(query string) Params {
	params := make(Params)
	for range maxParams {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			name, nameErr := url.QueryUnescape(name)
			value, valueErr := url.QueryUnescape(value)
			if path := splitName(name); nameErr == nil && valueErr == nil && len(path) > 0 {
				params.set(path, value)
			}
		}
		if query == "" {
			break
		}
	}
	return params
}

// cutLast takes the last parameter of a name out of a query. What it costs does not grow
// with the number of parameters.
func cutLast(query, name string) (encoded, others string, found bool) {
	for end := len(query); end >= 0; {
		begin := strings.LastIndexByte(query[:end], '&') + 1
		if pair := query[begin:end]; strings.HasPrefix(pair, name) && strings.HasPrefix(pair[len(name):], "=") {
			return pair[len(name)+1:], query[:begin] + strings.TrimPrefix(query[end:], "&"), true
		}
		end = begin - 1
	}
	return "", query, false
}

// splitName splits a[b][c] into a, b and c. Brackets that do not match belong
// to the name.
func splitName(name string) []string {
	base, rest, nested := strings.Cut(name, "[")
	if base == "" {
		return nil
	}
	if !nested || !strings.HasSuffix(rest, "]") {
		return []string{name}
	}
	path := append([]string{base}, strings.SplitN(rest[:len(rest)-1], "][", maxParamDepth)...)
	if len(path) > maxParamDepth {
		return nil
	}
	return path
}

// set stores a value under a path. Of what contradicts, the first stays.
func (p Params) set(path []string, value string) {
	name := path[0]
	switch {
	case len(path) == 1:
		if _, isNested := p[name].(Params); !isNested {
			p[name] = value
		}
	case len(path) == 2 && path[1] == "":
		list, isList := p[name].([]any)
		if isList || p[name] == nil {
			p[name] = append(list, value)
		}
	default:
		if p[name] == nil {
			p[name] = make(Params)
		}
		if nested, ok := p[name].(Params); ok {
			nested.set(path[1:], value)
		}
	}
}

const (
	protocolName   = "phoenix"
	protocolHeader = "Sec-Websocket-Protocol"
	bearerPrefix   = "base64url.bearer.phx."
)

// offersProtocol tells whether the client offers the subprotocol "phoenix".
func offersProtocol(h http.Header) bool {
	for offer := range protocols(h) {
		if offer == protocolName {
			return true
		}
	}
	return false
}

// bearerToken reads the token that a client sends by subprotocol, or "". The
// stock client uses the standard alphabet of base64 in spite of the name.
func bearerToken(h http.Header) string {
	for offer := range protocols(h) {
		if encoded, ok := strings.CutPrefix(offer, bearerPrefix); ok {
			encoded = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(encoded, "="))
			token, err := base64.RawURLEncoding.DecodeString(encoded)
			if err == nil {
				return string(token)
			}
		}
	}
	return ""
}

func protocols(h http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h[protocolHeader] {
			for offer := range strings.SplitSeq(line, ",") {
				if !yield(strings.TrimSpace(offer)) {
					return
				}
			}
		}
	}
}
