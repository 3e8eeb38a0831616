package sluice

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/channels/presence"
)

// PresenceRule says whether the clients of a topic are told who else is there, and what
// is said of each. In a file it is true, or the fields that differ:
// {key: client, meta: client, max-meta: 1KiB, max: 1000}.
type PresenceRule struct {
	// On tells clients. With false nothing else counts.
	On bool
	// Key says what names a client to the others; those with the same key are the same.
	// Empty: PresenceKeySub.
	Key PresenceKey
	// Meta says who says more of a client. Empty: the service, since when it is there
	// ("online_at", in Unix seconds), from its join on.
	Meta PresenceMeta
	// MaxMeta bounds what a client says of itself. Zero: 1 KiB.
	MaxMeta ByteSize
	// Max is how many presences of a topic are listed; those beyond are counted. Zero: 1000.
	Max int
}

// PresenceKey is what names a client to the others on a topic.
type PresenceKey string

const (
	// PresenceKeySub is the sub of its token, and without one the socket's id, as
	// GET /api/sockets shows it.
	PresenceKeySub PresenceKey = "sub"
	// PresenceKeyClient is what it joins with as config.presence.key, for clients that
	// trust each other: anyone may say the name of another. Without one it is as above.
	PresenceKeyClient PresenceKey = "client"
)

// PresenceMeta is who says more of a client than that it is there.
type PresenceMeta string

// PresenceMetaClient has a client be there once it tracks itself, as supabase's
// realtime-js does, until it untracks: with what it says.
const PresenceMetaClient PresenceMeta = "client"

// UnmarshalYAML reads a rule from a file, where it is true, false, or fields.
func (r *PresenceRule) UnmarshalYAML(unmarshal func(any) error) error {
	var on bool
	if unmarshal(&on) == nil {
		*r = PresenceRule{On: on}
		return nil
	}
	var fields struct {
		Key     PresenceKey  `yaml:"key"`
		Meta    PresenceMeta `yaml:"meta"`
		MaxMeta ByteSize     `yaml:"max-meta"`
		Max     int          `yaml:"max"`
	}
	if err := unmarshal(&fields); err != nil {
		text := "expected true, false, or key, meta, max-meta and max"
		if said := interface{ GetMessage() string }(nil); errors.As(err, &said) { // without its picture of the file
			text += ": " + said.GetMessage()
		}
		return errors.New(text)
	}
	*r = PresenceRule{On: true, Key: fields.Key, Meta: fields.Meta, MaxMeta: fields.MaxMeta, Max: fields.Max}
	return nil
}

// validate reports what is wrong with a rule.
func (r *PresenceRule) validate(f *faults) {
	if r.Key != "" {
		oneOf(f, "Presence", r.Key, PresenceKeySub, PresenceKeyClient)
	}
	if r.Meta != "" {
		oneOf(f, "Presence", r.Meta, PresenceMetaClient)
	}
	for _, each := range []bound{
		size("Presence", r.MaxMeta, 2, presence.MaxMeta, "max-meta: {least} to {most}"),
		number("Presence", r.Max, 1, maxListed, "max: {least} to {most} presences"),
	} {
		if each.given != 0 { // what PresenceRule says
			each.validate(f)
		}
	}
	if r.Meta != PresenceMetaClient {
		return
	}
	if most := maxList / (r.maxMeta() + presence.MaxKey + presenceFields); r.listed() > most {
		f.add("Presence", fmt.Sprintf("max: %d, max-meta: %d", r.listed(), r.maxMeta()), fmt.Sprintf(
			"max: at most %d with that max-meta, or less of that: the list of who is on a topic is one message, of %s at most", most, ByteSize(maxList)))
	}
}

const (
	// maxList bounds the list of who is on a topic, in bytes.
	maxList = 16 << 20
	// presenceFields is what each presence takes of it besides its key and its meta.
	presenceFields = 64
)

// maxListed bounds how many presences of a topic are listed: they are one message.
const maxListed = 10_000

// maxMeta is what a client may say of itself, in bytes.
func (r *PresenceRule) maxMeta() int { return int(cmp.Or(r.MaxMeta, presence.DefaultMeta)) }

// listed is how many presences of a topic are listed.
func (r *PresenceRule) listed() int { return cmp.Or(r.Max, presence.DefaultMax) }
