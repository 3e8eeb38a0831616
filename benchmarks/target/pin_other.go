//go:build !linux

package target

// pinned pins nothing: the system is not asked for that much.
func pinned(start func() error) (unpin func() error, err error) {
	return func() error { return nil }, start()
}
