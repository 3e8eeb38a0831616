package sqlite

import (
	"errors"
	"io/fs"
	"os"

	"github.com/sluicehq/sluice/store"
)

// checkFile refuses to go on where the file is no longer the one that was opened:
// what is written to a file that was removed is lost, and nobody is told.
func (l *Log) checkFile() error {
	now, err := os.Stat(l.path)
	if err == nil && (l.file == nil || os.SameFile(now, l.file)) {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = errors.New("the file was removed or replaced while it was open")
	}
	return &store.UnavailableError{Op: "sqlite: check the log", Addr: l.path, Hint: "stop the program, put the folder back from a backup or leave it away to begin anew, and start it", Err: err}
}
