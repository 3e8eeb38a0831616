package httpserver

import (
	"net/http"
	"net/url"
	"path"
)

// CleanPath serves a request whose path has empty or dot segments, or a slash at
// its end, as if it had none. http.ServeMux would redirect, which WebSocket
// clients do not follow.
func CleanPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath() // a slash that is escaped separates nothing
		cleaned := path.Clean("/" + escaped)
		plain, err := url.PathUnescape(cleaned)
		if cleaned == escaped || err != nil {
			next.ServeHTTP(w, r)
			return
		}
		at := *r.URL
		at.Path, at.RawPath = plain, cleaned
		moved := *r
		moved.URL = &at
		next.ServeHTTP(w, &moved)
	})
}
