package main

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// programs are what the tests measure, and where they are; as the command
// builds them, but free to run on all cores, since tests run side by side.
var programs *built

func TestMain(m *testing.M) {
	os.Exit(func() int {
		bin, err := os.MkdirTemp("", "sluice-peers-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		ctx := context.Background()
		shop, err := newWorkshop(ctx, bin)
		if err == nil {
			programs, err = build(ctx, shop, contenders(), "", func(string) {})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		programs.pinned = false
		code := m.Run()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}
