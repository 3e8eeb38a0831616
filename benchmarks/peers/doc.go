// Command peers measures Sluice beside what else pushes to browsers: a server
// on the centrifuge library, which is what Centrifugo is made of, and npm's ws
// and Socket.IO. README.md says how each is configured, and why.
//
//	go run . --rounds 3 --json peers.json --plots pictures --markdown results.md
//
// It builds the servers from this module and the checkout around it, and puts
// each through the same [trial]s, with the clients, publishers and scenarios of
// package benchmarks, which sluice bench has too:
//
//	rounds → trials → contenders: a fresh process on a core of its own
//	                     └─▶ scenario ──▶ outcome ──▶ tables, pictures, a page
//
// # Guarantees
//
// All get the same payloads by the same requests, and all deliveries are
// checked: what was lost, came twice or out of order stands beside the figures,
// and makes the exit status 1.
//
// Servers are compared within a round only, one right after the other: a figure
// is the median of the rounds, and a ratio the median of the rounds' ratios.
//
// # Shutdown
//
// Every server is ended before the next one is started. An interrupt ends the
// one that runs, and reports nothing.
package main
