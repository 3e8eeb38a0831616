package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompletionInBash has a real bash complete some lines.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	script := call{args: []string{"completion", "bash"}}.run(t)
	if script.exit != exitOK {
		t.Fatalf("%+v", script)
	}
	for line, want := range map[string][]string{
		"sluice se":                         {"serve"},
		"sluice co":                         {"completion"},
		"sluice serve --max-dem":            {"--max-demand"},
		"sluice serve --lanes 3 --max-dem":  {"--max-demand"},
		"sluice con":                        {"consume"},
		"sluice consume --ex":               {"--exec"},
		"sluice watch --tok":                {"--token"},
		"sluice --vers":                     {"--version"},
		"sluice help migr":                  {"migrate"},
		"sluice completion f":               {"fish"},
		"sluice serve --config /etc/passw":  {"/etc/passwd"},
		"sluice publish demo greeted serve": nil,
	} {
		words := strings.Fields(line)
		check := script.stdout + `
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _sluice
for word in "${COMPREPLY[@]}"; do echo "$word"; done`
		out, err := exec.CommandContext(t.Context(), bash, append([]string{"--noprofile", "--norc", "-c", check, "bash"}, words...)...).Output()
		got := strings.Fields(string(out))
		for _, word := range want {
			if err != nil || !strings.Contains(" "+strings.Join(got, " ")+" ", " "+word+" ") {
				t.Errorf("%s: %v, want %v (%v)", line, got, want, err)
			}
		}
		if len(want) == 0 && len(got) > 0 {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// TestCompletionNamesEverything: each script has all commands and all flags.
func TestCompletionNamesEverything(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := call{args: []string{"completion", shell}}.run(t)
		if got.exit != exitOK || got.stderr != "" {
			t.Errorf("%s: exit %d, %s", shell, got.exit, got.stderr)
		}
		for name, node := range commands(t) {
			if !strings.Contains(got.stdout, name) {
				t.Errorf("%s: no %s", shell, name)
			}
			for _, flag := range node.Flags {
				if !strings.Contains(got.stdout, "--"+flag.Name) && !strings.Contains(got.stdout, "-l "+flag.Name+" ") {
					t.Errorf("%s: no --%s of %s", shell, flag.Name, name)
				}
			}
		}
		if exec.Command(shell, "--version").Run() == nil { // where there is such a shell
			check := exec.CommandContext(t.Context(), shell, "-n")
			check.Stdin = strings.NewReader(got.stdout)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s does not read it: %v: %s", shell, err, out)
			}
		}
	}
	if got := (call{args: []string{"completion", "ksh"}}).run(t); got.exit != exitUsage || got.stderr != "sluice: <shell> is \"ksh\": allowed is bash, zsh, fish\n" {
		t.Errorf("%+v", got)
	}
}
