package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// publishProgress shows on a terminal how far publish or broadcast has come in a long input.
type publishProgress struct {
	out   io.Writer
	shown bool // whether there is somebody to see it
	done  string

	started, last time.Time
	drawn         bool
}

const (
	progressDelay    = time.Second
	progressInterval = 200 * time.Millisecond
)

func (p *publishProgress) show(count int) {
	now := time.Now()
	if p.started.IsZero() {
		p.started = now
	}
	elapsed := now.Sub(p.started)
	if !p.shown || elapsed < progressDelay || now.Sub(p.last) < progressInterval {
		return
	}
	p.last, p.drawn = now, true
	rate := int(float64(count) / elapsed.Seconds())
	fmt.Fprintf(p.out, "\r%s %s, %s/s ", p.done, events(count), grouped(rate))
}

// clear makes room for what is printed next.
func (p *publishProgress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

func events(n int) string {
	if n == 1 {
		return "1 event"
	}
	return grouped(n) + " events"
}

// grouped writes a count with a comma between thousands.
func grouped(n int) string {
	digits := fmt.Sprint(n)
	var s strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			s.WriteByte(',')
		}
		s.WriteRune(digit)
	}
	return s.String()
}
