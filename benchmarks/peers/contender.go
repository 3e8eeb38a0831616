package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/benchmarks/baseline"
	"github.com/sluicehq/sluice/benchmarks/peers/dialect"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// contender is a server to be measured.
type contender struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	What    string `json:"what"` // it is, and how it is configured

	way   target.Way
	needs need
	// loud takes part only where events are published: its sockets are like
	// another's, or like nobody's.
	loud bool
	// server is made once what it needs has been built.
	server func(b *built) target.Server
}

// need is what has to be built for a contender.
type need int

const (
	needSluice need = iota
	needCentrifuge
	needNode
)

// built is where the programs are.
type built struct {
	sluice, centrifuge string
	node, scripts      string // the program, and the folder of its servers
	pinned             bool   // each server keeps to one core, and its clients to the others
}

// references are the contenders that the others are compared with: Sluice doing
// the same as they do, and as it is meant to be used.
var references = []string{"sluice", "sluice-log"}

// contenders are all there are, in the order of reports.
func contenders() []*contender {
	return []*contender{
		{
			Name: "sluice", needs: needSluice, way: target.Broadcast,
			What:   "Sluice, broadcasts: to whoever is joined, not logged, as the others do it",
			server: sluiceServer,
		},
		{
			Name: "sluice-log", needs: needSluice, way: target.Append, loud: true,
			What:   "Sluice, events: each is durable in the log before it is acknowledged",
			server: sluiceServer,
		},
		{
			Name: "centrifuge", needs: needCentrifuge, way: target.Broadcast,
			What: "the library of Centrifugo, as it comes",
			server: func(b *built) target.Server {
				return centrifugeServer(b, "centrifuge")
			},
		},
		{
			Name: "centrifuge-tuned", needs: needCentrifuge, way: target.Broadcast,
			What: "the same, tuned: gathers each client's messages for 100 ms, shares buffers",
			server: func(b *built) target.Server {
				return centrifugeServer(b, "centrifuge-tuned", "--tuned")
			},
		},
		{
			Name: "ws", needs: needNode, way: target.Broadcast,
			What: "npm ws, as its examples broadcast",
			server: func(b *built) target.Server {
				return &target.Child{Called: "ws", Program: b.node, Args: nodeArgs(b, "ws.js"), Dialect: dialect.Plain{}, Pinned: b.pinned}
			},
		},
		{
			Name: "ws-tuned", needs: needNode, way: target.Broadcast,
			What: "the same, with sockets corked while a request's events are sent",
			server: func(b *built) target.Server {
				return &target.Child{Called: "ws-tuned", Program: b.node, Args: nodeArgs(b, "ws.js", "--gather"), Dialect: dialect.Plain{}, Pinned: b.pinned}
			},
		},
		{
			Name: "socketio", needs: needNode, way: target.Broadcast,
			What: "npm socket.io, rooms, WebSocket only",
			server: func(b *built) target.Server {
				return &target.Child{Called: "socketio", Program: b.node, Args: nodeArgs(b, "socketio.js"), Dialect: dialect.SocketIO{}, Pinned: b.pinned}
			},
		},
		{
			Name: "floor", needs: needSluice, way: target.Broadcast, loud: true,
			What:   "no server at all: one bare write for each event and socket, which nothing that sends them one at a time can beat",
			server: func(b *built) target.Server { return baseline.New(b.sluice, b.pinned, nil) },
		},
	}
}

func sluiceServer(b *built) target.Server {
	return &target.Sluice{Program: b.sluice, Pinned: b.pinned}
}

func centrifugeServer(b *built, called string, flags ...string) target.Server {
	return &target.Child{
		Called:  called,
		Program: b.centrifuge,
		Args:    append([]string{"--listen", "{listen}", "--admin-listen", "{admin}"}, flags...),
		Dialect: dialect.Centrifuge{},
		Pinned:  b.pinned,
	}
}

func nodeArgs(b *built, script string, flags ...string) []string {
	return append([]string{filepath.Join(b.scripts, script), "--listen", "{listen}", "--admin-listen", "{admin}"}, flags...)
}

// nodeNames are the contenders that Node.js runs.
func nodeNames() (names []string) {
	for _, c := range contenders() {
		if c.needs == needNode {
			names = append(names, c.Name)
		}
	}
	return names
}

// choose picks contenders: all of them if only is empty, but for those without.
func choose(only, without []string) (chosen []*contender, err error) {
	var names []string
	for _, c := range contenders() {
		names = append(names, c.Name)
		if (len(only) == 0 || slices.Contains(only, c.Name)) && !slices.Contains(without, c.Name) {
			chosen = append(chosen, c)
		}
	}
	for _, given := range slices.Concat(only, without) {
		if !slices.Contains(names, given) {
			return nil, fmt.Errorf("there is no server %q: choose from %s", given, strings.Join(names, ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no server is left to measure: choose from %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// build builds what the contenders need, and notes their versions.
func build(ctx context.Context, w *workshop, chosen []*contender, sluice string, say func(string)) (b *built, err error) {
	b = &built{sluice: sluice, pinned: true}
	for _, c := range chosen {
		switch {
		case c.needs == needSluice && b.sluice == "":
			say("build sluice")
			b.sluice, err = w.goProgram(ctx, w.product, "./cmd/sluice", "sluice")
		case c.needs == needCentrifuge && b.centrifuge == "":
			say("build centrifuge")
			b.centrifuge, err = w.goProgram(ctx, w.peers, "./servers/centrifuge", "centrifuge")
		case c.needs == needNode && b.node == "":
			say("install the npm packages")
			b.node, b.scripts, err = w.nodeServers(ctx)
		}
		if err == nil {
			c.Version, err = w.version(ctx, c, b)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// version asks what was built.
func (w *workshop) version(ctx context.Context, c *contender, b *built) (string, error) {
	switch c.needs {
	case needSluice:
		text, err := output(ctx, "", b.sluice, "version")
		line, _, _ := strings.Cut(text, "\n")
		return line, err
	case needCentrifuge:
		text, err := output(ctx, w.peers, "go", "list", "-m", "-f", "{{.Version}}", "github.com/centrifugal/centrifuge")
		return strings.TrimSpace(text), err
	}
	var manifest struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	text, err := os.ReadFile(filepath.Join(b.scripts, "package.json"))
	if err == nil {
		err = json.Unmarshal(text, &manifest)
	}
	if err != nil {
		return "", fmt.Errorf("read which npm packages there are: %w", err)
	}
	if name, _, _ := strings.Cut(c.Name, "-"); name == "ws" {
		return manifest.Dependencies["ws"], nil
	}
	return manifest.Dependencies["socket.io"], nil
}
