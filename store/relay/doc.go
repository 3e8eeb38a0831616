// Package relay is a log that is read through the bus between nodes. The node that
// sequences a log publishes pages of what it has committed, and the others read from
// the pages that they have received, so that the database is read about once, however
// many nodes there are.
//
//	sequencer ──commit──▶ Log (of the node that sequences) ──pages──▶ bus ──▶ ring of each other node ──Fetch──▶ stages
//	                                                                     what is not in the ring: the database
//
// [New] wraps a [Source], such as the log in PostgreSQL. Fetch and Wait are the
// relay's; all else is passed on. It hears of erasures, of what is trimmed and of new
// epochs as whoever uses it asks the log for them.
//
// # Guarantees
//
//   - Fetch returns what the log would have returned at some time since its epoch, its
//     trimmed part and its erasures were last asked for: by Head, Extent or Erasures
//     of this Log. Nothing that was erased comes out of the ring once that was seen.
//   - An event is published only after its commit was answered, so none is ever read
//     that is not in the log. In an epoch an offset is one event's: a page that comes
//     late, twice or out of order, or from a node that no longer sequences, is at worst
//     of no use.
//   - Nothing depends on a page having arrived. What does not follow what the ring holds
//     begins it anew, and what is in between is read from the database.
//   - The ring holds [Config].Bytes at most, its events' headers included. What waits to
//     be published holds as much as maxQueued, or else one read of the log: beyond that
//     it is not published, and counted.
//   - The sequencer never waits for the bus, nor the bus for a node.
//
// # Shutdown
//
// Run returns when the log's own Run has, and what it has started with it: nothing is
// published or received after that. Then Close.
package relay
