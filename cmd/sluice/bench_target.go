package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// server is what the scenarios measure.
func (b *benchCmd) server(log io.Writer) (target.Server, error) {
	switch {
	case b.Target != "" && b.InProcess:
		return nil, &usageError{"--in-process", "true", "nothing beside --target"}
	case b.Target != "":
		return b.target()
	case b.InProcess:
		config := sluice.DefaultConfig()
		config.DatabaseURL = b.DatabaseURL
		return &target.InProcess{Config: config}, nil
	}
	program, err := executable()
	if err != nil {
		return nil, err
	}
	return &target.Sluice{
		Program:     program,
		DatabaseURL: b.DatabaseURL,
		Flags:       strings.Fields(b.With),
		Pinned:      b.pinned(),
		Log:         log,
	}, nil
}

func (b *benchCmd) pinned() bool {
	if b.Pin != nil {
		return *b.Pin
	}
	return runtime.NumCPU() > 1
}

func (b *benchCmd) target() (target.Server, error) {
	at, err := url.Parse(b.Target)
	if err != nil || at.Scheme != "ws" || at.Host == "" || at.RawQuery != "" {
		return nil, &usageError{"--target", b.Target, "a URL such as ws://localhost:4000, with the socket's path where that is not /socket"}
	}
	token, err := readToken(b.AdminTokenFile)
	if err != nil {
		return nil, err
	}
	e := target.Endpoint{
		Sockets:  "ws://" + at.Host,
		Admin:    strings.TrimSuffix(b.AdminURL, "/"),
		Token:    token,
		Database: b.DatabaseURL,
		Dialect:  swarm.Phoenix{Mount: strings.TrimSuffix(at.Path, "/"), Token: url.QueryEscape(b.Token)},
	}
	if b.TargetPID != nil {
		e.PID = int(*b.TargetPID)
	}
	return &target.Remote{Endpoint: e}, nil
}

// executable is this program, for scenarios that run it.
func executable() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return program, nil
}

// way is how events are published: as asked for, or as the scenario has it where
// the server lets it. Without Postgres rows are events that are appended.
func (b *benchCmd) way(usual target.Way) (target.Way, error) {
	if b.By == "" {
		if usual == target.Insert && b.DatabaseURL == "" {
			return target.Append, nil
		}
		return usual, nil
	}
	way := target.Way(b.By)
	if !slices.Contains(target.Ways(), way) {
		return "", &usageError{"--by", b.By, fmt.Sprintf("%v", target.Ways())}
	}
	if way == target.Insert && b.DatabaseURL == "" {
		return "", &usageError{"--by", b.By, "sql together with --database-url, broadcast or events without"}
	}
	return way, nil
}

// filesBeside are what a run opens beside its sockets.
const filesBeside = 256

// enoughFiles raises the limit of open files as far as it goes, and refuses
// more sockets than that is enough for. A server in this process has the other
// end of each.
func (b *benchCmd) enoughFiles(sockets int) error {
	limit, ends := raiseFileLimit(), int64(1)
	if b.InProcess {
		ends = 2
	}
	if most := (limit - filesBeside) / ends; limit > 0 && int64(sockets) > most {
		return &usageError{"--sockets", fmt.Sprint(sockets), fmt.Sprintf("up to %d, since a process may open %d files here; more with: ulimit -n", max(0, most), limit)}
	}
	return nil
}
