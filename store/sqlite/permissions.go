package sqlite

import "os"

// Who may do what with the log's files: they hold what clients may see only with
// a token.
const (
	dirMode  os.FileMode = 0o700
	fileMode os.FileMode = 0o600
	others   os.FileMode = 0o007
)

// protect creates the file with nobody's rights but ours, which SQLite gives the
// files beside it too. What is there already is closed to others; a group that
// was let in stays. Errors are left to whoever opens the file, with more to say.
func protect(path string) {
	if file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode); err == nil {
		_ = file.Close()
		return
	}
	for _, each := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(each); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&others != 0 {
			_ = os.Chmod(each, info.Mode().Perm()&^others)
		}
	}
}
