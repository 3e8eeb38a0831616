package sluice

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/channels/presence"
	"github.com/sluicehq/sluice/internal/patterns"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/auth"
	"github.com/sluicehq/sluice/store"
)

// Access says who may join a topic.
type Access string

const (
	AccessPublic Access = "public" // whoever may connect
	AccessToken  Access = "token"  // whose token lists the topic
	AccessHook   Access = "hook"   // whom the hook join of Config.Hooks lets in
	AccessSQL    Access = "sql"    // whom a function of the database lets in: see TopicRule.Function
	AccessDeny   Access = "deny"   // nobody
)

// Publish says what an event that a client pushes does.
type Publish string

const (
	PublishNone      Publish = "none"      // it is refused
	PublishBroadcast Publish = "broadcast" // it goes to all who have joined, the sender included
	PublishLog       Publish = "log"       // it is appended to the log; the client is answered once it is durable
	PublishHook      Publish = "hook"      // what the hook push of Config.Hooks says
)

// TopicRule says who may do what on the topics that it matches, and how their
// messages are delivered. The first rule that matches a topic counts. Where
// there is a list of rules, a topic that none matches is closed, and an empty
// list closes all; where there is none, all topics are open to whoever may
// connect, and clients push nothing.
type TopicRule struct {
	// Match is a topic, or the beginning of topics followed by *. In a topic, {sub} stands
	// for who a client is: user:{sub} matches user:7 for the one whose token has 7 as its
	// sub, and for nobody else.
	Match string `yaml:"match"`
	// Access says who may join. Empty: AccessPublic.
	Access Access `yaml:"access"`
	// Function is asked where Access is AccessSQL: its name in the database, with the schema,
	// such as app.may_join. It takes (topic text, claims jsonb) and returns boolean.
	Function string `yaml:"function"`
	// Publish says what an event that a client pushes does. Empty: PublishNone.
	Publish Publish `yaml:"publish"`

	// What stands in place of the fields of [Config] with the same names, for
	// these topics. Empty or zero: what Config says.

	Overflow     Overflow      `yaml:"overflow"`
	MailboxSize  int           `yaml:"mailbox-size"`
	Dedupe       Dedupe        `yaml:"dedupe"`
	DedupeWindow time.Duration `yaml:"dedupe-window"`

	// FlushInterval is how long messages are collected before they are sent
	// together, the newest of each key only if Overflow is Latest. Zero: they
	// go at once.
	FlushInterval time.Duration `yaml:"flush-interval"`
	// MaxLast is how many of a topic's last events a client may begin with, that
	// joins with "last": what is above is cut to it. Nil: 100. 0: who asks for some is
	// refused.
	MaxLast *int `yaml:"max-last"`
	// Compress says whether messages are compressed where Config.Compress has it so. Nil: yes.
	// They tell by their size what is in them, to who sees how large what passes is.
	Compress *bool `yaml:"compress"`
	// Presence says whether clients are told who is on these topics.
	Presence PresenceRule `yaml:"presence"`
	// Tags stand on the metrics of these topics' messages and joins, such as
	// the tenant that they belong to.
	Tags map[string]string `yaml:"tags"`
}

// validate reports what is wrong with a rule, by the rule's own fields. The
// configuration's own tags are taken.
func (r *TopicRule) validate(f *faults, taken map[string]string) {
	star, subs := strings.IndexByte(r.Match, '*'), strings.Count(r.Match, subjectMark)
	switch {
	case r.Match == "" || star >= 0 && star < len(r.Match)-1:
		f.add("Match", r.Match, "a topic, or the beginning of topics followed by one * at the end, such as room:*")
	case subs > 1 || subs == 1 && star >= 0:
		f.add("Match", r.Match, "a topic with one "+subjectMark+" and no *, such as user:"+subjectMark)
	}
	if r.Access != "" {
		oneOf(f, "Access", r.Access, AccessPublic, AccessToken, AccessHook, AccessSQL, AccessDeny)
	}
	if r.Publish != "" {
		oneOf(f, "Publish", r.Publish, PublishNone, PublishBroadcast, PublishLog, PublishHook)
	}
	r.Presence.validate(f)
	r.validateOptions(f, taken)
}

// validateOptions reports what is wrong with a rule's part of how messages are
// delivered. The configuration's own tags are taken.
func (r *TopicRule) validateOptions(f *faults, taken map[string]string) {
	if r.Overflow != 0 {
		oneOf(f, "Overflow", r.Overflow, CatchUp, DropOldest, DropNewest, Latest, Disconnect)
	}
	if r.Dedupe != 0 {
		oneOf(f, "Dedupe", r.Dedupe, DedupeOffset, DedupeKey, DedupePayload)
	}
	for _, each := range []bound{mailboxSize(r.MailboxSize), dedupeWindow(r.DedupeWindow), flushInterval(r.FlushInterval)} {
		if each.given != 0 { // what Config says
			each.validate(f)
		}
	}
	if r.MaxLast != nil {
		number("MaxLast", *r.MaxLast, 0, maxLast, "{least} to {most} events").validate(f)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
		if _, global := taken[key]; global {
			f.add("Tags", key, "as key none of those of --tag")
		} else {
			validateTag(f, "Tags", key, r.Tags[key])
		}
	}
}

// validateTopics reports the rules that cannot be used, or never count.
func (c *Config) validateTopics(f *faults) {
	var above patterns.Index
	for i := range c.Topics {
		rule := &c.Topics[i]
		var own faults
		rule.validate(&own, c.Tags)
		rule.validateAsked(&own, c)
		if rule.Compress != nil && *rule.Compress && !c.Compress {
			own.add("Compress", "true", "false, or true with --compress")
		}
		for _, fault := range own {
			f.add(fmt.Sprintf("Topics[%d].%s", i, fault.Field), fault.Given, fault.Allowed)
		}
		if first := above.Covers(rule.Match); first >= 0 {
			f.add(fmt.Sprintf("Topics[%d].Match", i), rule.Match,
				fmt.Sprintf("what no rule above matches: rule %d (%s) takes all of it, so put this one before that", first+1, c.Topics[first].Match))
		}
		above.Add(rule.Match)
	}
}

// options are what the rule, which is valid, says for its topics.
func (r *TopicRule) options() Options {
	last := 0 // what is usual
	if r.MaxLast != nil {
		last = cmp.Or(*r.MaxLast, -1)
	}
	return Options{
		Overflow: r.Overflow, MailboxSize: r.MailboxSize,
		Dedupe: r.Dedupe, DedupeWindow: r.DedupeWindow,
		FlushInterval: r.FlushInterval, MaxLast: last, Compress: r.compress(), Tags: r.Tags,
	}
}

// topicRules are rules for topics, with an index of what they match. A nil one has none.
type topicRules struct {
	list     []TopicRule // nil: there is no list, which is not the same as an empty one
	index    patterns.Index
	personal []personalRule // which the index has as what they are for nobody
}

// personalRule is a rule of topics of which each is one user's.
type personalRule struct {
	number        int // in the list
	before, after string
}

// subjectMark stands in a rule for the sub of a client's token.
const subjectMark = "{sub}"

// owner is whose own a topic is by this rule, "" if it is nobody's.
func (p *personalRule) owner(topic string) string {
	if len(topic) <= len(p.before)+len(p.after) || !strings.HasPrefix(topic, p.before) || !strings.HasSuffix(topic, p.after) {
		return ""
	}
	return topic[len(p.before) : len(topic)-len(p.after)]
}

func newTopicRules(list []TopicRule) *topicRules {
	r := &topicRules{list: list}
	for i := range list {
		match := list[i].Match
		if before, after, personal := strings.Cut(match, subjectMark); personal {
			r.personal = append(r.personal, personalRule{i, before, after})
			match = "" // which is no topic
		}
		r.index.Add(match)
	}
	return r
}

func (r *topicRules) isNone() bool { return r == nil || r.list == nil }

// compress is what the rule says of compression, zero if nothing.
func (r *TopicRule) compress() outbound.Compress {
	switch {
	case r.Compress == nil:
		return 0
	case *r.Compress:
		return outbound.CompressOn
	}
	return outbound.CompressOff
}

// ruleFor returns the rule that counts for a topic and who has that access, nil if none
// matches it.
func (r *topicRules) ruleFor(topic string, access *auth.Access) *TopicRule {
	if r == nil {
		return nil
	}
	if owner, number := r.owner(topic); access != nil && owner != "" && access.Subject == owner {
		return r.first(topic, number)
	}
	return r.first(topic, len(r.list))
}

// ruleForOwner is ruleFor the one whose own the topic is, if it is somebody's.
func (r *topicRules) ruleForOwner(topic string) *TopicRule {
	if r == nil {
		return nil
	}
	_, number := r.owner(topic)
	return r.first(topic, number)
}

// owner is whose own a topic is, "" if it is nobody's, and the number of the rule that says
// so. Of several rules it is the one that leaves the least for a subject: so no subject is
// another's with more behind it.
func (r *topicRules) owner(topic string) (owner string, number int) {
	number = len(r.list)
	for i := range r.personal {
		if o := r.personal[i].owner(topic); o != "" && (owner == "" || len(o) < len(owner)) {
			owner, number = o, r.personal[i].number
		}
	}
	return owner, number
}

// first is the first rule of those that match a topic whoever it is, and of one more.
func (r *topicRules) first(topic string, other int) *TopicRule {
	if i := r.index.Match(topic); i >= 0 && i < other {
		return &r.list[i]
	}
	if other < len(r.list) {
		return &r.list[other]
	}
	return nil
}

// ruleChannel is the service's own channel: who may join and what a push does is
// said by the rules and by the client's token.
// All of a mount share the rules.
type ruleChannel struct {
	*ruleSet
	key   string // of the client's presence, where its rule has one
	asked *asked // nil unless others have decided that the client may be here; written by Join
}

// ruleOf is the rule that counts for a channel and its client as it is now.
func (c *ruleChannel) ruleOf(ctx *Context) *TopicRule {
	return c.rules().ruleFor(ctx.Topic(), auth.Of(ctx.Socket()))
}

// ruleSet is what the channels of a mount go by.
type ruleSet struct {
	rules    func() *topicRules                           // those in force
	hooks    func() *hookSet                              // likewise
	holds    func(*Socket) (holds func() bool, bytes int) // see auth.Authenticator.HoldsLater
	node     string
	metrics  *metrics.Set
	logger   *slog.Logger
	failures channels.LogLimiter // of pushes
	unshown  channels.LogLimiter // presences that are refused
}

// Join implements [Channel].
func (c *ruleChannel) Join(ctx *Context, params Payload) (any, error) {
	rule := c.ruleOf(ctx)
	if rule != nil {
		ctx.SetOptions(rule.options())
	}
	if !mayJoin(c.rules(), ctx.Topic(), auth.Of(ctx.Socket())) {
		return nil, channels.Reject("unauthorized")
	}
	var reply any
	if rule != nil && rule.Access.asks() {
		var err error
		if reply, err = c.joinAsked(ctx, rule, params); err != nil {
			return nil, err
		}
	}
	if rule != nil && rule.Presence.On {
		c.enter(ctx, &rule.Presence, params)
	}
	return reply, nil
}

// Review implements [Reviewer]: by the rule, and by what the client's token
// lists. Who is asked is asked again where the token is another.
func (c *ruleChannel) Review(topic string, s *Socket) error {
	rules, token := c.rules(), auth.Of(s)
	if !mayJoin(rules, topic, token) {
		return channels.Reject("unauthorized")
	}
	return c.reviewAsked(rules.ruleFor(topic, token), token)
}

func mayJoin(rules *topicRules, topic string, token *auth.Access) bool {
	rule := rules.ruleFor(topic, token)
	switch {
	case strings.HasPrefix(topic, store.OwnTopics) && (rule == nil || !strings.HasPrefix(rule.Match, store.OwnTopics)):
		return false // they are joined only by a rule that names them
	case rules.isNone(): // all topics are open, but a token that lists some means these
		return token == nil || !token.Listed || token.Allows(topic)
	case rule == nil || rule.Access == AccessDeny:
		return false
	case rule.Access == AccessToken:
		return token != nil && token.Allows(topic)
	}
	return true
}

// HandleIn implements [InHandler].
func (c *ruleChannel) HandleIn(ctx *Context, event string, payload Payload) Result {
	publish := PublishNone
	if rule := c.ruleOf(ctx); rule != nil {
		if rule.Presence.takes(event) {
			return c.track(ctx, &rule.Presence, payload)
		}
		publish = rule.Publish
	}
	var err error
	switch publish {
	case PublishBroadcast:
		err = ctx.Broadcast(event, payload)
	case PublishLog:
		err = ctx.Publish(event, payload, nil)
	case PublishHook:
		result, _ := c.pushAsked(ctx, event, payload)
		return result
	default:
		return channels.Error(channels.Reason("forbidden"))
	}
	if err != nil {
		return c.notPublished(ctx, err)
	}
	return channels.OK(nil)
}

// HandleBatch implements [channels.BatchHandler]: what goes to the log shares a
// commit. Where it cannot, because one of the events is not valid or is refused, each
// goes by itself.
func (c *ruleChannel) HandleBatch(ctx *Context, events []channels.Pushed) []Result {
	results := make([]Result, len(events))
	rule := c.ruleOf(ctx)
	if rule != nil && rule.Publish == PublishHook {
		return c.pushesAsked(ctx, rule, events)
	}
	takes := func(e channels.Pushed) bool { return rule.Presence.takes(e.Event) }
	if len(events) > 1 && rule != nil && rule.Publish == PublishLog && !slices.ContainsFunc(events, takes) {
		err := ctx.PublishAll(events)
		if invalid := new(store.InvalidError); !errors.As(err, &invalid) {
			result := channels.OK(nil)
			if err != nil {
				result = c.notPublished(ctx, err)
			}
			for i := range results {
				results[i] = result
			}
			return results
		}
	}
	for i, e := range events {
		results[i] = c.HandleIn(ctx, e.Event, e.Payload)
	}
	return results
}

// notPublished answers a push that could not be done: with the reason if it is
// the client's to mend.
func (c *ruleChannel) notPublished(ctx *Context, err error) Result {
	var invalid *store.InvalidError
	switch {
	case errors.As(err, &invalid):
		c.metrics.Counter(metrics.MessagesRefused, metrics.Reason("invalid_"+invalid.Field)).Add(1)
		return channels.Error(channels.Reason("invalid " + invalid.Field))
	case ctx.Context().Err() != nil: // the client has gone
		return channels.Error(channels.Reason("unavailable"))
	}
	c.failures.Error(c.logger, "push not published", "topic", ctx.Topic(), "error", err)
	return channels.Error(channels.Reason("unavailable"))
}

// enter has a client that joins told who is there, and the others told of it unless it
// tracks itself. If it cannot be shown it is there all the same.
func (c *ruleChannel) enter(ctx *Context, rule *PresenceRule, params Payload) {
	c.key = presenceKey(ctx.Socket(), rule, params)
	err := ctx.FollowPresence()
	if rule.Meta != PresenceMetaClient && err == nil {
		err = ctx.Track(c.key, map[string]string{"online_at": strconv.FormatInt(time.Now().Unix(), 10)})
	}
	if err != nil && !errors.Is(err, channels.ErrClosed) {
		c.unshown.Warn(c.logger, "presence not shown", "topic", ctx.Topic(), "error", err)
	}
}

// presenceKey is what names a client to the others.
func presenceKey(s *Socket, rule *PresenceRule, params Payload) string {
	if rule.Key == PresenceKeyClient {
		var said struct {
			Config struct {
				Presence struct {
					Key string `json:"key"`
				} `json:"presence"`
			} `json:"config"`
		}
		if params.Decode(&said) == nil && said.Config.Presence.Key != "" { // otherwise it says none
			return said.Config.Presence.Key
		}
	}
	if token := auth.Of(s); token != nil && token.Subject != "" {
		return token.Subject
	}
	return s.Name
}

// takes tells whether an event that a client pushes says something of itself.
func (r *PresenceRule) takes(event string) bool {
	return r.On && r.Meta == PresenceMetaClient && event == "presence"
}

// track does what a client says of itself: as supabase's realtime-js has it, with an
// event of "track" or "untrack" in the payload.
func (c *ruleChannel) track(ctx *Context, rule *PresenceRule, payload Payload) Result {
	var said struct {
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := payload.Decode(&said); err != nil {
		said.Event = ""
	}
	switch {
	case strings.EqualFold(said.Event, "untrack"):
		ctx.Untrack(c.key)
		return channels.OK(nil)
	case !strings.EqualFold(said.Event, "track"):
		return c.notPublished(ctx, &store.InvalidError{Index: -1, Field: "payload", Reason: "has as its event neither track nor untrack"})
	}
	if len(said.Payload) == 0 || string(said.Payload) == "null" {
		said.Payload = json.RawMessage("{}")
	}
	meta, err := presence.Meta(said.Payload, rule.maxMeta())
	if err == nil {
		err = ctx.Track(c.key, Payload{Data: []byte(meta)})
	}
	switch {
	case errors.Is(err, channels.ErrPresenceFull):
		c.unshown.Warn(c.logger, "presence not shown", "topic", ctx.Topic(), "error", err)
		return channels.Error(channels.Reason("overloaded"))
	case err != nil:
		return c.notPublished(ctx, err)
	}
	return channels.OK(nil)
}
