package sqlaccess

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/verdict"
)

// listener passes connections on to a server, and keeps what clients say but for how they
// begin: a letter for each message, and the name of what they prepare or bind.
type listener struct {
	at string

	mu   sync.Mutex
	said strings.Builder
}

func listenBefore(t *testing.T, server string) *listener {
	t.Helper()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{at: in.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { in.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := in.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(client, backend); client.Close() })
			all.Go(func() { l.listen(client, backend); backend.Close() })
		}
	})
	return l
}

// listen copies messages: https://www.postgresql.org/docs/current/protocol-message-formats.html
func (l *listener) listen(client io.Reader, backend io.Writer) {
	for first := true; ; first = false {
		header := make([]byte, 5)
		if first {
			header = header[:4]
		}
		if _, err := io.ReadFull(client, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[len(header)-4:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if !first {
			l.mu.Lock()
			l.said.WriteByte(header[0])
			switch name, rest, _ := bytes.Cut(body, []byte{0}); header[0] {
			case 'P':
				l.said.Write(name)
			case 'B':
				statement, _, _ := bytes.Cut(rest, []byte{0})
				l.said.Write(name)
				l.said.Write(statement)
			}
			l.mu.Unlock()
		}
		if _, err := backend.Write(append(header, body...)); err != nil {
			return
		}
	}
}

func (l *listener) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

// TestWhatAPoolerSees has each question be what a pooler of transactions passes to one
// server: nothing that is prepared by name, and one Sync.
func TestWhatAPoolerSees(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	config, err := pgx.ParseConfig(d.url)
	if err != nil {
		t.Fatal(err)
	}
	l := listenBefore(t, net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
	a, _, _ := asker(t, fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&connect_timeout=600", config.User, l.at, config.Database), d.role, verdict.Limits{MaxInFlight: 1, Timeout: patience})
	yes, fails := d.function(t, "yes", "RETURN true;"), d.function(t, "fails", "RETURN 1 / 0 = 1;")
	const statement = "PBDE" // parse, bind, describe, execute
	question := strings.Repeat(statement, 5) + "S"
	for _, each := range []struct {
		f    Function
		says string
	}{{yes, question}, {fails, question + "Q"}, {yes, question}} { // Q: rolls back what has failed
		before := l.text()
		if got, err := a.Ask(t.Context(), verdict.Question{}, each.f, "room", nil); got != (each.f == yes) {
			t.Errorf("%s: allowed is %v, %v", each.f.Name, got, err)
		}
		said := strings.TrimPrefix(l.text(), before)
		if said = strings.TrimLeft(said, "Q"); said != each.says { // a new connection is asked whether it is of the primary, and one that was idle whether it is there
			t.Errorf("%s: it says %s, want %s", each.f.Name, said, each.says)
		}
	}
	if found, err := Check(t.Context(), a.config.DatabaseURL, d.role, []Function{yes}); err != nil || len(found.Functions) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if said := l.text(); strings.ContainsAny(strings.NewReplacer("P", "", "B", "", "D", "", "E", "", "S", "", "Q", "", "X", "").Replace(said), "stmcache") {
		t.Errorf("something is prepared by name: %s", said)
	}
}
