// Package target is what scenarios measure: servers that are started for a run,
// each where nothing else is kept, and ended after it.
//
//	Server ── Start ──▶ Endpoint: where its clients and publishers connect,
//	 │                            and which process its CPU time is that of
//	 ├ Sluice, or any Child   a process of its own
//	 ├ InProcess              this one
//	 └ Remote                 one that others run
//
// A [Process] is started and killed again and again on the same addresses, for
// what strikes nodes. [UsageOf] asks the system what a process uses.
//
// # Guarantees
//
// A server that was started leaves nothing behind: its [Scratch] is a schema or a
// folder that nobody else uses. It listens on loopback, and is given the flags
// that it is told, and none of this process's settings.
//
// # Shutdown
//
// [Endpoint.Stop] drains the server, waits for its end and removes its scratch.
// What does not end when it is asked to is killed, and that is an error.
package target
