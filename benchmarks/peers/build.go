package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The modules that the servers are built from.
const (
	sluiceModule = "github.com/sluicehq/sluice"
	peersModule  = sluiceModule + "/benchmarks/peers"
)

// workshop builds the servers.
type workshop struct {
	// Immutable after newWorkshop.
	product string // folder of Sluice's module
	peers   string // folder of this module
	bin     string // where programs go
}

// newWorkshop finds the sources. It has to run inside this module, as go run
// does. Programs are put into the folder bin.
func newWorkshop(ctx context.Context, bin string) (*workshop, error) {
	folders, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", sluiceModule, peersModule)
	product, peers, found := strings.Cut(strings.TrimSpace(folders), "\n")
	if err != nil || !found {
		return nil, errors.Join(errors.New("the sources are not found: run this in the folder benchmarks/peers of a checkout"), err)
	}
	return &workshop{product, peers, bin}, nil
}

// goProgram builds a package of the module in folder.
func (w *workshop) goProgram(ctx context.Context, folder, pkg, name string) (program string, err error) {
	program = filepath.Join(w.bin, name)
	if _, err := output(ctx, folder, "go", "build", "-o", program, pkg); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return program, nil
}

// nodeServers has the packages of the servers in servers/node installed, and
// returns their folder and the program that runs them.
func (w *workshop) nodeServers(ctx context.Context) (node, folder string, err error) {
	if node, err = exec.LookPath("node"); err != nil {
		return "", "", fmt.Errorf("node is not found: install Node.js, or leave its servers out with --without %s", strings.Join(nodeNames(), ","))
	}
	folder = filepath.Join(w.peers, "servers", "node")
	if installed(folder) {
		return node, folder, nil
	}
	if _, err := output(ctx, folder, "npm", "ci", "--no-audit", "--no-fund"); err != nil {
		return "", "", fmt.Errorf("install the npm packages (or leave them out with --without %s): %w", strings.Join(nodeNames(), ","), err)
	}
	return node, folder, nil
}

// installed tells whether what npm has installed is of the lock file's age.
func installed(folder string) bool {
	lock, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return false
	}
	done, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	return err == nil && !done.ModTime().Before(lock.ModTime())
}

// output runs a command, and returns what it prints.
func output(ctx context.Context, folder, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = folder
	var said, complained bytes.Buffer
	command.Stdout, command.Stderr = &said, &complained
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, bytes.TrimSpace(complained.Bytes()))
	}
	return said.String(), nil
}
