package baseline

import (
	"os"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m))
}
