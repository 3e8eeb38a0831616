package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestJavaScript runs the tests of the JavaScript client in Node, with the stock clients that it
// is for, and compiles those of its types.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("js/node_modules/.package-lock.json"); err != nil {
		t.Fatalf("this test needs the npm packages of js/package-lock.json (make needs installs them): %v", err)
	}
	tests, err := filepath.Glob("js/test/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatal("no tests: ", err)
	}
	for name, command := range map[string]*exec.Cmd{
		"node": exec.CommandContext(t.Context(), "node", append([]string{"--test-reporter=tap", "--test"}, tests...)...),
		"tsc":  exec.CommandContext(t.Context(), "node", "js/node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "js/test/types.ts"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
