// Package verdict asks others who may do what, and bounds the asking: the application's
// hooks, or a function of the database. However many clients come at once, whoever is asked
// gets so many questions at a time; some more wait for their turn, and the rest is told at
// once that nothing can be said now.
//
// # Guarantees
//
// An error never stands for a yes. Only what was allowed is remembered, for as long as
// [Limits] says and no longer than the answer itself, and what is remembered of a group is
// dropped by [Asker.Forget]: an answer that was on its way then is given to who waited for
// it, and not remembered. Questions with the same key that come while it is asked share the
// answer. No lock is held while something is asked.
//
// The memory is bounded: MaxInFlight questions and [Asker.MaxWaiting] more, and
// [MaxRemembered] bytes of answers, of which the oldest go first.
//
// # Shutdown
//
// It starts no goroutine: who asks waits, until the context of the question ends.
package verdict
