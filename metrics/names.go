package metrics

import "cmp"

// Name is what a metric is called in StatsD, under the prefix. In Prometheus
// it is sluice_ and the name with underscores, and ends in _total for
// counters and _seconds for timings.
type Name string

// Counters, explained in [Meaning].
const (
	EventsFetched     Name = "events.fetched"
	EventsRouted      Name = "events.routed"
	EventsAppended    Name = "events.appended"
	EventsSequenced   Name = "events.sequenced"
	EventsRejected    Name = "events.rejected"
	MessagesPushed    Name = "messages.pushed"
	MessagesDuplicate Name = "messages.duplicate"
	MessagesDropped   Name = "messages.dropped"
	MessagesReplayed  Name = "messages.replayed"
	MessagesRefused   Name = "messages.refused"
	MessagesReceived  Name = "messages.received"
	BytesPushed       Name = "bytes.pushed"
	Catchups          Name = "catchups"
	SocketsOpened     Name = "sockets.opened"
	SocketsClosed     Name = "sockets.closed"
	SocketsRefused    Name = "sockets.refused"
	LongpollHanded    Name = "longpoll.handed"
	LongpollHeld      Name = "longpoll.held"
	Joins             Name = "joins"
	HTTPRequests      Name = "http.requests"
	StageErrors       Name = "stage.errors"
	AdminGuesses      Name = "admin.guesses"
	PresenceRefused   Name = "presence.refused"
	PresenceRejected  Name = "presence.rejected"
	PresenceFetches   Name = "presence.fetches"
	HookAnswers       Name = "hook.answers"
	WebhookRequests   Name = "webhook.requests"
	WebhookEvents     Name = "webhook.events"
	WebhookSkipped    Name = "webhook.skipped"
	ConsumerLost      Name = "consumer.lost"

	BroadcastsSent     Name = "broadcasts.sent"
	BroadcastsReceived Name = "broadcasts.received"
	BroadcastsDropped  Name = "broadcasts.dropped"
	BroadcastsLost     Name = "broadcasts.lost"
	ClusterDropped     Name = "cluster.dropped"
	ClusterGone        Name = "cluster.gone"
	RelayPages         Name = "relay.pages"
	RelayGaps          Name = "relay.gaps"
	RelayHits          Name = "relay.hits"
	RelayMisses        Name = "relay.misses"
	RelayDropped       Name = "relay.dropped"
	RelayUnpublished   Name = "relay.unpublished"
)

// Gauges, explained in [Meaning].
const (
	Up             Name = "up"
	Ready          Name = "ready"
	BuildInfo      Name = "build.info"
	Sockets        Name = "sockets"
	Channels       Name = "channels"
	Topics         Name = "topics"
	LogHead        Name = "log.head"
	LogLag         Name = "log.lag"
	OutboxRows     Name = "outbox.rows"
	OutboxAge      Name = "outbox.age"
	Leader         Name = "leader"
	StageDemand    Name = "stage.demand"
	StageBuffer    Name = "stage.buffer"
	ClusterNodes   Name = "cluster.nodes"
	MailboxDepth   Name = "mailbox.depth"
	Presences      Name = "presences"
	Revocations    Name = "revocations"
	RevocationsAge Name = "revocations.age"
	HookInFlight   Name = "hook.inflight"
	HookWaiting    Name = "hook.waiting"
	ConsumerLag    Name = "consumer.lag"

	WebhookFailing  Name = "webhook.failing"
	WebhookDisabled Name = "webhook.disabled"

	BroadcastSubjects Name = "broadcasts.subjects"
	RelayAge          Name = "relay.age"
)

// Timings, explained in [Meaning].
const (
	StageTime    Name = "stage.time"
	StageWait    Name = "stage.wait"
	DeliveryTime Name = "delivery.time"
	JoinTime     Name = "join.time"
	ReplayTime   Name = "replay.time"
	AppendTime   Name = "append.time"
	SequenceTime Name = "sequence.time"
	HTTPTime     Name = "http.time"
	HookTime     Name = "hook.time"
	WebhookTime  Name = "webhook.time"
)

// Meaning says what each metric counts or times, for the help text of
// Prometheus and whoever makes a page of them.
var Meaning = map[Name]string{
	EventsFetched:     "Events read from the log.",
	EventsRouted:      "Events handed to the hub, watched or not.",
	EventsAppended:    "Events that this node has written to the store, for its clients and by its API.",
	EventsSequenced:   "Events that this node has moved from the outbox to the log, while it led.",
	EventsRejected:    "Rows of the outbox set aside in sluice_rejected, by reason.",
	MessagesPushed:    "Messages written to sockets, one per subscriber and event.",
	MessagesDuplicate: "Messages withheld because they had been sent.",
	MessagesDropped:   "Messages shed, by reason.",
	MessagesReplayed:  "Messages pushed out of the log or the recent ring, to channels that were behind.",
	MessagesRefused:   "Pushes of clients refused for what they are, by reason.",
	MessagesReceived:  "Messages that clients have sent, heartbeats among them.",
	BytesPushed:       "Bytes written to sockets, and in answers to long-polls.",
	Catchups:          "Times a channel fell behind and caught up.",
	SocketsOpened:     "Connections accepted.",
	SocketsClosed:     "Connections closed, by reason.",
	SocketsRefused:    "Connections refused, by reason.",
	LongpollHanded:    "Requests of long-polls handed over to the nodes that hold their sessions, by result.",
	LongpollHeld:      "Requests of other nodes about long-polls whose sessions are held here.",
	Joins:             "Joins answered, by status and, of those that were not accepted, reason.",
	HTTPRequests:      "Requests answered, by route and status; those that became sockets count in sockets.opened.",
	StageErrors:       "Failures of a stage, by stage.",
	AdminGuesses:      "Requests to the admin listener with a wrong token.",
	PresenceRefused:   "Presences of this node that are not shown, by reason.",
	PresenceRejected:  "Messages about other nodes' presences, or presences in them, that are left out, by reason.",
	PresenceFetches:   "Times that all presences of another node were fetched.",
	Presences:         "Presences that this node knows, of all nodes.",
	ClusterDropped:    "Messages between nodes that were lost or counted for nothing, by reason.",
	ClusterGone:       "Nodes that are no longer there, by reason: silent, or stopped, as they said themselves.",
	ClusterNodes:      "Nodes that this one knows to be there, itself included.",
	Up:                "1 for as long as the node runs.",
	Ready:             "1 while the node is ready, as GET /readyz says it, else 0.",
	BuildInfo:         "1; its tags say which version of the program runs.",
	Sockets:           "Open connections, by transport.",
	RelayPages:        "Pages of the log published to other nodes, or received from them, by status.",
	RelayGaps:         "Times that pages of the log were missing between those that came, by reason; what they held is read from the database.",
	RelayHits:         "Reads of the log that were answered by pages of other nodes.",
	RelayMisses:       "Reads of the log that the database answered with events.",
	RelayDropped:      "Pages of the log that were received and not used, by reason.",
	RelayUnpublished:  "Events of the log that were not published to other nodes, which read them from the database, by reason.",
	Channels:          "Joined channels.",
	Topics:            "Topics with at least one subscriber.",
	LogHead:           "Offset of the last event of the log that this node knows.",
	LogLag:            "Events between the log's head and this node's routed position.",
	OutboxRows:        "Committed rows of the outbox that wait to be sequenced; an estimate beyond a thousand.",
	OutboxAge:         "Seconds that the oldest of these has waited.",
	Leader:            "1 while this node sequences the log, else 0. Over all nodes the sum is 1; through a transaction pooler all nodes do, in turn.",
	StageDemand:       "Events asked for and not delivered yet, by stage.",
	StageBuffer:       "Events waiting in a stage, by stage.",
	MailboxDepth:      "Messages in the mailbox that was fullest within the last ten to twenty seconds.",
	Revocations:       "Revocations of tokens that this node knows.",
	RevocationsAge:    "Seconds since this node saw the store's revocations; above 30 it refuses clients with tokens.",
	RelayAge:          "Seconds since a page of the log, or a mark, came from the node that publishes them; 0 on that node.",
	StageTime:         "Working time of a stage for one batch, by stage.",
	StageWait:         "Time that a batch waited before a stage, by stage.",
	DeliveryTime:      "From the row's insert to the write to a socket, without replays.",
	JoinTime:          "From a join's arrival to its reply.",
	ReplayTime:        "Duration of one catch-up.",
	AppendTime:        "From an append's call to its being durable.",
	SequenceTime:      "Duration of one round that moved events from the outbox to the log.",
	HookAnswers:       "Questions to hooks and to functions for access, by hook and by what came of them: allowed, denied, remembered, or what was wrong.",
	HookInFlight:      "Questions that are being asked, by hook.",
	HookWaiting:       "Questions that wait for their turn to be asked, by hook.",
	HookTime:          "From a question to its answer, by hook.",
	WebhookRequests:   "Requests that webhooks have made, by consumer and what came of them: accepted, status (another than 2xx), timeout, unreachable.",
	WebhookEvents:     "Events that webhooks have sent and had accepted, by consumer.",
	WebhookSkipped:    "Events that webhooks have left out, not accepted within give-up-after, by consumer.",
	WebhookTime:       "From a webhook's request to its answer, by consumer.",
	WebhookFailing:    "Seconds since this node's requests of a webhook fail, 0 while they do not, by consumer.",
	WebhookDisabled:   "1 on the node that would send a webhook that is disabled, by consumer.",
	ConsumerLag:       "Events of the log behind a webhook's position, on the node that sends it, by consumer.",
	ConsumerLost:      "Events that a webhook's position has missed because they are no longer kept, by consumer.",
	HTTPTime:          "From a request's arrival to the end of its answer, by route. Long-polls wait for something to say.",

	BroadcastsSent:     "Broadcasts sent to other nodes, once whatever their number.",
	BroadcastsReceived: "Broadcasts that came from other nodes.",
	BroadcastsDropped:  "Messages of other nodes with broadcasts in them that were dropped, by reason.",
	BroadcastsLost:     "Messages with broadcasts in them that other nodes have sent and the bus has lost.",
	BroadcastSubjects:  "Subjects of the bus, of all for broadcasts, that this node listens to.",
}

// Tag qualifies a metric. Tags are never made from topics, users or anything
// else that clients can make more of: each value costs memory for ever.
type Tag struct{ Key, Value string }

// Stage tags a metric with the stage that it speaks of.
func Stage(name string) Tag { return Tag{"stage", name} }

// Route tags a metric with the pattern that a request was routed by; "/" stands for
// none.
func Route(pattern string) Tag { return Tag{"route", cmp.Or(pattern, "/")} }

// Transport tags a metric with how a client is connected.
func Transport(name string) Tag { return Tag{"transport", name} }

// Hook tags a metric with what was asked: connect, join, push or sql.
func Hook(name string) Tag { return Tag{"hook", name} }

// Consumer tags a metric with the name of a webhook of the configuration.
func Consumer(name string) Tag { return Tag{"consumer", name} }

// Reason tags a metric with why something happened.
func Reason(why string) Tag { return Tag{"reason", why} }

// Status tags a metric with how something ended.
func Status(how string) Tag { return Tag{"status", how} }
