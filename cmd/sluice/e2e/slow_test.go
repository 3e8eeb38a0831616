package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

var (
	shed   = regexp.MustCompile(`(?m)^sluice_messages_dropped_total\{.*reason="too_slow".*\} [1-9]`)
	cutOff = regexp.MustCompile(`(?m)^sluice_sockets_closed_total\{.*reason="too_slow".*\} 1$`)
)

// A client that stops reading is cut off once its mailbox is full, and counted.
// One beside it on the same topic gets everything, and what the slow one did
// get has no gap.
func TestSlowClientHarmsItselfAlone(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	const inMailbox, chunk = 600, 500
	s := serve(t, "--database-url", url, "--mailbox-size", fmt.Sprint(inMailbox), "--mailbox-bytes", "64MiB").ready(t)
	db := database(t, url)
	var clients []*subscriber
	for range 2 {
		sub, err := subscribe(t.Context(), s.public, "flood", false)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.conn.Close()
		clients = append(clients, sub)
	}
	quick, slow := clients[0], clients[1]

	// The quick one has read a chunk before the next is written, so that its
	// mailbox holds no more than one. Buffers of the kernel end somewhere.
	sent := 0
	for overflowed := false; !overflowed; {
		if sent > 200*chunk {
			t.Fatalf("after %d events nobody is too slow", sent)
		}
		if _, err := db.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event, payload)
			SELECT 'flood', 'drop', json_build_object('n', n, 'filling', repeat('x', 4000)) FROM generate_series($1::int, $2::int) n`,
			sent+1, sent+chunk); err != nil {
			t.Fatal(err)
		}
		for range chunk {
			sent++
			if n, err := readDrop(quick); err != nil || n != sent {
				t.Fatalf("after event %d the quick client got %d: %v", sent-1, n, err)
			}
		}
		_, metrics := s.get(t, "/metrics")
		overflowed = shed.MatchString(metrics)
	}

	// What the kernels hold is what it still gets. Then it is told why, or cut
	// if it took long to listen.
	for got := 0; ; got++ {
		n, err := readDrop(slow)
		if err != nil {
			if got == 0 || got >= sent {
				t.Errorf("the slow client got %d events of %d, then %v", got, sent, err)
			}
			break
		}
		if n != got+1 {
			t.Fatalf("after event %d the slow client got %d", got, n)
		}
	}
	slow.conn.Close()
	s.await(t, "/metrics", func(_ int, body string) bool { return cutOff.MatchString(body) })
}

func readDrop(sub *subscriber) (n int, err error) {
	_, payload, err := sub.read()
	if err != nil {
		return 0, err
	}
	var drop struct{ N int }
	err = json.Unmarshal(payload, &drop)
	return drop.N, err
}
