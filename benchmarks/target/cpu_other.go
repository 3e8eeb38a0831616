//go:build !unix

package target

import "time"

// CPUTime is not known here.
func CPUTime() time.Duration { return 0 }
