package stages

import (
	"fmt"
	"testing"
)

// discreet is a reason that has names in it.
type discreet struct{}

func (discreet) Error() string   { return "process 7 on host db.internal has it" }
func (discreet) Outline() string { return "another has it" }

func TestReasonsOutlineThemselves(t *testing.T) {
	t.Parallel()
	if got := Outline(fmt.Errorf("waiting: %w", discreet{})); got != "another has it" {
		t.Errorf("outlined as %q", got)
	}
}
