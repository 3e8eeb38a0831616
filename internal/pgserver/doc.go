// Package pgserver starts PostgreSQL servers of one's own for tests and
// scenarios: the operating system's programs on free loopback ports, with empty
// data directories.
//
//	server, err := pgserver.New()
//	…
//	defer server.Remove()
//	conn, err := pgx.Connect(ctx, server.URL())
//
// A server can be stopped, killed and started again. One that has a standby
// ([Server.Mirror]) can also fail over to it ([Server.Promote]).
//
// # Guarantees
//
// The server never runs as root: for root it runs as the user postgres, else
// nobody. Unless its settings say otherwise it writes nothing durably, and so says
// nothing about speed on a disk. While it is down no other server is given its port.
// What was committed while a standby is attached is there after its promotion.
// Where PostgreSQL is not installed New says how to install it.
//
// # Shutdown
//
// Remove stops the server and its standby and removes their directory. A server
// whose process dies is stopped by the kernel on Linux, and left behind elsewhere.
// Its directory is removed by the next process that starts one.
package pgserver
