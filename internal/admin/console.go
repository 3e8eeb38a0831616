package admin

import (
	"cmp"
	"context"
	"net/http"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
)

// adminAssign is where a socket of the console keeps what its token was.
const adminAssign = "sluice.admin"

// Connect is the connect hook of the console: it lets in who brings the admin token.
func (t *Tokens) Connect(ctx context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
	may, digest, err := t.judge(ctx, r.RemoteAddr, cmp.Or(r.Token, r.Params.Get("token")))
	switch {
	case err != nil:
		return nil, &socket.Refusal{Status: http.StatusTooManyRequests, Reason: err.Error()}
	case may != fullAdmin:
		return nil, &socket.Refusal{Status: http.StatusUnauthorized, Reason: "the admin token is missing or wrong"}
	}
	return &channels.Socket{Assigns: map[string]any{adminAssign: digest}}, nil
}

// Holds tells whether a socket of the console came with what is the admin
// token still.
func (t *Tokens) Holds(s *channels.Socket) bool {
	digest, _ := s.Assigns[adminAssign].(tokenDigest)
	return !t.guarded() || t.full.Get().equal(digest)
}
