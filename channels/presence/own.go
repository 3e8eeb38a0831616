package presence

import (
	"cmp"
	"slices"
	"time"
)

// Track puts a presence on a topic, until it leaves. The meta is one that [Meta] has
// made. An empty key stands for one that nobody else has. It returns a
// [*store.InvalidError] for a key that clients cannot be told, and ErrFull.
func (t *Tracker) Track(topic, key, meta string) (*Presence, error) {
	if key != "" {
		if err := CheckKey(key); err != nil {
			t.counters.refusedKey.Add(1)
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.roomy() {
		t.counters.refusedFull.Add(1)
		return nil, ErrFull
	}
	t.held++
	p := &Presence{tracker: t}
	p.topic, p.at = t.topicNamed(topic), -1
	r := t.nextRef()
	if key == "" {
		key = r.String()
	}
	p.n = r.n
	t.own = append(t.own, ownEntry{r.n, p})
	t.change(p, &view{key: key, meta: meta, id: r, ref: r})
	return p, nil
}

// nextRef is a ref that nothing has had. Called with mu held.
func (t *Tracker) nextRef() ref {
	t.lastRef++
	return ref{t.origin, t.lastRef}
}

// change has a presence of this node seen otherwise: nil once it has left. Called with
// mu held.
func (t *Tracker) change(p *Presence, to *view) {
	p.last = to
	if !p.unsent {
		p.unsent = true
		t.unsent = append(t.unsent, p)
	}
	t.show(&p.member, to)
}

// Update gives a presence another meta, one that [Meta] has made. If it was updated less
// than a second ago that happens once the second is over, for the last of several. The
// same meta again changes nothing. It returns ErrLeft.
func (p *Presence) Update(meta string) error {
	t := p.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case p.left:
		return ErrLeft
	case p.next != "":
		p.next = meta
	case p.last.meta == meta:
	case now.Sub(p.updated) < updateEvery:
		p.next = meta
		t.delayed = append(t.delayed, p)
		t.Wake()
	default:
		t.update(p, meta, now)
	}
	return nil
}

// update updates a presence at once. Called with mu held.
func (t *Tracker) update(p *Presence, meta string, now time.Time) {
	p.updated = now
	t.change(p, &view{key: p.last.key, meta: meta, id: p.last.id, ref: t.nextRef()})
}

// updateDelayed makes the updates that are due. Called with mu held.
func (t *Tracker) updateDelayed(now time.Time) {
	t.delayed = slices.DeleteFunc(t.delayed, func(p *Presence) bool {
		switch {
		case p.left:
			return true
		case now.Sub(p.updated) < updateEvery:
			return false
		case p.next != p.last.meta:
			t.update(p, p.next, now)
		}
		p.next = ""
		return true
	})
}

// Key is what the presence is known by.
func (p *Presence) Key() string {
	p.tracker.mu.Lock()
	defer p.tracker.mu.Unlock()
	if p.left {
		return ""
	}
	return p.last.key
}

// Leave takes a presence off its topic. Leaving again does nothing.
func (p *Presence) Leave() {
	t := p.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	t.held--
	t.change(p, nil)
	t.drop(p)
}

// ownEntry is a place of a presence in the list of those that this node has.
type ownEntry struct {
	n uint64    // of the first ref; ascending
	p *Presence // nil once it has left
}

// drop takes a presence out of those that this node has. Called with mu held.
func (t *Tracker) drop(p *Presence) {
	i, _ := slices.BinarySearchFunc(t.own, p.n, func(e ownEntry, n uint64) int { return cmp.Compare(e.n, n) })
	t.own[i].p = nil
	if t.gaps++; t.gaps > len(t.own)/2 {
		t.own = slices.DeleteFunc(t.own, func(e ownEntry) bool { return e.p == nil })
		t.gaps = 0
	}
}
