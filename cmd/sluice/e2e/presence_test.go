package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"testing"
)

// servePresence runs a node with rooms whose clients are told who is there.
func servePresence(t testing.TB) *service {
	t.Helper()
	return serve(t, "--data-dir", t.TempDir(), "--presence-interval", "20ms", "--config", config(t, `
topics:
  - {match: "room:*", presence: {key: client, max: 1000}}
  - {match: "realtime:*", presence: {key: client, meta: client, max-meta: 1KiB}}
`)).ready(t)
}

// joinAs joins a room under a key, and reports who is there.
func (c *phoenix) joinAs(t testing.TB, topic, key string, params map[string]any) {
	t.Helper()
	with := map[string]any{"config": map[string]any{"presence": map[string]any{"key": key}}}
	maps.Copy(with, params)
	c.do(t, "join", map[string]any{"topic": topic, "params": with, "presence": true})
	if answer := c.next(t, "joined", "refused"); answer.What != "joined" {
		t.Fatalf("joining %s was refused: %s", topic, answer.Response)
	}
}

// sees waits until the client reports that exactly these are here, how often each.
func (c *phoenix) sees(t testing.TB, want map[string]int) {
	t.Helper()
	for {
		here := map[string]int{}
		got := c.next(t, "here").Payload // which fails the test if it does not come
		if err := json.Unmarshal(got, &here); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if maps.Equal(here, want) {
			return
		}
	}
}

// TestPresenceOfStockClients has the stock clients' own Presence of each version and
// transport say the same: who is here, through joins, a second tab, leaves, a connection
// that is cut and hostile keys.
func TestPresenceOfStockClients(t *testing.T) {
	t.Parallel()
	s := servePresence(t)
	door := newRelay(t).open(t, s.public)
	var all []*phoenix
	here := map[string]int{}
	everyoneSees := func() {
		t.Helper()
		for _, c := range all {
			c.sees(t, here)
		}
	}
	for i, args := range [][]string{
		{"phoenix17"}, {"phoenix17", "1"}, {"phoenix17", "2", "longpoll"}, {"phoenix18"}, {"phoenix18", "2", "longpoll"}, {"phoenix16"},
	} {
		address := s.public
		if i == 0 {
			address = door.address
		}
		c := connect(t, address, args...)
		key, params := fmt.Sprintf("user %d ☺ \"ü\"", i), map[string]any{}
		if i == 3 {
			params["after"] = nil // what resumes is told in the same form
		}
		here[key]++
		all = append(all, c)
		c.joinAs(t, "room:1", key, params)
		everyoneSees()
	}
	tab := connect(t, s.public, "phoenix17")
	tab.joinAs(t, "room:1", "user 4 ☺ \"ü\"", nil)
	here["user 4 ☺ \"ü\""]++
	all = append(all, tab)
	everyoneSees()

	// What would break the clients of 1.7 reaches none of them.
	hostile := connect(t, s.public, "phoenix18")
	for i, key := range []string{"constructor", "__proto__", "toString", "hasOwnProperty"} {
		topic := fmt.Sprint("room:", 1+i%2)
		hostile.do(t, "join", map[string]any{"topic": topic, "presence": true, "params": map[string]any{"config": map[string]any{"presence": map[string]any{"key": key}}}})
		hostile.next(t, "joined")
		hostile.do(t, "leave", map[string]any{"topic": topic})
		hostile.next(t, "left")
	}
	tab.do(t, "leave", map[string]any{"topic": "room:1"})
	tab.next(t, "left")
	all = all[:len(all)-1]
	here["user 4 ☺ \"ü\""]--
	everyoneSees()

	door.cut() // and the client joins again by itself
	all[0].next(t, "close")
	all[0].next(t, "joined")
	last := all[len(all)-1]
	last.do(t, "disconnect", nil)
	all = all[:len(all)-1]
	delete(here, "user 5 ☺ \"ü\"")
	everyoneSees()
}

// TestPresenceOfRealtimeClient has supabase's client track and untrack itself, as its own
// documentation shows it, and a stock client see that.
func TestPresenceOfRealtimeClient(t *testing.T) {
	t.Parallel()
	s := servePresence(t)
	stock := connect(t, s.public, "phoenix17")
	stock.joinAs(t, "realtime:room", "stock", nil)
	stock.sees(t, map[string]int{})
	var clients []*phoenix
	for _, key := range []string{"ann", "ben"} {
		c := alone(start(t, "node", "node/realtime.mjs", mount(s.public)))
		c.do(t, "join", map[string]any{"topic": "room", "key": key})
		if got := c.next(t, "joined", "refused"); got.What != "joined" {
			t.Fatalf("not joined: %+v", got)
		}
		clients = append(clients, c)
	}
	refs := regexp.MustCompile(`"presence_ref":"[^"]+"`)
	everyoneSees := func(want string, stocks map[string]int) {
		t.Helper()
		for i, c := range clients {
			for {
				got := refs.ReplaceAllString(string(c.next(t, "here").Payload), `"presence_ref":"R"`)
				if same(t, got, want) {
					break
				}
				t.Logf("client %d sees %s", i, got)
			}
		}
		stock.sees(t, stocks)
	}
	answer := func(what, wanted string, with map[string]any) {
		t.Helper()
		clients[1].do(t, what, with)
		if got := clients[1].next(t, wanted); got.Status != "ok" {
			t.Errorf("%s is answered %q", what, got.Status)
		}
	}
	answer("track", "tracked", map[string]any{"topic": "room", "meta": map[string]any{"online_at": "now", "at": []int{1}}})
	everyoneSees(`{"ben":[{"presence_ref":"R","online_at":"now","at":[1]}]}`, map[string]int{"ben": 1})
	answer("track", "tracked", map[string]any{"topic": "room", "meta": map[string]any{"online_at": "now", "at": []int{1}}}) // the same: nothing
	answer("track", "tracked", map[string]any{"topic": "room", "meta": map[string]any{"away": true}})
	everyoneSees(`{"ben":[{"presence_ref":"R","away":true}]}`, map[string]int{"ben": 1})
	answer("untrack", "untracked", map[string]any{"topic": "room"})
	everyoneSees(`{}`, map[string]int{})
}

// same tells whether two texts are the same JSON.
func same(t testing.TB, a, b string) bool {
	t.Helper()
	var values [2]any
	for i, text := range []string{a, b} {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	x, _ := json.Marshal(values[0])
	y, _ := json.Marshal(values[1])
	return string(x) == string(y)
}
