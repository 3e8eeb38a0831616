package postgres

import "time"

// In tests the floor rises whenever it may, and nothing that it passes over by
// mistake is found again.
func init() { watchPause, sweepPause = 0, time.Hour }
