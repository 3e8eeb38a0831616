package socket

import (
	"bytes"

	"github.com/sluicehq/sluice/channels"
)

// accessToken is the event with which a client brings a new token, and the join
// parameter in which some clients send theirs as well. It is the socket's own: no
// channel gets it, and so no other client.
const accessToken = "access_token"

// withoutToken is a join's parameters, which are valid JSON, as the channel may see
// them.
func withoutToken(params channels.Payload) channels.Payload {
	data := bytes.TrimSpace(params.Data)
	if params.Binary || !bytes.HasPrefix(data, []byte("{")) || !bytes.Contains(data, []byte(accessToken)) {
		return params
	}
	kept := []byte("{")
	for rest := data[skip(data, 1) : len(data)-1]; len(rest) > 0; {
		var key, value []byte
		key, rest = cutValue(rest)
		value, rest = cutValue(rest)
		if name, _ := unquote(key); name == accessToken {
			continue
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, key...), ':'), value...)
	}
	return channels.Payload{Data: append(kept, '}')}
}
