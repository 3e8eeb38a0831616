// Package httpservertest has what tests of HTTP servers need: a listener in
// memory, whose connections have no buffer, and clients that stall in every
// phase of a request. With testing/synctest the time that they take costs none.
package httpservertest
