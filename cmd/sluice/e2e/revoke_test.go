package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestRevokeWithStockClients revokes by the command what stock clients are connected
// with: they are cut off and do not get in again, and with a newer token they do.
func TestRevokeWithStockClients(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	revoke := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, "", sluice, append([]string{"revoke", "--admin-url", "http://" + s.admin}, args...)...)
		if code != 0 {
			t.Fatalf("%q ended with status %d:\n%s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	with := func(c claims) string {
		options, err := json.Marshal(map[string]any{"params": map[string]string{"token": c.sign(t)}})
		if err != nil {
			t.Fatal(err)
		}
		return string(options)
	}
	old := time.Now().Add(-time.Hour).Unix()
	for _, f := range flavours {
		if strings.Contains(f.name, "version 1") {
			continue // of which a token and an end are the same
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			subject := f.name
			c := connect(t, s.public, append(f.args, with(claims{"sub": subject, "iat": old}))...)
			c.join(t, "lobby", nil)
			stays := connect(t, s.public, append(f.args, with(claims{"sub": subject + "'s friend", "iat": old}))...)
			stays.join(t, "lobby", nil)
			if said := revoke("--sub", subject); !strings.Contains(said, subject) {
				t.Errorf("said %s", said)
			}
			if end := c.next(t, "close"); !f.polls && end.Code != 1008 {
				t.Errorf("closed with %d", end.Code)
			}
			c.next(t, "close") // it tries again, and is refused
			if len(c.said("open")) != 1 {
				t.Errorf("it got in again:\n%s", c.stdout.text())
			}
			c = connect(t, s.public, append(f.args, with(claims{"sub": subject, "iat": time.Now().Add(time.Minute).Unix(), "jti": subject}))...)
			c.join(t, "lobby", nil)
			revoke("--jti", subject)
			c.next(t, "close")
			stays.join(t, "hall", nil)
			if list := revoke("--list"); !strings.Contains(list, `{"sub":"`+subject+`"`) || !strings.Contains(list, `{"jti":"`+subject+`"`) {
				t.Errorf("listed are\n%s", list)
			}
		})
	}
}
