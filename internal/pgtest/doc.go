// Package pgtest gives tests a real PostgreSQL server: the one of the
// operating system, started on a free loopback port with an empty data
// directory.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		url := pgtest.Schema(t) // a schema of this test's own
//		…
//	}
//
// [NewServer] starts one that a test may stop, kill and start again.
//
// Where PostgreSQL is not installed the test fails and says how to install it.
//
// # Guarantees
//
// A test that has its schema meets no other test: names, advisory locks and
// notifications of Sluice derive from tables in it. The server never runs as
// root: for root it runs as the user postgres, else nobody. It writes nothing
// durably, and so says nothing about speed on a disk.
//
// # Shutdown
//
// Main stops the shared server when the tests have run, and removes its
// directory. A server whose test process dies is stopped by the kernel; the
// directory is removed by the next test process that starts a server.
package pgtest
