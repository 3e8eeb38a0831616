package chaos

import "runtime"

// Budget is what a node may need, from its settings.
type Budget struct {
	Connections  int64
	MailboxBytes int64
	InboundBytes int64
	MessageBytes int64 // the largest message of a client
	Recent       int64
	FetchBytes   int64
	Payload      int64 // the largest
	Nodes        int64 // that hear each other; 0: it hears nobody
	RelayBytes   int64
	Presences    int64 // the most that there are, of all nodes
}

// What a budget counts besides.
const (
	budgetBase       = 48 << 20 // the program, its runtime, pools and metrics
	budgetConnection = 32 << 10 // buffers, goroutines, the handlers' state
	budgetReplays    = 4 << 20  // pages on their way to clients: a quarter of recent, or at least this
	budgetPages      = 4        // that the line may hold: two, one that is being read, and one read ahead
	budgetStale      = 16       // presences of one, while nobody knows that its sessions have ended
	budgetFormats    = 3        // wire formats that a segment is encoded in: v1, v2, long-polls
	budgetBus        = 80 << 20 // messages to and from the bus, before they are sent or handled
	budgetRoute      = 16 << 20 // those for another node that is slow
	budgetHanded     = 16 << 20 // POSTs of polls from other nodes
	budgetQueued     = 4 << 20  // rounds that wait to be published to other nodes
	budgetMissed     = 16 << 20 // changes that wait while presences are fetched
	budgetPresence   = 600      // who is there, with a list of all
	budgetGarbage    = 2        // Go collects when the heap is twice what lives on (GOGC=100)
)

// Bytes is the bound:
//
//	base + garbage × ( connections × (connection + 3/2 × mailbox bytes + inbound bytes + message bytes + payload)
//	                 + recent + replays
//	                 + pages × (fetch bytes + payload) × (1 + formats)
//	                 + of a cluster: bus + (nodes - 1) × (route + missed changes) + handed POSTs + queued rounds + relay bytes + presences × presence )
//
// What a topic's flush-interval collects comes beside a connection's bytes, half as much at
// most. A mailbox takes one message of any size when it is empty, hence the payload
// beside its bytes; a message that is being read is not inbound yet. What is on the
// line is held as it was read, and as it is encoded; a page ends behind the payload
// that exceeds it.
func (b Budget) Bytes() int64 {
	return budgetBase + budgetGarbage*(b.Connections*(budgetConnection+b.MailboxBytes*3/2+b.InboundBytes+b.MessageBytes+b.Payload)+
		b.Recent+budgetReplays+budgetPages*(b.FetchBytes+b.Payload)*(1+budgetFormats)+b.cluster())
}

// cluster is what it needs for other nodes.
func (b Budget) cluster() int64 {
	if b.Nodes == 0 {
		return 0
	}
	return budgetBus + (b.Nodes-1)*(budgetRoute+budgetMissed) + budgetHanded + budgetQueued + b.RelayBytes + b.Presences*budgetPresence
}

// budget is that of each of the run's nodes.
func (c *Chaos) budget() Budget {
	b := Budget{
		Connections:  int64(c.maxConnections()),
		MailboxBytes: mailboxBytes,
		InboundBytes: inboundBytes,
		MessageBytes: messageBytes,
		Recent:       recentBytes,
		FetchBytes:   fetchBytes,
		Payload:      maxPayload,
	}
	if c.clustered() {
		b.Nodes, b.RelayBytes, b.Presences = int64(c.Nodes), relayBytes, int64(c.watcherCount()*hereTopics*budgetStale)
	}
	return b
}

// bound is the budget in bytes, with the overhead.
func (c *Chaos) bound() int64 {
	return int64(float64(c.budget().Bytes()) * max(1, c.Overhead))
}

// maxConnections is what a node accepts: all clients, and the sessions of
// long-polls that were left and have not timed out yet.
func (c *Chaos) maxConnections() int { return 4 * (c.Sockets + c.watcherCount()) }

// memoryTold says whether the system tells what a process needs.
const memoryTold = runtime.GOOS == "linux"
