package relay

import "time"

// Patient is a Config by which others are counted on, and reads for them waited for, as long
// as a machine may take that has much else to do.
func Patient(c Config) Config {
	c.Grace, c.healthyFor, c.stalled = time.Minute, time.Hour, time.Hour
	return c
}
