package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
)

// The page is three files here and one on the wire: style and script are put
// into the document, so that its one path is all that has to be open to those
// who have no token yet, and nothing is ever fetched from elsewhere.
var (
	//go:embed console/index.html
	consolePage string
	//go:embed console/console.css
	consoleStyle string
	//go:embed console/console.js
	consoleScript string
)

const (
	styleTag  = `<link rel="stylesheet" href="console.css">`
	scriptTag = `<script src="console.js"></script>`
)

// console serves the page at / alone. Its policy lets run what is in the
// document, word for word, and lets it talk to where it came from.
func console() http.Handler {
	page := strings.NewReplacer(
		styleTag, "<style>"+consoleStyle+"</style>",
		scriptTag, "<script>"+consoleScript+"</script>",
	).Replace(consolePage)
	policy := strings.Join([]string{
		"default-src 'none'",
		"script-src " + sourceHash(consoleScript),
		"style-src " + sourceHash(consoleStyle),
		"connect-src 'self'",
		"img-src data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the console is only for reading", http.StatusMethodNotAllowed)
			return
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		_, _ = io.WriteString(w, page) // a reader that has gone is no concern of ours
	})
}

// sourceHash names a text in a policy (Content Security Policy 3, section 2.3.1).
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
