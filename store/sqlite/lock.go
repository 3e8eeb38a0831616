package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// LockName is the file, in the log's folder, that says who serves from it.
const LockName = "sluice.lock"

// InUseError says that another process serves from the folder.
type InUseError struct {
	Dir    string
	Holder string // who it is, as it has written itself; empty if that cannot be read
}

func (e *InUseError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("sqlite: the folder %s is in use by %s", e.Dir, holder)
}

// Lock takes a folder for the process that serves from it, as which it names holder:
// two that deliver from one log would each believe that they are alone. The system
// gives it back when the process ends, however that is. Applications that insert into
// the outbox need no lock. The error is an [*InUseError] while another process has it.
func Lock(dir, holder string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("sqlite: create the folder of the log: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: lock the folder of the log: %w", err)
	}
	switch err := lock(file); {
	case errors.Is(err, errLocked):
		said, _ := io.ReadAll(io.LimitReader(file, 1<<10)) // it says who, if it can
		file.Close()
		return nil, &InUseError{dir, strings.TrimSpace(string(said))}
	case err != nil:
		file.Close()
		return nil, fmt.Errorf("sqlite: lock the folder of the log: %w", err)
	}
	// The file stays, or somebody could lock it while it is being removed.
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt([]byte(holder+"\n"), 0)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("sqlite: lock the folder of the log: %w", err)
	}
	return file.Close, nil
}

// errLocked is what lock returns while another process has the lock.
var errLocked = errors.New("locked")
