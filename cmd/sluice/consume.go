package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// consumeCmd follows the log from a position that the service keeps.
type consumeCmd struct {
	Name  string `arg:"" help:"Name that the position is kept under, such as mail: 1 to 64 of A-Z, a-z, 0-9, _ and -."`
	Exec  string `setting:"consume-exec" placeholder:"COMMAND" help:"Have the shell run this for each batch, with its events on standard input, and commit once it exits 0; none: print them."`
	Topic string `setting:"consume-topic" placeholder:"TOPIC" help:"Only events of this topic, or of those that begin alike, such as orders:*; none: of all."`
	Start string `setting:"consume-start" placeholder:"WHERE" help:"Where to begin if no position is kept under the name: earliest (all that the log keeps), head (what is to come) or after an offset, EPOCH:OFFSET where that is known."`
	Batch int    `setting:"consume-batch" help:"Most events in a batch, up to 1000."`
	Count int    `help:"Leave after so many events; 0: stay."`

	SkipLost bool `help:"Where events behind the position are no longer kept, go on with those that are. Without, that is the end."`

	AdminURL       string `placeholder:"URL" help:"Admin listener of the service."`
	AdminTokenFile string `placeholder:"FILE" help:"File with the bearer token of the admin listener."`
}

const (
	startEarliest = "earliest"
	startHead     = "head"
)

func defaultConsume() consumeCmd {
	return consumeCmd{Start: startEarliest, Batch: 100, AdminURL: defaultPost().AdminURL}
}

// Help says more than the one line of the summary.
func (c *consumeCmd) Help() string {
	return `Each event is one line of compact JSON with the keys "topic", "event", "offset", "payload", "key" if it has one, and "inserted_at".

Every event is dealt with at least once, in order: the position is committed after a batch was printed, or the command has exited 0, and what was not committed comes again. The command is told the log's epoch in CONSUMER_EPOCH and the name in CONSUMER_NAME: what has the same epoch and offset is the same event. A command that exits 0 counts as done, even if it has not read all of its input, and the status of a pipeline is that of its last command: have one program read the events. If it fails, the batch comes again after a pause, a second at first and a minute at most, for as long as it takes.

At SIGTERM or SIGINT the batch in hand is brought to its end and committed. A second one ends this program, not the command. When the service is away it is tried again. What is no event is told on standard error.`
}

// Examples implements exemplary.
func (c *consumeCmd) Examples() string {
	return `sluice consume mail --exec ./send-mail
sluice consume index --topic 'orders:*' --start head --exec './index --batch'
sluice consume audit >>events.ndjson
sluice consume mail --count 10 --admin-url https://admin.internal --admin-token-file token`
}

// consumerName is what the service takes as one.
var consumerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// startAfter reads the position that --start names: one without an epoch is of the present one.
func startAfter(given string) (epoch string, offset int64, err error) {
	if at := strings.LastIndexByte(given, ':'); at > 0 {
		epoch, given = given[:at], given[at+1:]
	}
	after, err := strconv.ParseUint(given, 10, 63)
	return epoch, int64(after), err
}

// Run is called by kong.
func (c *consumeCmd) Run(ctx context.Context, p process) error {
	const maxBatch = 1000
	_, _, err := startAfter(c.Start)
	switch {
	case !consumerName.MatchString(c.Name):
		return &usageError{"<name>", c.Name, "1 to 64 of A-Z, a-z, 0-9, _ and -"}
	case c.Start != startEarliest && c.Start != startHead && err != nil:
		return &usageError{"--start", c.Start, "earliest, head, an offset from 0, or EPOCH:OFFSET"}
	case c.Batch < 1 || c.Batch > maxBatch:
		return &usageError{"--batch", fmt.Sprint(c.Batch), fmt.Sprintf("1 to %d", maxBatch)}
	case c.Count < 0:
		return &usageError{"--count", fmt.Sprint(c.Count), "a number of events, 0 to stay"}
	}
	api, err := newAdminClient(c.AdminURL, c.AdminTokenFile)
	if err != nil {
		return err
	}
	defer api.close()
	notes := terminalWriter{p.stderr} // what servers say is in them
	consuming := &consumer{
		api:     api,
		command: *c,
		deal:    c.dealer(p),
		tell:    func(format string, args ...any) { fmt.Fprintf(notes, "sluice: "+format+"\n", args...) },
		pause:   pauseFor,
		left:    c.Count,
	}
	return consuming.run(ctx)
}

// pauseFor waits, or returns early when ctx ends.
func pauseFor(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
