package metrics

import (
	"runtime"
	"runtime/debug"
)

// Process has the set say that the process runs, whether it is ready, and what build
// it is of.
func (s *Set) Process(ready func() bool) {
	s.GaugeFunc(Up, func() int64 { return 1 })
	s.GaugeFunc(Ready, func() int64 {
		if ready() {
			return 1
		}
		return 0
	})
	version, commit := build()
	s.GaugeFunc(BuildInfo, func() int64 { return 1 }, Tag{"version", version}, Tag{"commit", commit}, Tag{"go", runtime.Version()})
}

// build is what the Go tool has recorded of the program.
func build() (version, commit string) {
	version, commit = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	if info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			commit = setting.Value
		}
	}
	return version, commit
}
