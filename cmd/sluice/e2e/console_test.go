package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// A person opens the console, joins a topic, publishes, sees it arrive among what others
// publish, and follows a table. A picture of that is kept with -artifacts.
func TestConsole(t *testing.T) {
	t.Parallel()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("topics: [{match: closed, access: deny}, {match: '*', publish: log}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := pgtest.Schema(t)
	s := serve(t, "--database-url", url, "--config", rules).ready(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	execute := func(sql string) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	execute(`CREATE TABLE "Parcels" (id int PRIMARY KEY, state text)`)
	execute(`SELECT sluice_watch('"Parcels"', 'parcels:{state}')`)
	s.refuseSocket(t)
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	const others = 8
	picture := filepath.Join(t.ArtifactDir(), "console.png")
	person := alone(start(t, "node", "node/console.mjs", "http://"+s.admin+"/", chromium, picture, fmt.Sprint(others+1)))
	person.next(t, "joined")
	if sent := person.next(t, "sent"); !strings.Contains(string(sent.Response), "Published") {
		t.Errorf("the page says %s of what it sent", sent.Response)
	}
	want := []string{`orders:eu created {"id":7,"total":"19.90"}`}
	for i := range others {
		event := []string{"paid", "packed", "shipped", "delivered"}[i%4]
		payload := fmt.Sprintf(`{"id":%d,"by":"warehouse %d%s"}`, 8+i/4, 1+i/4, []string{"", "\u202e", "\u009b31m", "\x7f"}[i%4])
		status, body := s.post(t, "/api/events", "application/json", fmt.Sprintf(`{"topic":"orders:eu","event":%q,"payload":%s}`, event, payload))
		if status != http.StatusAccepted {
			t.Fatalf("publish: %d %s", status, body)
		}
		want = append(want, fmt.Sprintf("orders:eu %s %s", event, payload))
	}
	var got []string
	for range want {
		row := person.next(t, "row")
		got = append(got, fmt.Sprintf("%s %s %s", row.Topic, row.Event, row.Payload))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page shows %q, want %q", got, want)
	}
	if replayed := person.next(t, "replayed"); !strings.Contains(string(replayed.Response), "19.90") {
		t.Errorf("from the beginning there is %s first", replayed.Response)
	}
	if stages := person.next(t, "stages"); string(stages.Response) != `"outbox fetch batch encode route mailbox write sockets"` {
		t.Errorf("the line is drawn as %s", stages.Response)
	}
	person.next(t, "following")
	execute(`INSERT INTO "Parcels" VALUES (7, 'packed')`)
	execute(`UPDATE "Parcels" SET state = 'sent' WHERE id = 7`)
	if changes := person.next(t, "changes"); string(changes.Response) != `"UPDATE 7 parcels:sent {\"id\":7,\"state\":\"sent\"} | DELETE 7 parcels:packed {\"id\":7} | INSERT 7 parcels:packed {\"id\":7,\"state\":\"packed\"}"` {
		t.Errorf("of the table it shows %s", changes.Response)
	}
	if curves := person.next(t, "curves"); !strings.Contains(string(curves.Response), "messages/s: now ") {
		t.Errorf("the curves tell %s", curves.Response)
	}
	if code := person.wait(t); code != 0 {
		t.Errorf("the browser's script ended with status %d", code)
	}
	if text := person.stdout.text(); strings.Contains(text, `"what":"broken"`) {
		t.Errorf("the page broke:\n%s", text)
	}
}

// refuseSocket has the service refuse a client, for what it speaks.
func (s *service) refuseSocket(t *testing.T) {
	t.Helper()
	response, err := client.Get("http://" + s.public + "/socket/longpoll?vsn=9.0.0")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}
