package socket

import "time"

// rateLimiter keeps a client to a number of messages a second, after as many at once.
// A nil one lets everything through.
type rateLimiter struct {
	perSecond int
	due       time.Time // when the next message would be due if they came at an even pace
}

// wait is how long the next message has to wait: less than a second.
func (l *rateLimiter) wait(now time.Time) time.Duration {
	if l == nil || l.due.Before(now) {
		return 0
	}
	return max(0, l.due.Sub(now)+l.interval()-time.Second)
}

// note counts a message.
func (l *rateLimiter) count(now time.Time) {
	if l.due.Before(now) {
		l.due = now
	}
	l.due = l.due.Add(l.interval())
}

func (l *rateLimiter) interval() time.Duration { return time.Second / time.Duration(l.perSecond) }
