package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// machine is what figures depend on, without saying whose it is.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Node   string `json:"node,omitempty"`
	Date   string `json:"date"`
}

func thisMachine(ctx context.Context) machine {
	m := machine{
		CPU:    cpuModel(),
		Cores:  runtime.NumCPU(),
		Kernel: runtime.GOOS,
		Go:     runtime.Version(),
		Date:   time.Now().UTC().Format(time.DateOnly),
	}
	if kernel, err := output(ctx, "", "uname", "-sr"); err == nil {
		m.Kernel = released.FindString(kernel)
	}
	if version, err := output(ctx, "", "node", "--version"); err == nil {
		m.Node = strings.TrimSpace(version)
	}
	return m
}

// released is a kernel's name and version, without what its builders add.
var released = regexp.MustCompile(`^\S+ [0-9.]+`)

// cpuModel is empty where the system does not tell.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
