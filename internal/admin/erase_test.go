package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestErasedIsForgotten erases what nodes have in memory: who resumes gets every
// offset, and nothing of what was erased, whatever node it asks.
func TestErasedIsForgotten(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string]func(t *testing.T) []*sluicetest.Node{
		"embedded": func(t *testing.T) []*sluicetest.Node {
			return []*sluicetest.Node{sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))}
		},
		"two nodes": func(t *testing.T) []*sluicetest.Node {
			url := pgtest.Schema(t)
			var list []*sluicetest.Node
			for i := range 2 {
				list = append(list, sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
					c.DatabaseURL, c.Node = url, fmt.Sprint("node", i)
				})))
			}
			return list
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := nodes(t)
			const events = 20
			var watching []*sluicetest.Client
			for _, n := range list { // so that it is remembered there
				c := n.Connect("/socket", "")
				c.Send(`["1","1","t","phx_join",{"after":0}]`)
				c.Next()
				watching = append(watching, c)
			}
			for i := range events {
				body := fmt.Sprintf(`{"topic":"t","event":"e","key":"%d","payload":{"secret":%d}}`, i%2, i)
				if status, answer := list[0].Request("POST", list[0].Admin, "/api/events", nil, body); status != 202 {
					t.Fatal(status, answer)
				}
			}
			for _, c := range watching {
				for range events {
					if got := c.Next(); !strings.Contains(got, "secret") {
						t.Fatal(got)
					}
				}
			}
			resumed := func(n *sluicetest.Node) (secrets int) {
				c := n.Connect("/socket", "")
				defer c.Close()
				c.Send(`["1","1","t","phx_join",{"after":0}]`)
				if got := c.Next(); !strings.Contains(got, `"resumed":true`) {
					t.Fatal(got)
				}
				for i := range events {
					got := c.Next()
					if !strings.Contains(got, fmt.Sprintf(`"offset":%d,`, i+1)) {
						t.Fatalf("event %d is %s", i+1, got)
					}
					if strings.Contains(got, "secret") {
						secrets++
					}
				}
				return secrets
			}
			erase := func(body, want string) {
				t.Helper()
				if status, answer := list[0].Request("POST", list[0].Admin, "/api/erase", nil, body); status != 200 || strings.TrimSpace(answer) != want {
					t.Fatal(status, answer)
				}
			}
			for _, n := range list {
				if got := resumed(n); got != events {
					t.Fatalf("before: %d", got)
				}
			}
			erase(`{"topic":"t","key":"1"}`, `{"count":10,"through":20,"more":false}`)
			if got := resumed(list[0]); got != events/2 {
				t.Errorf("of a key: %d are left", got)
			}
			erase(`{"topic":"t","before":20}`, `{"count":10,"through":19,"more":false}`)
			if got := resumed(list[0]); got != 0 {
				t.Errorf("all but the last: %d are left", got)
			}
			for _, n := range list {
				n.Eventually("forgotten", func() bool { return resumed(n) == 0 })
			}
		})
	}
}

func TestEraseRefusesSlips(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	for _, body := range []string{
		``, `{}`, `[]`, `{"topic":""}`, `{"topic":7}`, `{"topic":"t","befor":7}`, `{"topic":"t","before":0}`, `{"topic":"t","before":-1}`,
		`{"topic":"t","before":1.5}`, `{"topic":"t","before":"yesterday"}`, `{"topic":"t","before":"7"}`, `{"topic":"t","before":null}`,
		`{"topic":"t","key":7}`, `{"topic":"t","after":-1}`,
	} {
		if status, answer := n.Request("POST", n.Admin, "/api/erase", nil, body); status != 400 || !strings.Contains(answer, "hint") {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}
