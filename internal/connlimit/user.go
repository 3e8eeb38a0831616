package connlimit

import "sync"

// Users bounds what each user holds open, wherever it connects from.
type Users struct {
	max int // immutable

	mu      sync.Mutex
	sockets map[string]int // guarded by mu; users that hold nothing are not in it
}

// NewUsers allows each user so many sockets, 0 for any number.
func NewUsers(max int) *Users { return &Users{max: max, sockets: map[string]int{}} }

// Reserve makes room for a socket of a user, by its id. Release gives it back; it is nil where
// nothing is counted, as of who has no id.
func (u *Users) Reserve(id string) (release func(), ok bool) {
	if u.max <= 0 || id == "" {
		return nil, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sockets[id] >= u.max {
		return nil, false
	}
	u.sockets[id]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.sockets[id]--; u.sockets[id] <= 0 {
			delete(u.sockets, id)
		}
	}, true
}
