package outbound

import "github.com/sluicehq/sluice/metrics"

// JoinReason is why a join was answered as it was, as the tag of a metric. There are
// these and no others: what an application tells its clients is free, and a tag must
// not be.
type JoinReason string

const (
	JoinOK JoinReason = "" // it was accepted

	// Rejected.
	JoinUnauthorized JoinReason = "unauthorized"      // by the topic's rule, or by the client's token
	JoinUnavailable  JoinReason = "unavailable"       // what decides could not be read; the client asks again
	JoinUnmatched    JoinReason = "unmatched_topic"   // nothing serves topics of that name
	JoinInvalidAfter JoinReason = "invalid_after"     // it wants to resume after what is no offset
	JoinInvalidLast  JoinReason = "invalid_last"      // it wants to begin with what is no number of events
	JoinForbidden    JoinReason = "forbidden"         // it wants to begin with some of the last events, where none may be had so
	JoinTooMany      JoinReason = "too_many_channels" // the socket has joined as many as it may
	JoinHandler      JoinReason = "handler"           // by an application's Channel, for a reason of its own

	// Crashed.
	JoinPanicked JoinReason = "panic" // the Channel panicked
	JoinFailed   JoinReason = "error" // the Channel returned an error that is no rejection, or an answer that is no JSON
)

var joinReasons = []JoinReason{JoinOK, JoinUnauthorized, JoinUnavailable, JoinUnmatched, JoinInvalidAfter, JoinInvalidLast, JoinForbidden, JoinTooMany, JoinHandler, JoinPanicked, JoinFailed}

// tags are those of the metric that counts joins.
func (r JoinReason) tags() []metrics.Tag {
	reason := metrics.Reason(string(r))
	switch r {
	case JoinOK:
		return []metrics.Tag{metrics.Status("ok")}
	case JoinPanicked, JoinFailed:
		return []metrics.Tag{metrics.Status("crashed"), reason}
	}
	return []metrics.Tag{metrics.Status("rejected"), reason}
}

// CountJoin counts the answer to the join that the mailbox is for.
func (m *Mailbox) CountJoin(r JoinReason) { m.counters.joins[r].Add(1) }

// CountJoin counts the answer to a join that has been turned down before it had a mailbox.
func (c *Connection) CountJoin(r JoinReason) { c.metrics.own.joins[r].Add(1) }
