package main

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/socket/client"
)

// TestWatchPassesOver has each kind of event that cannot be shown come, and the
// connection end: the next one goes on after it.
func TestWatchPassesOver(t *testing.T) {
	t.Parallel()
	event := func(data string) string {
		return `[null,null,"demo","big",{"offset":8,"data":` + data + `}]`
	}
	huge := event(`{"a":"` + strings.Repeat("x", client.MaxMessageBytes) + `"}`)
	for name, send := range map[string]func(peer){
		"too large": func(p peer) { p.send("%s", huge) },
		"too large, in fragments": func(p peer) {
			p.frame(ws.NewFrame(ws.OpText, false, []byte(huge[:100])))
			p.frame(ws.NewFrame(ws.OpContinuation, false, []byte(huge[100:client.MaxMessageBytes])))
			p.frame(ws.NewFrame(ws.OpContinuation, true, []byte(huge[client.MaxMessageBytes:])))
		},
		"too deep": func(p peer) { p.send("%s", event(strings.Repeat("[", 12_000)+strings.Repeat("]", 12_000))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := watching{count: 1, scripts: []func(peer){
					func(p peer) { p.join(fromNow, atSeven); send(p) },
					func(p peer) {
						p.join(`{"after":8,"epoch":"e"}`, `{"offset":8,"epoch":"e","resumed":true}`)
						p.send(`[null,null,"demo","small",{"offset":9,"data":{}}]`)
						p.linger()
					},
				}}
				if err := w.run(t.Context(), t); err != nil {
					t.Fatal(err)
				}
				if told := w.stderr.String(); !strings.Contains(told, `event "big" at offset 8, of `) {
					t.Errorf("told\n%s", told)
				}
			})
		})
	}
}

// TestWatchOnATerminal prints and tells what would command one.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"DEL": "\x7f", "CSI": "\u009b", "right to left": "\u202e", "isolate": "\u2066", "mark": "\u200f", "Arabic mark": "\u061c", "line": "\u2028", "byte order": "\ufeff",
	} {
		for _, terminal := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := watching{count: 1, terminal: terminal, scripts: []func(peer){func(p peer) {
					p.join(fromNow, atSeven)
					p.send(`[null,null,"demo","e%s",{"offset":8,"data":{"a":"%s"}}]`, text, text)
					p.linger()
				}}}
				if err := w.run(t.Context(), t); err != nil {
					t.Fatal(err)
				}
				if raw := strings.Contains(w.stdout.String(), `"a":"`+text); raw == terminal {
					t.Errorf("%s, terminal %v: %q", name, terminal, w.stdout.String())
				}
			})
		}
	}
	for text, want := range map[string]string{
		"plain, ünïcödé 日本 🚀\n": "plain, ünïcödé 日本 🚀\n",
		"\x1b[2J\r\a\t":         `\u001b[2J\u000d\u0007\u0009`,
		"\x9b31m":               `\x9b31m`,
		"\u202etxt.exe":         `\u202etxt.exe`,
	} {
		if got := string(harmless([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
