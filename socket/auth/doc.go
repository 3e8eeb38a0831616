// Package auth says who a client's token makes it, and what it may join: it is the
// connect hook that a service has by itself, and what judges an open socket again when
// its token is renewed or the keys change. It verifies JSON Web Tokens (RFC 7519) by
// the advice of RFC 8725.
//
// # Guarantees
//
// A token is let in only if a key of the present set verifies it by an algorithm that
// the key is for and that is accepted. A key that is not understood is left out, and a
// set without any is refused: what was in force stays so. No error tells more of a
// token than what is wrong with it.
//
// A token that has been revoked counts as little as one with a bad signature, wherever it
// is brought; one that does not say when it was issued counts as older than any that does.
// While it is not known which are revoked, nobody is let in by a token, renews it or joins.
//
// # Shutdown
//
// It starts no goroutine.
package auth
