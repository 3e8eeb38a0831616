package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// publishCmd appends events to the log.
type publishCmd struct {
	Post postCmd `embed:""`
}

// broadcastCmd sends events past the log.
type broadcastCmd struct {
	Post postCmd `embed:""`
}

// postCmd is what publish and broadcast share: one event or many go to the
// admin API.
type postCmd struct {
	Topic   string  `arg:"" help:"Topic, such as orders:eu."`
	Event   string  `arg:"" help:"Name of the event, such as created."`
	Payload *string `arg:"" optional:"" help:"A JSON object; none: {}. With - , or none and standard input no terminal: JSON lines, each the payload of one event."`

	AdminURL       string `placeholder:"URL" help:"Admin listener of the service."`
	AdminTokenFile string `placeholder:"FILE" help:"File with the bearer token of the admin listener."`
}

func defaultPost() postCmd { return postCmd{AdminURL: "http://127.0.0.1:4001"} }

// Help says more than the one line of the summary.
func (c *publishCmd) Help() string {
	return `An event is durable once the command says so. Lines are published in order, in batches of which each is written whole or not at all. At a bad line it stops, with its number: all lines before it are published, none after.`
}

// Examples implements exemplary.
func (c *publishCmd) Examples() string {
	return `sluice publish demo greeted '{"hello": "world"}'
sluice publish orders:eu created <orders.ndjson
jq -c '.[]' orders.json | sluice publish orders:eu created -
sluice publish --admin-url https://admin.internal --admin-token-file token demo greeted`
}

// Run is called by kong.
func (c *publishCmd) Run(ctx context.Context, p process) error {
	return c.Post.run(ctx, p, "/api/events", "published")
}

// Help says more than the one line of the summary.
func (c *broadcastCmd) Help() string {
	return `It reaches those who are joined to the topic at this moment, on the node whose admin listener takes it and on all others of its cluster. Nodes that could not be told are named. Who joins later, or resumes, does not get it: publish what must reach all, or must not be lost.`
}

// Examples implements exemplary.
func (c *broadcastCmd) Examples() string {
	return `sluice broadcast demo typing '{"user": "ann"}'
sluice broadcast 'room:1' cursor <moves.ndjson
sluice broadcast --admin-url https://admin.internal --admin-token-file token demo typing`
}

// Run is called by kong.
func (c *broadcastCmd) Run(ctx context.Context, p process) error {
	return c.Post.run(ctx, p, "/api/broadcast", "broadcast")
}

func (c *postCmd) run(ctx context.Context, p process, path, done string) error {
	api, err := newAdminClient(c.AdminURL, c.AdminTokenFile)
	if err != nil {
		return err
	}
	defer api.close()
	count := 0
	var missed unreachedNodes
	post := func(ctx context.Context, contentType string, body []byte) error {
		answer, err := api.ask(ctx, path, contentType, body)
		missed.add(answer)
		return err
	}
	if c.Payload == nil && !isTerminal(p.stdin) || c.Payload != nil && *c.Payload == "-" {
		bar := &publishProgress{out: p.stderr, shown: isTerminal(p.stderr), done: done}
		count, err = c.postLines(ctx, p.stdin, bar, func(ctx context.Context, body []byte) error {
			return post(ctx, "application/x-ndjson", body)
		})
		bar.clear()
		missed.tell(p.stderr)
		if err != nil {
			return fmt.Errorf("%w (%s before: %s)", err, done, events(count))
		}
	} else {
		payload := []byte("{}")
		if c.Payload != nil {
			payload = []byte(*c.Payload)
		}
		if err := checkPayload(payload); err != nil {
			return &usageError{"<payload>", string(payload), "a JSON object: " + err.Error()}
		}
		if err := post(ctx, "application/json", c.encoder()(nil, payload)); err != nil {
			return err
		}
		missed.tell(p.stderr)
		count = 1
	}
	_, err = fmt.Fprintf(p.stdout, "%s %s to %s\n", done, events(count), c.Topic)
	return err
}

// unreachedNodes are the nodes that answers have named as not told of a broadcast, sorted.
type unreachedNodes []string

// add notes those of an answer.
func (u *unreachedNodes) add(answer []byte) {
	var said struct{ Unreached []string }
	if json.Unmarshal(answer, &said) == nil { // else nothing is said
		*u = append(*u, said.Unreached...)
		slices.Sort(*u)
		*u = slices.Compact(*u)
	}
}

// tell says which there are.
func (u unreachedNodes) tell(out io.Writer) {
	if len(u) > 0 {
		fmt.Fprintf(out, "not told: %s; who is connected there got nothing\n", strings.Join(u, ", "))
	}
}

// postLines posts what stands on in, and returns how many events were
// accepted, also when it fails. While one batch is under way the next is read.
func (c *postCmd) postLines(ctx context.Context, in io.Reader, bar *publishProgress, post func(context.Context, []byte) error) (count int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// readBatches sends, nobody closes. Unbuffered: memory holds two batches.
	// readBatches is not waited for when posting fails or ctx ends: it may be in
	// a read that can't be broken off, and ends with that read.
	batches := make(chan publishBatch)
	go readBatches(ctx, newLineReader(in, c.encoder()), batches)
	for {
		select {
		case <-ctx.Done():
			return count, errInterrupted
		case b := <-batches:
			if b.count > 0 {
				if err := post(ctx, b.body); err != nil {
					before, events := b.before(err)
					if events > 0 && post(ctx, before) == nil {
						count += events
					}
					return count, b.locate(err)
				}
				count += b.count
				bar.show(count)
			}
			if b.err == io.EOF {
				return count, nil
			}
			if b.err != nil {
				return count, b.err
			}
		}
	}
}

// encoder writes a payload's event as the API takes it, without a line break.
func (c *postCmd) encoder() func(to, payload []byte) []byte {
	head := fmt.Appendf(nil, `{"topic":%s,"event":%s,"payload":`, quote(c.Topic), quote(c.Event))
	return func(to, payload []byte) []byte {
		return append(append(append(to, head...), payload...), '}')
	}
}

func quote(s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings can always be marshalled
	}
	return quoted
}

// checkPayload says what is wrong with a payload, before it costs a request.
func checkPayload(payload []byte) error {
	switch {
	case !json.Valid(payload):
		err := json.Unmarshal(payload, new(any)) // once more, for what is wrong and where
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			return fmt.Errorf("%w (at byte %d)", err, syntax.Offset)
		}
		return err
	case bytes.TrimSpace(payload)[0] != '{':
		return errors.New(`it is no JSON object, such as {"id": 7}`)
	case !utf8.Valid(payload):
		return errors.New("it is not valid UTF-8")
	}
	return nil
}
