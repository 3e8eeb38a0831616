package lease

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
)

// Keys of a holder's text, which is written as a URL's query is, so that it can be
// read in the table too.
const (
	keyID   = "id"   // of one lease, drawn at random
	keyRun  = "run"  // of one start of a process, drawn at random
	keyHost = "host" // its name
	keyPID  = "pid"
	keyBoot = "boot" // of the machine's kernel, new at each start; absent where there is none to be known
	keyPIDs = "pids" // the namespace that the process id is of, likewise
)

// run tells this start of this process from all others.
var run = rand.Text()

// living are the holders of this process that have not ended, by their ids.
var living sync.Map

// newHolder is one that lives until it is ended.
func newHolder() (holder string, end func()) {
	id := rand.Text()
	v := url.Values{keyID: {id}, keyRun: {run}, keyPID: {strconv.Itoa(os.Getpid())}}
	if host, err := os.Hostname(); err == nil {
		v.Set(keyHost, host)
	}
	if boot, pids, ok := machine(); ok {
		v.Set(keyBoot, boot)
		v.Set(keyPIDs, pids)
	}
	living.Store(id, nil)
	return v.Encode(), func() { living.Delete(id) }
}

// ended tells whether a holder is known to have ended: its process has, or what was
// it in this process. A process is looked for only where its id means the same as
// here: under the same kernel, in the same namespace. Its id may be another process's
// by now, which looks as if it had not ended.
func ended(holder string) bool {
	v, err := url.ParseQuery(holder)
	if err != nil || !v.Has(keyRun) {
		return false
	}
	if v.Get(keyRun) == run {
		_, lives := living.Load(v.Get(keyID))
		return !lives
	}
	host, err := os.Hostname()
	boot, pids, ok := machine()
	if err != nil || !ok || v.Get(keyHost) != host || v.Get(keyBoot) != boot || v.Get(keyPIDs) != pids {
		return false
	}
	pid, err := strconv.Atoi(v.Get(keyPID))
	return err == nil && pid > 0 && (pid == os.Getpid() || !exists(pid))
}

// describe is a holder in words.
func describe(holder string) string {
	v, err := url.ParseQuery(holder)
	if err != nil || !v.Has(keyPID) {
		return fmt.Sprintf("%q", holder)
	}
	if !v.Has(keyHost) {
		return "process " + v.Get(keyPID)
	}
	return fmt.Sprintf("process %s on host %s", v.Get(keyPID), v.Get(keyHost))
}
