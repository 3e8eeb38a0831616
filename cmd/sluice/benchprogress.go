package main

import (
	"fmt"
	"io"
	"time"
)

// benchProgress shows how far a run has come: over and over in one line of a
// terminal, now and then in a line of its own elsewhere.
type benchProgress struct {
	out      io.Writer
	terminal bool

	phase string
	last  time.Time
	drawn bool
}

const benchLineEvery = 10 * time.Second

func (b *benchProgress) show(phase string, done, total int64) {
	now := time.Now()
	every := progressEvery
	if !b.terminal {
		every = benchLineEvery
	}
	if phase == b.phase && now.Sub(b.last) < every {
		return
	}
	b.phase, b.last = phase, now
	if !b.terminal {
		fmt.Fprintf(b.out, "%s: %s of %s\n", phase, grouped(int(done)), grouped(int(total)))
		return
	}
	b.drawn = true
	fmt.Fprintf(b.out, "\r\033[K%s: %s of %s ", phase, grouped(int(done)), grouped(int(total)))
}

// end makes room for what is printed next.
func (b *benchProgress) end() {
	if b.drawn {
		fmt.Fprint(b.out, "\r\033[K")
	}
}
