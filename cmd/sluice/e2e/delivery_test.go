package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// A row is inserted in SQL, in a transaction of the application's own, and a
// stock client gets it: each once, in order, bare as Phoenix sends it, or with
// its offset where the client asked for that.
func TestInsertReachesStockClients(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	s := serve(t, "--database-url", url).ready(t)
	for i, flavour := range flavours {
		t.Run(flavour.name, func(t *testing.T) {
			t.Parallel()
			db, c := database(t, url), connect(t, s.public, flavour.args...)
			bare, numbered := fmt.Sprintf("bare:%d", i), fmt.Sprintf("numbered:%d", i)

			if got := string(c.join(t, bare, nil)); got == "" {
				t.Error("the reply to a join has no response")
			}
			var head struct {
				Offset  int64
				Epoch   string
				Resumed bool
			}
			reply := c.join(t, numbered, map[string]any{"after": nil})
			if err := json.Unmarshal(reply, &head); err != nil || head.Epoch == "" || !head.Resumed {
				t.Errorf("a join from now on is answered %s", reply)
			}

			const transactions, rows = 10, 10
			for _, topic := range []string{bare, numbered} {
				for i := range transactions {
					var payloads []string
					for j := range rows {
						payloads = append(payloads, fmt.Sprintf(`{"id": %d}`, i*rows+j))
					}
					insert(t, db, topic, payloads...)
				}
				// What comes next but this would be one too many.
				insert(t, db, topic, `{"id":"last"}`)

				for i := range transactions*rows + 1 {
					want := fmt.Sprint(i)
					if i == transactions*rows {
						want = `"last"`
					}
					got := c.next(t, "message")
					data := got.Payload
					if topic == numbered {
						var envelope struct {
							Offset int64
							Data   json.RawMessage
						}
						if err := json.Unmarshal(got.Payload, &envelope); err != nil {
							t.Fatalf("%s got %s: %v", topic, got.Payload, err)
						}
						if envelope.Offset <= head.Offset {
							t.Errorf("%s got offset %d after %d", topic, envelope.Offset, head.Offset)
						}
						head.Offset, data = envelope.Offset, envelope.Data
					}
					if want := fmt.Sprintf(`{"id":%s}`, want); got.Topic != topic || got.Event != "created" || string(data) != want {
						t.Fatalf("message %d of %s is %s %s %s, want created %s", i, topic, got.Topic, got.Event, got.Payload, want)
					}
				}
			}
		})
	}
}

// A connection breaks and the service is restarted: the stock client comes
// back on its own, joins again and receives again.
func TestClientComesBack(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	db := database(t, url)
	first := serve(t, "--database-url", url).ready(t)
	for _, flavour := range flavours {
		insert(t, db, "unwatched:"+flavour.name, `{}`) // offsets are none of a topic's own
	}
	door := newRelay(t).open(t, first.public)
	var clients []*phoenix
	for _, flavour := range flavours {
		c := connect(t, door.address, flavour.args...)
		c.join(t, "orders:bare", nil)
		c.join(t, "orders:numbered", map[string]any{"after": nil})
		clients = append(clients, c)
	}
	both := func(id int) {
		t.Helper()
		for _, topic := range []string{"orders:bare", "orders:numbered"} {
			insert(t, db, topic, fmt.Sprintf(`{"id":%d}`, id))
		}
		for _, c := range clients {
			seen := map[string]string{}
			for range 2 {
				got := c.next(t, "message")
				var envelope struct{ Data json.RawMessage }
				if err := json.Unmarshal(got.Payload, &envelope); err != nil {
					t.Fatal(err)
				}
				if got.Topic == "orders:bare" {
					envelope.Data = got.Payload
				}
				seen[got.Topic] = string(envelope.Data)
			}
			if want := fmt.Sprintf(`{"id":%d}`, id); seen["orders:bare"] != want || seen["orders:numbered"] != want {
				t.Fatalf("the clients got %v, want %s in both topics", seen, want)
			}
		}
	}
	joinedAgain := func() {
		t.Helper()
		for _, c := range clients {
			c.next(t, "open")
			c.next(t, "joined")
			c.next(t, "joined")
		}
	}

	both(1)

	door.point("")
	door.cut()
	for _, c := range clients {
		c.next(t, "close")
	}
	door.point(first.public)
	joinedAgain()
	both(2)

	if code := first.stop(t); code != 0 {
		t.Fatalf("the service ended with status %d", code)
	}
	for i, c := range clients {
		for !flavours[i].polls && c.next(t, "close").Code != 1012 {
			// an attempt to connect to what was nowhere
		}
	}
	second := serve(t, "--database-url", url).ready(t)
	door.point(second.public)
	joinedAgain()
	both(3)
}
