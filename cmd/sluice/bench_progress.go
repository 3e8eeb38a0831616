package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// benchProgress shows how far a run has come: a bar, over and over in one line
// of a terminal, and lines of their own now and then elsewhere.
type benchProgress struct {
	out      io.Writer
	terminal bool

	label string // of the run, where there are several
	phase string
	last  time.Time
	drawn bool
}

const benchLineEvery = 10 * time.Second

// run tells which run of how many begins.
func (b *benchProgress) run(label string, index, runs int) {
	b.label, b.phase = "", ""
	if runs > 1 {
		b.label = fmt.Sprintf("%d/%d %s, ", index+1, runs, label)
	}
}

func (b *benchProgress) show(phase string, done, total int64) {
	now := time.Now()
	every := progressInterval
	if !b.terminal {
		every = benchLineEvery
	}
	if phase == b.phase && now.Sub(b.last) < every {
		return
	}
	b.phase, b.last = phase, now
	line := fmt.Sprintf("%s%s: %s of %s", b.label, phase, grouped(int(done)), grouped(int(total)))
	if !b.terminal {
		fmt.Fprintln(b.out, line)
		return
	}
	b.drawn = true
	fmt.Fprintf(b.out, "\r\033[K%s %s ", bar(done, total), line)
}

// barWidth is how many characters a bar has.
const barWidth = 20

func bar(done, total int64) string {
	full := 0
	if total > 0 {
		full = int(min(done, total) * barWidth / total)
	}
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "]"
}

// end makes room for what is printed next.
func (b *benchProgress) end() {
	if b.drawn {
		fmt.Fprint(b.out, "\r\033[K")
	}
}
