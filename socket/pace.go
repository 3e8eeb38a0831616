package socket

import "time"

// pace keeps whoever asks to a number of messages a second, after as many at
// once. The zero pace lets everything through.
type pace struct {
	perSecond int
	due       time.Time // when the next message would be due if they came at an even pace
}

// keep waits until the next message is allowed: less than a second.
func (p *pace) keep() {
	if p.perSecond > 0 {
		time.Sleep(p.next(time.Now()))
	}
}

// next is how long to wait for the message that arrives now.
func (p *pace) next(now time.Time) time.Duration {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Second / time.Duration(p.perSecond))
	return p.due.Sub(now) - time.Second
}
