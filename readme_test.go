package sluice_test

import (
	"os"
	"strings"
	"testing"
)

// TestREADMEShowsTheExample keeps the README's Go to code that compiles and is
// tested: that of example_test.go.
func TestREADMEShowsTheExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for rest := string(readme); ; shown++ {
		_, after, found := strings.Cut(rest, "```go\n")
		if !found {
			break
		}
		code, after, _ := strings.Cut(after, "```")
		if !strings.Contains(string(example), code) {
			t.Errorf("example_test.go does not hold\n%s", code)
		}
		rest = after
	}
	if shown == 0 {
		t.Error("the README shows no Go")
	}
}
