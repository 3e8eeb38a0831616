package pipeline

import "time"

// Observer watches a topology: metrics, mostly. A nil one costs nothing.
type Observer interface {
	// Stage is called once for each place where a stage stands, before events move. Lanes
	// of one name may share what it returns; nil leaves that stage unwatched.
	Stage(name string) Recorder
}

// Recorder is told what a stage did, once per batch. It is called by the goroutine
// that did it, by several at once where stages share a name, and must not block.
type Recorder interface {
	Record(Report)
}

// Report is one step of a stage. What does not apply is zero.
type Report struct {
	In, Out   int // events
	Failed    int // events given up
	Discarded int // events that a buffer had no room for, or a key discarded
	Retries   int // attempts that failed and were followed by another

	Took        time.Duration // in the handler, all attempts
	Wait        time.Duration // the batch waited for this stage, since the one before was done with it
	AwaitEvents time.Duration // the stage waited for events
	AwaitDemand time.Duration // a producer's handler waited for demand
	Levels      bool          // Buffered and Demand are set: a producer's
	Buffered    int           // events waiting in buffer and queues
	Demand      int           // events that could be placed at once
}
