// Package e2e holds Sluice to its word from outside: it builds the program,
// runs it beside a real Postgres, and looks on as its users do, through the
// stock phoenix package under Node, a browser, SQL, HTTP and the commands.
//
// Nothing of Sluice's own code is called here, so that a test cannot share a
// mistake with what it tests; it reads the log table and the wire instead. Chaos
// and the slow client are scenarios of package benchmarks, whose checker shares
// no code with the service either.
//
// The clients under node are driven by JSON lines: see node/client.mjs. What
// an application brings, internal/application brings.
//
// # The protocol
//
// The lines of the protocol's document that a client can see each have a test
// of that name: TestConformance and TestApplication let the stock clients see
// them, on every transport and in every version; TestWire, TestConnecting,
// TestLongPoll and their neighbours speak for themselves, byte by byte, where
// no stock client would. TestRFC6455 misbehaves.
//
// # Guarantees
//
// Nothing is skipped: a program that is missing fails the tests, which then
// say what installs it. Nothing waits by sleeping: every wait is for a line,
// a message or an answer, and ends after patience at the latest.
//
// # Shutdown
//
// Every process that a test starts is ended by that test's clean-up, which
// fails the test when the service does not stop cleanly, or when its race
// detector spoke up.
package e2e
