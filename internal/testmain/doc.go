// Package testmain runs a package's tests so that one that passes passes again, however
// busy the machine is: its TestMain is
//
//	func TestMain(m *testing.M) { testmain.Main(m) }
//
// # Guarantees
//
// What property tests draw is the same in each run, unless -rapid.seed or RAPID_SEED say
// otherwise: with -rapid.seed and another number they look elsewhere.
//
// Goroutines that are left when all tests have passed fail the run, after [Patience] for
// them to end.
//
// # Shutdown
//
// [Main] ends the process.
package testmain
