//go:build !unix

package target

import "os"

// Signals: where there are no others, ending is all that can be asked for.
var (
	terminate = os.Kill
	hang      = os.Kill
	goOn      = os.Kill
)
