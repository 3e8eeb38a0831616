package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// Roster is who is on a topic, as a client has it that is told by presence_state and
// presence_diff, in the form of Phoenix: what comes before the first state of a join waits
// for it; joins are entered before leaves. Its zero value is that of a fresh join. It is
// for one goroutine at a time.
type Roster struct {
	whole bool              // a state has come since the join
	metas map[string]string // phx_ref to key
	early []rosterDiff      // what came before the state
}

// rosterMembers are metas by key.
type rosterMembers map[string]struct {
	Metas []struct {
		Ref string `json:"phx_ref"`
	}
}

// rosterDiff is what has changed.
type rosterDiff struct{ Joins, Leaves rosterMembers }

// maxEarly bounds what waits for a state that does not come.
const maxEarly = 10_000

// State takes a list in, in place of what there was.
func (r *Roster) State(payload []byte) error {
	metas, err := ParseRoster(payload)
	if err != nil {
		return err
	}
	r.metas, r.whole = metas, true
	for _, d := range r.early {
		r.enter(d)
	}
	r.early = nil
	return nil
}

// Diff takes a change in.
func (r *Roster) Diff(payload []byte) error {
	var d rosterDiff
	if err := json.Unmarshal(payload, &d); err != nil {
		return fmt.Errorf("a presence_diff that is none: %.200s: %w", payload, err)
	}
	if d.Joins == nil || d.Leaves == nil {
		return fmt.Errorf("a presence_diff without joins or leaves: %.200s", payload)
	}
	switch {
	case r.whole:
		r.enter(d)
	case len(r.early) == maxEarly:
		return errors.New("no presence_state came for all the changes")
	default:
		r.early = append(r.early, d)
	}
	return nil
}

func (r *Roster) enter(d rosterDiff) {
	for key, member := range d.Joins {
		for _, meta := range member.Metas {
			r.metas[meta.Ref] = key
		}
	}
	for _, member := range d.Leaves {
		for _, meta := range member.Metas {
			delete(r.metas, meta.Ref)
		}
	}
}

// ParseRoster reads a list as a presence_state has it: phx_ref to key.
func ParseRoster(payload []byte) (map[string]string, error) {
	var members rosterMembers
	if err := json.Unmarshal(payload, &members); err != nil {
		return nil, fmt.Errorf("a list of who is there that is none: %.200s: %w", payload, err)
	}
	metas := map[string]string{}
	for key, member := range members {
		for _, meta := range member.Metas {
			if _, twice := metas[meta.Ref]; twice || meta.Ref == "" {
				return nil, fmt.Errorf("a list with the phx_ref %q twice, or none: %.200s", meta.Ref, payload)
			}
			metas[meta.Ref] = key
		}
	}
	return metas, nil
}

// Now is a copy of who is there, phx_ref to key; false while that is not known.
func (r *Roster) Now() (metas map[string]string, known bool) {
	return maps.Clone(r.metas), r.whole
}

// Len is how many are there; -1 while that is not known.
func (r *Roster) Len() int {
	if !r.whole {
		return -1
	}
	return len(r.metas)
}
