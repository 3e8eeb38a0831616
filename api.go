package sluice

import (
	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/store"
)

// What an application's own channels are written with: the types and answers
// of package channels, at the front door.
type (
	// Channel is what happens on a topic, for one client.
	Channel = channels.Channel
	// Factory makes the Channel of one join.
	Factory = channels.Factory
	// InHandler is a Channel that its client may push events to.
	InHandler = channels.InHandler
	// OutHandler is a Channel that takes a look at events before its client
	// gets them.
	OutHandler = channels.OutHandler
	// InfoHandler is a Channel that gets messages from the application, its
	// timers among them.
	InfoHandler = channels.InfoHandler
	// Reviewer is a Channel that judges its client again once the client's
	// access has changed.
	Reviewer = channels.Reviewer
	// Terminator is a Channel that wants to know when it ends.
	Terminator = channels.Terminator
	// Context is a channel's hold on the world.
	Context = channels.Context
	// ReplyTo is a request to be answered later.
	ReplyTo = channels.ReplyTo
	// Timer is a message to come.
	Timer = channels.Timer
	// Socket describes the connection that a channel belongs to.
	Socket = channels.Socket
	// Payload is the content of a message from or to one client.
	Payload = channels.Payload
	// Result is what a handled event leads to: a reply, an end, or neither.
	Result = channels.Result
)

// What a connect hook is written with: the types of package socket, at the
// front door.
type (
	// ConnectFunc decides who may connect, and names the socket.
	ConnectFunc = socket.ConnectFunc
	// ConnectRequest is what a hook may judge a client by.
	ConnectRequest = socket.ConnectRequest
	// Params are the parameters of a client's URL.
	Params = socket.Params
	// Refusal is the error with which a hook chooses the status that a client
	// is refused with. Any other error refuses it with 403.
	Refusal = socket.Refusal
)

// What [Service.Revoke] takes, and refuses it with.
type (
	// Revocation says which tokens count no more, and for how long.
	Revocation = store.Revocation
	// RevocationError says what is wrong with one.
	RevocationError = store.RevocationError
)

// What tokens can be revoked by.
const (
	ClaimSubject = store.ClaimSubject
	ClaimTokenID = store.ClaimTokenID
)

// ErrTooManyRevocations is returned where as many are in force as there may be.
var ErrTooManyRevocations = store.ErrTooManyRevocations

// What a channel says about its delivery, in the call of [Context.SetOptions]:
// the types and rules of package channels, at the front door.
type (
	// Options say how what goes to one client is kept, thinned out and
	// counted.
	Options = channels.Options
	// Overflow is what happens when a mailbox is full.
	Overflow = channels.Overflow
	// Dedupe says which events are withheld as repeats of others.
	Dedupe = channels.Dedupe
	// NameError says that a text names no such rule.
	NameError = channels.NameError
)

// The rules for a full mailbox.
const (
	CatchUp    = channels.CatchUp
	DropOldest = channels.DropOldest
	DropNewest = channels.DropNewest
	Latest     = channels.Latest
	Disconnect = channels.Disconnect
)

// The rules for repeats.
const (
	DedupeOffset  = channels.DedupeOffset
	DedupeKey     = channels.DedupeKey
	DedupePayload = channels.DedupePayload
)

// TagStyle is how metrics sent to StatsD carry tags.
type TagStyle = metrics.TagStyle

// The styles that there are.
const (
	TagsDatadog  = metrics.TagsDatadog
	TagsInflux   = metrics.TagsInflux
	TagsGraphite = metrics.TagsGraphite
)

// What a program publishes and broadcasts, by [Service.Publish] and
// [Service.Broadcast], and what they return.
type (
	// Event is what is published: to a topic, with a payload that marshals to a JSON
	// object. Topic and Event are 1 to 255 bytes without control characters.
	Event struct {
		Topic   string
		Event   string
		Payload any
		// Key is what the event is about, 1 KiB at most: for the rules "latest" and
		// dedupe by key. Nil: none.
		Key []byte
	}
	// Binary is a payload that is no JSON; the log holds none.
	Binary = channels.Binary
	// InvalidError says which event cannot be published, or broadcast, and why.
	InvalidError = store.InvalidError
)

// SocketInfo describes an open connection: what [Service.Sockets] lists.
type SocketInfo = socket.SocketInfo

// ErrNotOpen is returned by [Service.Publish] until [Service.Run] has opened the log.
var ErrNotOpen = channels.ErrNoLog

// ErrClusterAway is wrapped by what [Service.Broadcast], [Context.Broadcast] and
// [Context.BroadcastFrom] return while this node has no connection with the bus to the
// others: nothing was sent then, not to this node's clients either.
var ErrClusterAway = cluster.ErrAway

// ErrClusterBusy is wrapped by what these return while more waits to be sent to the other
// nodes than there is room for: nothing was sent then, either. Try again a little later.
var ErrClusterBusy = cluster.ErrBusy

// UnreachedError names the nodes that could not be told, where all others were.
type UnreachedError = cluster.UnreachedError

// OK answers an event: done, with a response or nil.
func OK(response any) Result { return channels.OK(response) }

// Error answers an event: not done, and why.
func Error(response any) Result { return channels.Error(response) }

// NoReply leaves an event unanswered, for now or for good.
func NoReply() Result { return channels.NoReply() }

// Stop ends the channel: normally with nil, or with the error that it could
// not go on with, after which the client joins again.
func Stop(reason error) Result { return channels.Stop(reason) }

// Reject is the error with which Join turns a client down for a reason that it
// is told.
func Reject(reason string) error { return channels.Reject(reason) }

// Reason is the usual response of an error: {"reason": "…"}.
func Reason(reason string) any { return channels.Reason(reason) }
