package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// folderVariable names the log's folder to a test process's child, which then
// is the other process.
const folderVariable = "SLUICE_TEST_OTHER_PROCESS"

const perProcess = 100

// TestProcessesShareAFolder has two programs append to one log and run it.
func TestProcessesShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$", "-test.v")
	other.Env = append(os.Environ(), folderVariable+"="+dir)
	var output []byte
	var failure error
	var ended sync.WaitGroup
	ended.Go(func() { output, failure = other.CombinedOutput() })
	appendAndRead(t, dir, "here")
	ended.Wait()
	if failure != nil {
		t.Errorf("the other process: %v\n%s", failure, output)
	}
}

// TestOtherProcess is the other one.
func TestOtherProcess(t *testing.T) {
	if dir := os.Getenv(folderVariable); dir != "" {
		appendAndRead(t, dir, "there")
	}
}

// appendAndRead writes half of its events through the log and half into the
// outbox, and reads those of both processes.
func appendAndRead(t *testing.T, dir, topic string) {
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, PollInterval: 5 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	outbox := application(t, dir)
	for i := range perProcess / 2 {
		if err := log.Append(t.Context(), []store.Draft{{Topic: topic, Name: "e", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := outbox.Exec(`INSERT INTO sluice_outbox (topic, event) VALUES (?, 'e')`, topic); err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]int{}
	for after := int64(0); after < 2*perProcess; {
		events, err := log.Fetch(t.Context(), after, store.Limit{Events: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			count[e.Topic]++
			after = e.Offset
		}
		if len(events) == 0 {
			if err := log.Wait(t.Context(), after); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count["here"] != perProcess || count["there"] != perProcess {
		t.Errorf("got %v, want %d of each", count, perProcess)
	}
}
