package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
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
	if _, err := os.Stat("node/node_modules/phoenix18"); err != nil {
		return fmt.Errorf("these tests need the npm packages (make needs installs them): %w", err)
	}
	for path, source := range map[string]string{sluice: "..", application: "./internal/application"} {
		args := []string{"build", "-o", path}
		if raceEnabled {
			args = append(args, "-race")
		}
		build := exec.Command("go", append(args, source)...)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
	}
	return nil
}
