package dialect_test

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/benchmarks/peers/dialect"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// A conversation is what a server sends, as it was captured, and what a client
// with two topics has to say to each message and has joined after it.
type conversation struct {
	dialect swarm.Dialect
	greets  []string
	turns   []turn
}

type turn struct {
	hears  string
	says   []string
	joined int
}

var conversations = map[string]conversation{
	"centrifuge": {
		dialect: dialect.Centrifuge{},
		greets: []string{`{"id":1,"connect":{}}` + "\n" +
			`{"id":2,"subscribe":{"channel":"bench:0"}}` + "\n" + `{"id":3,"subscribe":{"channel":"bench:1"}}`},
		turns: []turn{
			{hears: `{"id":1,"connect":{"client":"2398979d-4d5c-46f9-be42-76411aeb839a","ping":25,"pong":true}}` + "\n" + `{"id":2,"subscribe":{}}`, joined: 1},
			{hears: `{"id":3,"subscribe":{}}`, joined: 1},
			{hears: `{}`, says: []string{`{}`}},
		},
	},
	"centrifuge, one reply a message": {
		dialect: dialect.Centrifuge{},
		greets: []string{`{"id":1,"connect":{}}` + "\n" +
			`{"id":2,"subscribe":{"channel":"bench:0"}}` + "\n" + `{"id":3,"subscribe":{"channel":"bench:1"}}`},
		turns: []turn{
			{hears: `{"id":1,"connect":{"client":"c2","ping":25,"pong":true}}`},
			{hears: `{"id":2,"subscribe":{}}` + "\n" + `{"id":3,"subscribe":{}}` + "\n" + `{}`, says: []string{`{}`}, joined: 2},
		},
	},
	"socket.io": {
		dialect: dialect.SocketIO{},
		turns: []turn{
			{hears: `0{"sid":"pLRI7roSN1f3MaRxAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`, says: []string{`40`}},
			{hears: `40{"sid":"ThFJBAbckC3CyLN4AAAA"}`, says: []string{`420["join",["bench:0","bench:1"]]`}},
			{hears: `430[]`, joined: 2},
			{hears: `2`, says: []string{`3`}},
		},
	},
	"ws": {
		dialect: dialect.Plain{},
		greets:  []string{`{"join":["bench:0","bench:1"]}`},
		turns:   []turn{{hears: `{"joined":["bench:0","bench:1"]}`, joined: 2}},
	},
}

func TestConversations(t *testing.T) {
	t.Parallel()
	topics := []string{"bench:0", "bench:1"}
	for name, want := range conversations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said []string
			say := func(message []byte) { said = append(said, string(message)) }
			check := func(after string, want []string) {
				t.Helper()
				if strings.Join(said, "|") != strings.Join(want, "|") {
					t.Errorf("after %q the client says %q, want %q", after, said, want)
				}
				said = nil
			}
			want.dialect.Greet(say, topics)
			check("connecting", want.greets)
			for _, turn := range want.turns {
				joined, err := want.dialect.Hear(say, topics, []byte(turn.hears))
				if err != nil || joined != turn.joined {
					t.Errorf("%q answers %d joins (%v), want %d", turn.hears, joined, err, turn.joined)
				}
				check(turn.hears, turn.says)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect swarm.Dialect
		message string
	}{
		{dialect.Centrifuge{}, `{"id":2,"error":{"code":103,"message":"permission denied"}}`},
		{dialect.Centrifuge{}, `{"id":2,"subscribe":{}}` + "\n" + `no JSON`},
		{dialect.SocketIO{}, `44{"message":"Invalid namespace"}`},
		{dialect.SocketIO{}, `41`},
		{dialect.SocketIO{}, ``},
		{dialect.Plain{}, `["bench:0","tick",{}]`},
		{dialect.Plain{}, `{"joined":[]}`},
	} {
		said := false
		_, err := test.dialect.Hear(func([]byte) { said = true }, []string{"bench:0"}, []byte(test.message))
		if err == nil || said {
			t.Errorf("%T takes %q for an answer", test.dialect, test.message)
		}
	}
}

func TestPingsAmongPublications(t *testing.T) {
	t.Parallel()
	const publication = `{"push":{"channel":"bench:0","pub":{"data":{"n":0,"t":0,"at":0}}}}`
	for message, pings := range map[string]int{
		publication:                                    0,
		publication + "\n" + publication:               0,
		"{}\n" + publication:                           1,
		publication + "\n{}":                           1,
		publication + "\n" + publication + "\n" + "{}": 1,
	} {
		pongs := 0
		dialect.Centrifuge{}.HearMixed(func(answer []byte) {
			if string(answer) == "{}" {
				pongs++
			}
		}, []byte(message))
		if pongs != pings {
			t.Errorf("%d pongs to %q, want %d", pongs, message, pings)
		}
	}
}
