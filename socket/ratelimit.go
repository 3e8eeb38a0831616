package socket

import "time"

// pace keeps a client to a number of messages a second, after as many at once.
// A nil pace lets everything through.
type pace struct {
	perSecond int
	due       time.Time // when the next message would be due if they came at an even pace
}

// wait is how long the next message has to wait: less than a second.
func (p *pace) wait(now time.Time) time.Duration {
	if p == nil || p.due.Before(now) {
		return 0
	}
	return max(0, p.due.Sub(now)+p.apart()-time.Second)
}

// note counts a message.
func (p *pace) note(now time.Time) {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.apart())
}

func (p *pace) apart() time.Duration { return time.Second / time.Duration(p.perSecond) }
