package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCmd prints what the build knows of itself.
type versionCmd struct{}

// Examples implements exemplary.
func (versionCmd) Examples() string {
	return `sluice version
sluice --version`
}

// versionFlag is the command as a flag, which people try first.
type versionFlag bool

// BeforeReset is called by kong when the flag is given.
func (versionFlag) BeforeReset(p process) error {
	if err := (versionCmd{}).Run(p); err != nil {
		return err
	}
	return errShown
}

// Run is called by kong.
func (versionCmd) Run(p process) error {
	version, commit := "(unknown)", "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, commit = describeBuild(info)
	}
	_, err := fmt.Fprintf(p.stdout, "sluice %s, commit %s, %s %s/%s\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// describeBuild reads version and commit from what the Go tool recorded. A
// build of changed files says so, since its commit alone would mislead.
func describeBuild(info *debug.BuildInfo) (version, commit string) {
	version, commit = info.Main.Version, "(unknown)"
	modified := ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			commit = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				modified = " with changes"
			}
		}
	}
	return version, commit + modified
}
