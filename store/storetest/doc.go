// Package storetest is the suite that every [store.Log] passes: what the
// interface promises, put to the test against a real database.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Harness { … })
//	}
//
// Each case gets a harness of its own, with an empty store that meets no
// other. The suite writes as applications do, with SQL on connections of its
// own, and reads through the log.
//
// # Guarantees
//
// No case depends on the machine's speed: it waits for what must happen, and
// only the test binary's own timeout ends a wait in vain. Random delays before
// commits vary the interleaving, not the outcome.
//
// # Shutdown
//
// Every case stops what it has started before it ends. Check for leaked
// goroutines in TestMain.
package storetest
