package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// statsdCmd shows the metrics that programs send.
type statsdCmd struct {
	Listen string        `setting:"statsd-listen" placeholder:"HOST:PORT" help:"UDP address to receive metrics at."`
	Raw    bool          `help:"Print each line as it arrives, in place of the table."`
	Filter string        `placeholder:"TEXT" help:"Show only metrics with this in their name or tags, as the table has them; none: all."`
	Every  time.Duration `help:"How often the table is shown: rates and percentiles are of this long."`
}

func defaultStatsD() statsdCmd {
	return statsdCmd{Listen: "127.0.0.1:8125", Every: 2 * time.Second}
}

// Help says more than the one line of the summary.
func (c *statsdCmd) Help() string {
	return `A stand-in for a StatsD server: it keeps nothing. The table has counters with their rate and sum, gauges as they stand, timings with their rate and percentiles, and sets with how many there are; a sample that stands for several counts as several. It reads tags as DogStatsD, InfluxDB and Graphite have them. On a terminal it is drawn in place, elsewhere one follows the other. What cannot be read, or is too much to keep, is counted in its last line.`
}

// Examples implements exemplary.
func (c *statsdCmd) Examples() string {
	return `sluice statsd
sluice serve --statsd 127.0.0.1:8125
sluice statsd --raw --filter stage:encode`
}

// How often the table may be shown.
const (
	minStatsDEvery = 100 * time.Millisecond
	maxStatsDEvery = time.Hour
)

// maxDatagram is the largest that UDP carries.
const maxDatagram = 64 << 10

// Run is called by kong.
func (c *statsdCmd) Run(ctx context.Context, p process) error {
	if c.Every < minStatsDEvery || c.Every > maxStatsDEvery {
		return &usageError{"--every", c.Every.String(), fmt.Sprintf("%v to %v", minStatsDEvery, text(maxStatsDEvery))}
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return &usageError{"--listen", c.Listen, "an address such as " + defaultStatsD().Listen}
	}
	socket, err := net.ListenPacket("udp", c.Listen)
	if err != nil {
		return fmt.Errorf("receive metrics: %w (another StatsD server may have the address: choose one with --listen)", err)
	}
	defer socket.Close()
	fmt.Fprintf(p.stderr, "sluice: receiving metrics at %v; for one, run: sluice serve --statsd %[1]v\n", socket.LocalAddr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	if c.Raw {
		return c.printLines(ctx, socket, terminalWriter{p.stdout})
	}
	table := newStatsDTable()
	var drawing sync.WaitGroup
	defer drawing.Wait()
	defer cancel()
	var failure error
	drawing.Go(func() {
		defer cancel() // nobody reads any more
		failure = c.draw(ctx, table, p.stdout)
	})
	err = receive(ctx, socket, func(line []byte) error {
		table.take(line, c.Filter)
		return nil
	})
	cancel()
	drawing.Wait()
	return errors.Join(err, failure)
}

// receive hands over each line that arrives until ctx ends, which closes the socket.
func receive(ctx context.Context, socket net.PacketConn, take func(line []byte) error) error {
	buffer := make([]byte, maxDatagram)
	for {
		n, _, err := socket.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive metrics: %w", err)
		}
		for line := range strings.SplitSeq(string(buffer[:n]), "\n") {
			if line = strings.TrimRight(line, "\r"); line == "" {
				continue
			}
			if err := take([]byte(line)); err != nil {
				return err
			}
		}
	}
}

// printLines prints lines as they are.
func (c *statsdCmd) printLines(ctx context.Context, socket net.PacketConn, out io.Writer) error {
	return receive(ctx, socket, func(line []byte) error {
		if c.Filter != "" && !strings.Contains(string(line), c.Filter) {
			if sample, ok := parseStatsD(string(line)); !ok || !strings.Contains(sample.name, c.Filter) {
				return nil
			}
		}
		_, err := fmt.Fprintf(out, "%s\n", line)
		return err
	})
}

// draw shows the table now and then until ctx ends.
func (c *statsdCmd) draw(ctx context.Context, table *statsdTable, out io.Writer) error {
	ticker := time.NewTicker(c.Every)
	defer ticker.Stop()
	terminal := isTerminal(out)
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		page := table.page(now.Sub(began))
		began = now
		if terminal {
			page = "\x1b[H\x1b[2J" + page // to the corner, and clear
		}
		if _, err := io.WriteString(out, page); err != nil {
			return err
		}
	}
}
