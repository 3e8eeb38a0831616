// Package pgtest gives tests a real PostgreSQL server, by [pgserver].
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		url := pgtest.Schema(t) // a schema of this test's own
//		…
//	}
//
// [NewServer] starts one that a test may stop, kill and start again, or have
// fail over to a standby.
//
// Where PostgreSQL is not installed the test fails and says how to install it.
//
// # Guarantees
//
// A test that has its schema meets no other test: names, advisory locks and
// notifications of Sluice derive from tables in it. The server never runs as
// root and writes nothing durably.
//
// # Shutdown
//
// Main stops the shared server when the tests have run, and removes its
// directory; NewServer's ends with its test.
package pgtest
