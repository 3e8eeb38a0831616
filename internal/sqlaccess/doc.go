// Package sqlaccess asks a function of the application's database who may join a topic:
// (topic text, claims jsonb) returns boolean. The front door makes one [Asker] where rules
// for topics have one to ask; each rule says which.
//
// Each question is a transaction of its own, in one round trip that a transaction pooler
// passes on to one server: as the role that was given, read only, with row-level security on
// and a statement_timeout, and rolled back at the end, so that nothing that the function sets
// is left for the next one.
//
// # Guarantees
//
// It fails closed: nothing but true lets anybody in. False and NULL are a no, and so is a
// topic or a claim that the database cannot hold ([ErrUnfit]). All else is [Unavailable], with
// a [Fault] that is counted, and told in the log once in a while with what to do about it.
// How much is asked at a time is bounded, and what is remembered: see package verdict. The
// connections are its own, as many as there are questions at a time: a function that hangs
// costs these alone, and each for little longer than the timeout.
//
// # Shutdown
//
// [Asker.Open] starts the goroutines of the connection pool, [Asker.Close] joins them once
// nothing is being asked.
package sqlaccess
