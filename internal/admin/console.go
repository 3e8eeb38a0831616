package admin

import (
	"cmp"
	"context"
	"maps"
	"net/http"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
)

// adminAssign is where a socket of the console keeps what its token was.
const adminAssign = "sluice.admin"

// Connect is the connect hook of the console: it lets in who brings the admin token.
func (t *Tokens) Connect(ctx context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
	digest, err := t.admit(ctx, r, cmp.Or(r.Token, r.Params.Get("token")))
	if err != nil {
		return nil, err
	}
	return &channels.Socket{Assigns: map[string]any{adminAssign: digest}}, nil
}

// ConnectAs returns the connect hook of those who look at topics as a client does: it lets
// in who brings the admin token, by subprotocol, and whom the clients' own hook lets in with
// what the parameters say: a token, or none. Neither is enough.
func (t *Tokens) ConnectAs(client socket.ConnectFunc) socket.ConnectFunc {
	return func(ctx context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
		digest, err := t.admit(ctx, r, r.Token)
		if err != nil {
			return nil, err
		}
		as := *r
		as.Token = "" // it is no client's
		s, err := client(ctx, &as)
		if err != nil || s == nil {
			return s, err
		}
		both := *s
		if both.Assigns = maps.Clone(s.Assigns); both.Assigns == nil {
			both.Assigns = make(map[string]any)
		}
		both.Assigns[adminAssign] = digest
		return &both, nil
	}
}

// admit lets in who brings the full admin token.
func (t *Tokens) admit(ctx context.Context, r *socket.ConnectRequest, token string) (tokenDigest, error) {
	may, digest, err := t.judge(ctx, r.RemoteAddr, token)
	switch {
	case err != nil:
		return digest, &socket.Refusal{Status: http.StatusTooManyRequests, Reason: err.Error()}
	case may != fullAdmin:
		return digest, &socket.Refusal{Status: http.StatusUnauthorized, Reason: "the admin token is missing or wrong"}
	}
	return digest, nil
}

// Holds tells whether a socket of the console came with what is the admin
// token still.
func (t *Tokens) Holds(s *channels.Socket) bool {
	digest, _ := s.Assigns[adminAssign].(tokenDigest)
	return !t.guarded() || t.full.Get().equal(digest)
}
