package sqlite_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/store/sqlite"
)

// lockedVariable names a folder to a child of the test, which takes it and dies.
const lockedVariable = "SLUICE_TEST_LOCKED_FOLDER"

func TestLockIsOneProcessS(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	unlock, err := sqlite.Lock(dir, "process 7, node a, and a name that is longer than the next")
	if err != nil {
		t.Fatal(err)
	}
	var inUse *sqlite.InUseError
	if _, err := sqlite.Lock(dir, "another"); !errors.As(err, &inUse) || !strings.Contains(err.Error(), "process 7, node a") {
		t.Errorf("the second is told %v", err)
	}
	if _, err := sqlite.Lock(t.TempDir(), "another"); err != nil {
		t.Errorf("another folder: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if unlock, err = sqlite.Lock(dir, "next"); err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := sqlite.Lock(dir, "another"); !errors.As(err, &inUse) || inUse.Holder != "next" {
		t.Errorf("told %v, want the next one's name alone", err)
	}
}

// Whatever ends a process gives its folder back.
func TestLockEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestLockAndDie$")
	child.Env = append(os.Environ(), lockedVariable+"="+dir)
	if out, err := child.CombinedOutput(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended with %v, not by a signal\n%s", err, out)
	}
	if holder, err := os.ReadFile(filepath.Join(dir, sqlite.LockName)); err != nil || string(holder) != "child\n" {
		t.Fatalf("the child did not have it: %q, %v", holder, err)
	}
	unlock, err := sqlite.Lock(dir, "next")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestLockAndDie is that child.
func TestLockAndDie(t *testing.T) {
	dir := os.Getenv(lockedVariable)
	if dir == "" {
		return
	}
	if _, err := sqlite.Lock(dir, "child"); err != nil {
		t.Fatal(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	_ = self.Kill()
	select {}
}
