package reload

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
)

// Kind says who may read a file that access depends on.
type Kind int

// The kinds of files.
const (
	Public Kind = iota // anyone
	Secret             // nobody else
)

// Permissions of all others on a machine.
const (
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002
)

// ReadFile reads a file that access depends on. One that anybody may write
// is refused: who may write it lets himself in. A secret that anybody may read
// is warned of and no more, since container platforms mount secrets that way.
func ReadFile(path string, kind Kind, logger *slog.Logger) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" { // where these bits say nothing
		switch mode := info.Mode(); {
		case !mode.IsRegular(): // a device or pipe, such as a shell's <(…)
		case mode.Perm()&othersWrite != 0:
			return nil, fmt.Errorf("everybody may write it (%v): chmod o-w %s", mode.Perm(), path)
		case kind == Secret && mode.Perm()&othersRead != 0:
			logger.Warn("a secret is readable by everybody on this machine", "file", path, "mode", mode.Perm().String(), "hint", "chmod 600")
		}
	}
	return io.ReadAll(file)
}
