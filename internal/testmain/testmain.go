package testmain

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience is how long goroutines have to end when the tests have passed: what they wait
// for may be a process that does not get to run.
const Patience = time.Minute

// Main runs the tests, checks that they have left nothing, and ends the process.
func Main(m *testing.M) {
	Repeat()
	status := m.Run()
	if status == 0 {
		if err := Leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// Repeat has property tests draw the same in each run. It is for a TestMain that does more
// than [Main], before it runs the tests.
func Repeat() {
	if seed := flag.Lookup("rapid.seed"); seed != nil && seed.Value.String() == "0" { // which is rapid's default: another each time
		if err := seed.Value.Set("1"); err != nil {
			panic(err)
		}
	}
}

// AtOnce has so many tests run at a time, unless -test.parallel says otherwise or there are
// more processors. It is for packages whose tests wait for processes, and for time to pass,
// more than they compute. Call it before the tests are run.
func AtOnce(tests int) {
	if err := flag.Set("test.parallel", strconv.Itoa(max(tests, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
}

// Leaks tells of goroutines that are left, once they have had [Patience] to end.
func Leaks() error {
	for end := time.Now().Add(Patience); ; {
		if err := goleak.Find(); err == nil || time.Now().After(end) {
			return err
		}
	}
}
