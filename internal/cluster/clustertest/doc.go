// Package clustertest is the bus between nodes for tests: a network in memory whose
// faults a test sets, and the suite that every [cluster.Bus] passes.
//
//	net := clustertest.NewNet(t, 1)
//	a, b := net.Join("a"), net.Join("b") // two buses, each to be run
//	net.SetFaults(clustertest.Faults{Drop: 0.1, Repeat: 0.1})
//	net.Cut("a", "b")
//	net.Advance(cluster.NodeTimeout) // now they no longer know each other
//
// # Guarantees
//
// A network without faults loses, repeats and delays nothing but what is beyond
// [cluster.Pending], and keeps the order that [cluster.Bus] promises. Its clock stands
// still but for [Net.Advance], and so nothing is delayed, and no node forgotten, by
// chance. What faults strike is drawn from the seed, in the order of the calls.
//
// # Shutdown
//
// A bus has ended when its Run has: [Net.Kill] ends one as a crash does. A network has
// no goroutine of its own.
package clustertest
