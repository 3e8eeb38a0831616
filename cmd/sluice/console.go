package main

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
)

// The page is some files here and one on the wire: styles and scripts are put into the
// document, so that its one path is all that has to be open to those who have no token
// yet, and nothing is ever fetched from elsewhere.
//
//go:embed console
var consoleFiles embed.FS

var (
	styleTag  = regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)">`)
	scriptTag = regexp.MustCompile(`<script src="([^"]+)"></script>`)
)

// consolePage is the document, and the policy that it comes with: it lets run what is in the
// document, word for word, and lets it talk to where it came from.
func consolePage(files fs.FS) (page, policy string) {
	document, err := fs.ReadFile(files, "index.html")
	if err != nil {
		panic(err) // it is part of the program
	}
	page, scripts := inlined(files, string(document), scriptTag, "script")
	page, styles := inlined(files, page, styleTag, "style")
	return page, strings.Join([]string{
		"default-src 'none'",
		"script-src " + strings.Join(scripts, " "),
		"style-src " + strings.Join(styles, " "),
		"connect-src 'self'",
		"img-src data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

// inlined puts the files that tags refer to into the document, and names them for the policy.
func inlined(files fs.FS, document string, reference *regexp.Regexp, tag string) (page string, hashes []string) {
	page = reference.ReplaceAllStringFunc(document, func(found string) string {
		text, err := fs.ReadFile(files, reference.FindStringSubmatch(found)[1])
		if err != nil {
			panic(err) // it is part of the program
		}
		hashes = append(hashes, sourceHash(string(text)))
		return "<" + tag + ">" + string(text) + "</" + tag + ">"
	})
	return page, hashes
}

// console serves the page at / alone.
func console() http.Handler {
	files, err := fs.Sub(consoleFiles, "console")
	if err != nil {
		panic(err) // the name is a valid one
	}
	page, policy := consolePage(files)
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
