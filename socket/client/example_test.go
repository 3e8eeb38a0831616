package client_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sluicehq/sluice/socket/client"
)

// A program follows a topic from where it was when it ran last, and keeps where it is.
func ExampleClient_Watch() {
	url := serveOrders()
	ctx := context.Background()
	c, err := client.Dial(ctx, url, client.Token(func(context.Context) (string, error) { return "a token", nil }))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	kept := client.Position{Epoch: "7f3a", After: 41} // with what was done so far, in one transaction
	for event, err := range c.Watch(ctx, "orders:eu", client.From(kept.Epoch, kept.After)) {
		if err != nil { // a *client.ResetError: load the state again
			fmt.Println(err)
			break
		}
		fmt.Println(event.Offset, event.Name, string(event.Payload))
		if kept = event.Position(); kept.After == 43 {
			break
		}
	}
	// Output:
	// 42 created {"id":7}
	// 43 paid {"id":7}
}

// A program pushes to a topic, and knows who is there.
func ExampleChannel_Push() {
	ctx := context.Background()
	c, err := client.Dial(ctx, serveOrders())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	room, err := c.Join(ctx, "orders:eu", client.Params(func() any { return map[string]string{"name": "ann"} }))
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := room.Push(ctx, "hello", map[string]string{"text": "hi"})
	fmt.Println(string(answer), err)

	var here client.Presences
	for event, err := range room.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if here.Apply(event) {
			fmt.Println(len(here.ByKey), "there")
			break
		}
	}
	// Output:
	// {"text":"hi"} <nil>
	// 1 there
}

// TestDocs has the page on clients show what stands above.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) != 2 {
		t.Errorf("%d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		if indented := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(code, "\t$1"); !strings.Contains(string(program), indented) {
			t.Errorf("the page has\n%s\nand the examples have not", indented)
		}
	}
}

// serveOrders is a server of few words, for one client.
func serveOrders() (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		conn, err := listener.Accept()
		listener.Close()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := (ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "phoenix" }}).Upgrade(conn); err != nil {
			return
		}
		for _, answers := range [][]string{
			{`["1","1","orders:eu","phx_reply",{"status":"ok","response":{"offset":41,"epoch":"7f3a","resumed":true}}]`,
				`[null,null,"orders:eu","created",{"offset":42,"data":{"id":7}}]`, `[null,null,"orders:eu","paid",{"offset":43,"data":{"id":7}}]`},
			{`["1","2","orders:eu","phx_reply",{"status":"ok","response":{"text":"hi"}}]`, `["1",null,"orders:eu","presence_state",{"ann":{"metas":[{"phx_ref":"1"}]}}]`},
			{},
		} {
			if _, err := wsutil.ReadClientText(conn); err != nil {
				return
			}
			for _, a := range answers {
				if err := wsutil.WriteServerText(conn, []byte(a)); err != nil {
					return
				}
			}
		}
	}()
	return "ws://" + listener.Addr().String() + "/socket"
}
