package channels

// Interest is told which topics somebody has joined on this node. Its methods are called
// concurrently, with none of the hub's locks held, and must not block. Of two calls for
// one topic that came at about the same time the later may come first: what counts is
// how many there were of each.
type Interest interface {
	// Enter says that a topic has its first subscriber.
	Enter(topic string)
	// Leave says that a topic has lost its last one.
	Leave(topic string)
}

// SetInterest has topics told to i. Call it before anybody subscribes.
func (h *Hub) SetInterest(i Interest) { h.interest = i }
