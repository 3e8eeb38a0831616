package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/testmain"
)

// patience bounds every wait of these tests. It says nothing about speed: only
// what never happens takes so long.
const patience = 15 * time.Minute

// The programs under test, built once by TestMain: the service, and an
// application with channels of its own.
var sluice, application string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sluice, application = filepath.Join(folder, "sluice"), filepath.Join(folder, "application")
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.RemoveAll(folder)
		os.Exit(1)
	}
	testmain.AtOnce(3)
	status := pgtest.Main(m)
	os.RemoveAll(folder)
	os.Exit(status)
}

// balancers are the load balancers' programs, by name.
var balancers = make(map[string]string)

// find looks for a program where the system's administrator has it, too.
func find(program string) (path string, err error) {
	if path, err = exec.LookPath(program); err != nil {
		var sbin error
		if path, sbin = exec.LookPath("/usr/sbin/" + program); sbin != nil {
			return "", fmt.Errorf("these tests need %s (make needs installs it, or apt-get install %s): %w", program, program, err)
		}
	}
	return path, nil
}

// packagesAreLocked compares the npm packages that are installed with those that the lock
// names: with older ones a client may have a fault that it is waited for in vain.
func packagesAreLocked() error {
	type lock struct {
		Packages map[string]struct{ Version string }
	}
	read := func(path string) (l lock, err error) {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &l)
		}
		return l, err
	}
	want, err := read("node/package-lock.json")
	if err != nil {
		return err
	}
	have, err := read("node/node_modules/.package-lock.json")
	if err != nil {
		return err
	}
	for name, each := range want.Packages {
		if got := have.Packages[name].Version; name != "" && got != each.Version {
			return fmt.Errorf("%s is %q, not %s", name, got, each.Version)
		}
	}
	return nil
}

// build makes the programs, with the race detector in them where these tests
// have it in them, and looks for what else they need.
func build() error {
	for _, program := range []string{"node", "chromium", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("these tests need %s (make needs installs it): %w", program, err)
		}
	}
	for _, program := range []string{"nginx", "haproxy"} {
		path, err := find(program)
		if err != nil {
			return err
		}
		balancers[program] = path
	}
	if err := packagesAreLocked(); err != nil {
		return fmt.Errorf("these tests need the npm packages of package-lock.json (make needs installs them): %w", err)
	}
	for path, source := range map[string]string{sluice: "..", application: "./internal/application"} {
		args := []string{"build", "-o", path}
		if raceEnabled {
			args = append(args, "-race", "-gcflags=modernc.org/sqlite/lib=-race=false") // as make test does
		}
		build := exec.Command("go", append(args, source)...)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
	}
	return nil
}
