package testmain

import (
	"flag"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { Main(m) }

// What is drawn is the same in each run, as the seed is.
func TestRunsDrawTheSame(t *testing.T) {
	t.Parallel()
	if seed := flag.Lookup("rapid.seed").Value.String(); seed == "0" {
		t.Errorf("the seed is %s, which stands for another each time", seed)
	}
	rapid.Check(t, func(*rapid.T) {}) // so that rapid is there
}

// A goroutine that ends late is no leak, and one that does not is.
func TestLeaksAreWaitedFor(t *testing.T) { // not parallel: it is alone with its goroutine
	late := make(chan struct{})
	go func() { <-late }()
	time.AfterFunc(time.Second, func() { close(late) }) // which is longer than goleak itself waits
	if err := Leaks(); err != nil {
		t.Error(err)
	}
}
