package socket

import (
	"bytes"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// accessToken is the event with which a client brings a new token, and the join
// parameter in which some clients send theirs as well. It is the socket's own: no
// channel gets it, and so no other client.
const accessToken = "access_token"

// withoutToken is a join's parameters, which are valid JSON, as the channel may see
// them.
func withoutToken(params outbound.Payload) outbound.Payload {
	data := bytes.TrimSpace(params.Data)
	if params.Binary || !bytes.HasPrefix(data, []byte("{")) || !bytes.Contains(data, []byte(accessToken)) {
		return params
	}
	return outbound.Payload{Data: phoenix.WithoutMember(data, accessToken)}
}
