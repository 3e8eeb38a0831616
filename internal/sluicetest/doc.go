// Package sluicetest runs a service for a test, and talks to it as a client
// would: in frames of the Phoenix protocol, version 2, written out as they are
// on the wire, so that a test reads like a conversation.
//
//	node := sluicetest.Run(t, serve)
//	ann := node.Connect("/socket", "")
//	ann.Send(`["1","1","room:1","phx_join",{}]`)
//	ann.Expect(`["1","1","room:1","phx_reply",{"status":"ok","response":{}}]`)
//
// # Guarantees
//
// Whatever does not come true within [Patience] fails the test. Nothing here
// is hurried: a test that passes does not depend on how fast the machine is.
//
// # Shutdown
//
// When the test ends, clients are gone first, then the service drains; an
// error of the drain fails the test.
package sluicetest
