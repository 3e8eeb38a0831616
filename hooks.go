package sluice

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/sqlaccess"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/auth"
	"github.com/sluicehq/sluice/store"
)

// hookSet is who is asked at present. It is not changed.
type hookSet struct {
	config              Hooks
	secrets             *hooks.Secrets   // nil where there are no hooks
	connect, join, push *hooks.Caller    // nil: there is none
	sql                 *sqlaccess.Asker // nil where there is no role for it; the same in all sets
}

// makeHooks makes the hooks of the configuration, and has metrics tell of them.
func (s *Service) makeHooks(secrets *hooks.Secrets) error {
	functions, err := s.newFunctions()
	if err != nil {
		return err
	}
	set, err := s.newHookSet(s.config.Hooks, secrets, &hookSet{sql: functions})
	if err != nil {
		return err
	}
	s.inForce.hooks.Store(set)
	for name, load := range map[string]func() (asked, waiting int){
		hooks.Connect:  func() (int, int) { return s.inForce.hooks.Load().connect.Load() },
		hooks.Join:     func() (int, int) { return s.inForce.hooks.Load().join.Load() },
		hooks.Push:     func() (int, int) { return s.inForce.hooks.Load().push.Load() },
		sqlaccess.Hook: func() (int, int) { return functions.Load() },
	} {
		s.metrics.GaugeFunc(metrics.HookInFlight, func() int64 { asked, _ := load(); return int64(asked) }, metrics.Hook(name))
		s.metrics.GaugeFunc(metrics.HookWaiting, func() int64 { _, waiting := load(); return int64(waiting) }, metrics.Hook(name))
	}
	return nil
}

// newHookSet makes hooks of a configuration that is valid. What is as it was before stays,
// with what it remembers.
func (s *Service) newHookSet(config Hooks, secrets *hooks.Secrets, before *hookSet) (*hookSet, error) {
	set := &hookSet{config: config, secrets: secrets, sql: before.sql}
	for _, each := range []struct {
		name     string
		now, was *Hook
		into     **hooks.Caller
		old      *hooks.Caller
	}{
		{hooks.Connect, &config.Connect, &before.config.Connect, &set.connect, before.connect},
		{hooks.Join, &config.Join, &before.config.Join, &set.join, before.join},
		{hooks.Push, &config.Push, &before.config.Push, &set.push, before.push},
	} {
		switch {
		case each.now.URL == "":
			continue
		case each.old != nil && secrets == before.secrets && reflect.DeepEqual(each.now, each.was):
			*each.into = each.old
			continue
		}
		caller, err := hooks.New(hooks.Config{Name: each.name, URL: each.now.URL, Limits: each.now.limits(), Secrets: secrets, Metrics: s.metrics, Logger: s.logger})
		if err != nil {
			return nil, err
		}
		*each.into = caller
	}
	return set, nil
}

// close closes what the next set has not taken over.
func (h *hookSet) close(next *hookSet) {
	for _, pair := range [][2]*hooks.Caller{{h.connect, next.connect}, {h.join, next.join}, {h.push, next.push}} {
		if pair[0] != nil && pair[0] != pair[1] {
			pair[0].Close()
		}
	}
}

// keepsClaims tells whether anybody asks for all claims of a token.
func (s *Service) keepsClaims() bool {
	h := s.inForce.hooks.Load()
	return h.join != nil || h.push != nil || h.sql != nil
}

// connectFunc says what a client may that brings no token.
type connectFunc = func(context.Context, *ConnectRequest) (*auth.Access, error)

// askConnect has the hook connect say who a client is.
func (s *Service) askConnect(ctx context.Context, r *ConnectRequest) (*auth.Access, error) {
	set := s.inForce.hooks.Load()
	headers := map[string]string{}
	for _, name := range set.config.Connect.Headers {
		if values := r.Header.Values(name); len(values) > 0 {
			between := ", "
			if strings.EqualFold(name, "Cookie") {
				between = "; "
			}
			headers[http.CanonicalHeaderKey(name)] = strings.Join(values, between)
		}
	}
	said, err := set.connect.Ask(ctx, verdict.Question{}, hooks.Question{
		Params: r.Params, Token: r.Token, Headers: headers, RemoteAddr: r.RemoteAddr, Transport: r.Transport, Node: s.config.Node,
	})
	var denial *hooks.Denial
	if errors.As(err, &denial) {
		return nil, &socket.Refusal{Status: http.StatusForbidden, Reason: cmp.Or(denial.Reason, "connection refused")}
	}
	var access *auth.Access
	if err == nil {
		access, err = auth.Grant(said.Subject, said.Topics, said.Listed, said.Expires, said.Claims)
	}
	if err != nil { // of the hook's: told in the log
		return nil, &socket.Refusal{Status: http.StatusServiceUnavailable, Reason: "the connect hook gives no answer now", Cause: socket.Unavailable}
	}
	return access, nil
}

// renew judges a token that a client brings while it is connected. What others have
// allowed this user is to be asked for again then.
func (s *Service) renew(ctx context.Context, old *Socket, token string) (*Socket, error) {
	renewed, err := s.auth.Renew(ctx, old, token)
	if access := auth.Of(old); err == nil && access != nil {
		set := s.inForce.hooks.Load()
		if set.join != nil {
			set.join.Forget(access.Subject)
		}
		if set.sql != nil {
			set.sql.Forget(access.Subject)
		}
	}
	return renewed, err
}

// asks tells whether others are asked who may join.
func (a Access) asks() bool { return a == AccessHook || a == AccessSQL }

// asked is what a channel keeps whose rule has others asked.
type asked struct {
	// Immutable after Join.
	ctx    *Context
	by     string  // who was asked: see askedBy
	params Payload // of the join, unless they are larger than maxAskedParams
	large  bool    // they are

	token   atomic.Pointer[auth.Access] // of the client when it was asked about last
	pending atomic.Bool                 // it is going to ask again

	timer *Timer // of when it does; nil if it need not; owned by the channel's own methods
}

// askAgain is what a channel sends itself when it is time to ask again.
type askAgain struct{}

// maxAskedParams is how many bytes of parameters a channel keeps, to ask again with. One
// that has more ends when it is time to, and its client joins again.
const maxAskedParams = 4 << 10

// joinAsked asks whether a client may join.
func (c *ruleChannel) joinAsked(ctx *Context, rule *TopicRule, params Payload) (reply any, err error) {
	c.asked = &asked{ctx: ctx, by: askedBy(rule), params: params}
	if rule.Access == AccessSQL { // which is told nothing of them
		c.asked.params = Payload{}
	} else if len(params.Data) > maxAskedParams {
		c.asked.params, c.asked.large = Payload{}, true
	}
	return c.ask(ctx, rule, params, false)
}

// askedBy names who a rule has asked.
func askedBy(rule *TopicRule) string {
	if rule.Access == AccessSQL {
		return string(rule.Access) + " " + rule.Function
	}
	return string(rule.Access)
}

// ask asks whether a client may be on a topic, and has it asked again when what allows it
// ends. The error is a Rejection.
func (c *ruleChannel) ask(ctx *Context, rule *TopicRule, params Payload, anew bool) (reply any, err error) {
	s := ctx.Socket()
	c.asked.token.Store(auth.Of(s))
	if rule.Access == AccessSQL {
		return nil, c.askDatabase(ctx, rule, anew)
	}
	hook := c.hooks().join
	if hook == nil {
		return nil, channels.Reject("unavailable")
	}
	question := hooks.Question{Topic: ctx.Topic(), Socket: peer(s), Node: c.node}
	if !params.Binary {
		question.Params = json.RawMessage(params.Data)
	}
	q := c.question(s, anew)
	q.Group, q.Key = askedFor(ctx.Topic(), s, params)
	said, err := hook.Ask(ctx.Context(), q, question)
	var denial *hooks.Denial
	switch {
	case errors.As(err, &denial):
		return nil, channels.Reject(cmp.Or(denial.Reason, "unauthorized"))
	case err != nil:
		return nil, channels.Reject("unavailable")
	}
	if c.asked.timer != nil {
		c.asked.timer.Stop()
		c.asked.timer = nil
	}
	if !said.Expires.IsZero() {
		if c.asked.timer, err = ctx.SendAfter(time.Until(said.Expires), askAgain{}); err != nil {
			return nil, channels.Reject("unavailable")
		}
	}
	if said.Response != nil {
		reply = Payload{Data: said.Response}
	}
	return reply, nil
}

// reviewAsked has a client asked about again where it brings another token. Who was let in
// by something else joins again, and is asked about then.
func (c *ruleChannel) reviewAsked(rule *TopicRule, token *auth.Access) error {
	switch {
	case rule == nil || !rule.Access.asks():
		return nil
	case c.asked == nil || c.asked.by != askedBy(rule):
		return channels.Reject("unauthorized")
	case c.asked.token.Load() != token && !c.asked.pending.Swap(true):
		return c.asked.ctx.Send(askAgain{}) // unless so much waits for the channel that it ends
	}
	return nil
}

// HandleInfo implements [InfoHandler]: it asks again. A client that may not be here any
// more has left then; one of which nothing is known joins again.
func (c *ruleChannel) HandleInfo(ctx *Context, message any) Result {
	rule := c.ruleOf(ctx)
	if _, ok := message.(askAgain); !ok || c.asked == nil || rule == nil || !rule.Access.asks() {
		return channels.NoReply()
	}
	c.asked.pending.Store(false)
	if c.asked.large {
		return channels.Stop(channels.Reject("unavailable"))
	}
	_, err := c.ask(ctx, rule, c.asked.params, true)
	var rejection *channels.Rejection
	switch {
	case err == nil, ctx.Context().Err() != nil:
		return channels.NoReply()
	case errors.As(err, &rejection) && rejection.Response == channels.Reason("unavailable"):
		return channels.Stop(rejection)
	}
	return channels.Stop(nil)
}

// pushAsked has the hook push say what becomes of an event, and does it. Down tells that
// the hook gave no answer.
func (c *ruleChannel) pushAsked(ctx *Context, event string, payload Payload) (result Result, down bool) {
	hook := c.hooks().push
	if payload.Binary {
		return c.notPublished(ctx, &store.InvalidError{Index: -1, Field: "payload", Reason: "is binary: hooks take JSON only"}), false
	}
	if hook == nil {
		return channels.Error(channels.Reason("unavailable")), true
	}
	said, err := hook.Ask(ctx.Context(), verdict.Question{}, hooks.Question{
		Topic: ctx.Topic(), Event: event, Payload: payload.Data, Socket: peer(ctx.Socket()), Node: c.node,
	})
	var denial *hooks.Denial
	switch {
	case errors.As(err, &denial):
		return channels.Error(channels.Reason(cmp.Or(denial.Reason, "forbidden"))), false
	case err != nil || ctx.Context().Err() != nil: // nothing is done for who has gone, or may not be here any more
		return channels.Error(channels.Reason("unavailable")), true
	}
	event = cmp.Or(said.Event, event)
	if said.Payload != nil {
		payload = Payload{Data: said.Payload}
	}
	switch said.Do {
	case hooks.DoBroadcast:
		err = ctx.Broadcast(event, payload)
	case hooks.DoLog:
		err = ctx.Publish(event, payload, nil)
	}
	switch {
	case err != nil:
		return c.notPublished(ctx, err), false
	case said.Reply != nil:
		return channels.OK(Payload{Data: said.Reply}), false
	}
	return channels.OK(nil), false
}

// pushesAsked is pushAsked for several events, in order. Where the hook is down, those
// behind are not asked about, so that a client that leaves need not wait for all of them.
func (c *ruleChannel) pushesAsked(ctx *Context, rule *TopicRule, events []channels.Pushed) []Result {
	results := make([]Result, len(events))
	down := false
	for i, e := range events {
		switch {
		case rule.Presence.takes(e.Event):
			results[i] = c.track(ctx, &rule.Presence, e.Payload)
		case down:
			results[i] = channels.Error(channels.Reason("unavailable"))
		default:
			results[i], down = c.pushAsked(ctx, e.Event, e.Payload)
		}
	}
	return results
}

// peer is a client, as hooks are told of it.
func peer(s *Socket) *hooks.Peer {
	p := &hooks.Peer{ID: s.Name, RemoteAddr: s.RemoteAddr, Transport: s.Transport}
	if access := auth.Of(s); access != nil {
		p.Subject, p.Claims = access.Subject, access.Claims
	}
	return p
}

// question is one about a client. It may be remembered for longer than the client stays, so
// it refers to nothing of its connection.
func (c *ruleChannel) question(s *Socket, anew bool) verdict.Question {
	holds, bytes := c.holds(s)
	return verdict.Question{Holds: holds, Bytes: bytes, Anew: anew}
}

// askedFor is what a hook's verdict is remembered by: the user, what its token says but for
// when it was made and ends, the topic, and what it is joined with but for where it resumes.
// Without a user nothing is.
func askedFor(topic string, s *Socket, params Payload) (group string, key verdict.Key) {
	joined, ok := without(params.Data, "after", "epoch", "last", "access_token")
	if !ok || params.Binary {
		return "", key
	}
	return rememberedBy(s, topic, string(joined))
}

// rememberedBy is what a verdict on a client is remembered by, with what else it depends on.
func rememberedBy(s *Socket, parts ...string) (group string, key verdict.Key) {
	access := auth.Of(s)
	if access == nil || access.Subject == "" {
		return "", key
	}
	claims, ok := without(access.Claims, "exp", "iat", "nbf", "jti")
	if !ok {
		return "", key
	}
	digest := sha256.New()
	for _, part := range append(parts, access.Subject, string(claims)) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		digest.Write(length[:])
		digest.Write([]byte(part))
	}
	digest.Sum(key[:0])
	return access.Subject, key
}

// without is a JSON object without some members, and in a form that all that say the same
// have: that of RFC 8785, but for numbers, which stay as they are, since those that differ
// may be one as RFC 8785 has them. It is nothing for nothing, and not ok for what is no object.
func without(object []byte, names ...string) (canonical jsontext.Value, ok bool) {
	if len(object) == 0 {
		return nil, true
	}
	var members map[string]json.RawMessage
	if !jsontext.Value(object).IsValid() || json.Unmarshal(object, &members) != nil { // such as where a name comes twice
		return nil, false
	}
	for _, name := range names {
		delete(members, name)
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, false
	}
	canonical = text
	return canonical, canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)) == nil
}
