// Package ring has the queue that channels and their mailboxes keep in memory: it
// allocates only as it grows, and gives back what it does not need any more. It has
// no bound and no lock of its own: both are its owner's.
package ring
