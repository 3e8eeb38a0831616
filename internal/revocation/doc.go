// Package revocation keeps a copy of what the store has revoked in a node's memory, so
// that a token is judged without asking the store. The service has it loaded before it
// lets in the first client; what judges tokens asks [List.Check].
//
// # Guarantees
//
// [List.Run] asks the store for what has come since, each [Interval], whether or not
// anybody says that something has: [List.Hasten] makes it sooner, and depends on nobody.
// What has come is in the copy before [Config.Changed] is called. A copy that could not be
// compared with the store for [MaxAge] knows of nobody whether he is revoked any more:
// Check says so, the log does, and [List.Err].
//
// A revocation is never weakened, and ends by this node's clock. One takes the same memory
// whatever it names, of which there are [store.MaxRevocations] at most, and those that
// have ended in the last minute. A look takes the same time however many there are.
//
// # Shutdown
//
// Run returns when its context ends; it starts no goroutine.
package revocation
