// Package patterns finds, among patterns of topics in an order, the first that matches a
// topic: topic rules ask it at each join.
//
//	"room:lobby"  that topic alone
//	"room:*"      the topics that begin with room:
//
// # Guarantees
//
// What is found is what reading the list from its beginning would find. It takes as long
// with ten thousand patterns as with ten: a look-up for each length that the prefixes of
// patterns have and the topic reaches. Nothing is allocated.
//
// # Shutdown
//
// Nothing here has a goroutine.
package patterns
