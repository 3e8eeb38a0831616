// Package timeline remembers what a node did in the last minutes, second by second,
// so that whoever comes to look sees how it got to where it is: what was routed and
// pushed, how long delivery took, and what each stage of the line was at. The front door
// makes a [Timeline] and runs it; the admin API shows it.
//
// # Guarantees
//
// It reads metrics and changes none. It keeps [Kept] samples, of a fixed size each,
// and of stages only the last look. Time that it was not scheduled for makes a sample
// longer, and rates are taken over the time that there was.
//
// # Shutdown
//
// [Timeline.Run] ends with its context.
package timeline
