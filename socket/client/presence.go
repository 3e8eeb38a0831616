package client

import (
	"encoding/json"
	"slices"
)

const (
	presenceState = "presence_state"
	presenceDiff  = "presence_diff"
)

// Presences are who is on a topic, as of the events that they have been given: the zero value
// knows of nobody. A program that follows [Channel.Events] hands each event to
// [Presences.Apply], and so knows who is there in step with what else happens.
type Presences struct {
	// ByKey has, for each key, what each of its connections says of itself.
	ByKey map[string][]json.RawMessage
	known bool // whether a state has come
}

// presenceEntry is what stands under a key.
type presenceEntry struct {
	Metas []json.RawMessage `json:"metas"`
}

// Apply takes an event in, and tells whether it was about presences, and could be read: then
// something may have changed. All that is known is replaced by presence_state, which comes
// after each join; changes that come before the first are in it.
func (p *Presences) Apply(e Event) bool {
	switch e.Name {
	case presenceState:
		var state map[string]presenceEntry
		if json.Unmarshal(e.Payload, &state) != nil {
			return false
		}
		p.ByKey, p.known = make(map[string][]json.RawMessage, len(state)), true
		for key, entry := range state {
			p.ByKey[key] = entry.Metas
		}
		return true
	case presenceDiff:
		var diff struct{ Joins, Leaves map[string]presenceEntry }
		if !p.known || json.Unmarshal(e.Payload, &diff) != nil {
			return false
		}
		for key, entry := range diff.Joins {
			p.join(key, entry.Metas)
		}
		for key, entry := range diff.Leaves {
			p.leave(key, entry.Metas)
		}
		return true
	}
	return false
}

// join adds metas; one whose ref is there is replaced.
func (p *Presences) join(key string, metas []json.RawMessage) {
	refs := refsOf(metas)
	kept := slices.DeleteFunc(slices.Clone(p.ByKey[key]), func(meta json.RawMessage) bool { return slices.Contains(refs, refOf(meta)) })
	p.ByKey[key] = append(kept, metas...)
}

func (p *Presences) leave(key string, metas []json.RawMessage) {
	refs := refsOf(metas)
	kept := slices.DeleteFunc(slices.Clone(p.ByKey[key]), func(meta json.RawMessage) bool { return slices.Contains(refs, refOf(meta)) })
	if len(kept) == 0 {
		delete(p.ByKey, key)
		return
	}
	p.ByKey[key] = kept
}

func refsOf(metas []json.RawMessage) []string {
	refs := make([]string, len(metas))
	for i, meta := range metas {
		refs[i] = refOf(meta)
	}
	return refs
}

// refOf is a meta's phx_ref, which tells it from others under its key.
func refOf(meta json.RawMessage) string {
	var said struct {
		Ref string `json:"phx_ref"`
	}
	_ = json.Unmarshal(meta, &said) // one without a ref has none
	return said.Ref
}
