package admin

import "net/http"

// whoKey is where a request's context says who makes it.
type whoKey struct{}

// who names the holder of a token, without giving the token away.
func (t *Tokens) who(digest tokenDigest) string {
	if !t.guarded() {
		return "anyone"
	}
	return "token " + digest.name()
}

// audit tells the log of something that was changed through the admin API, or
// may have been: who did it, from where, what, and how much of it.
func (a *api) audit(r *http.Request, action string, count int, more ...any) {
	who, _ := r.Context().Value(whoKey{}).(string)
	a.Logger.Info("admin write", append([]any{
		"action", action, "count", count, "who", who, "remote_addr", r.RemoteAddr}, more...)...)
}
