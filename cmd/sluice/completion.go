package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd prints what has a shell complete our command lines.
type completionCmd struct {
	Shell string `arg:"" help:"Which shell: bash, zsh or fish."`
}

// Help says more than the one line of the summary.
func (c *completionCmd) Help() string {
	return `The script completes commands, flags and, where a flag names a file, files. It is made anew with each version: have the shell read it at its start.`
}

// Examples implements exemplary.
func (c *completionCmd) Examples() string {
	return `source <(sluice completion bash)
sluice completion zsh > "${fpath[1]}/_sluice"
sluice completion fish > ~/.config/fish/completions/sluice.fish`
}

// Run is called by kong.
func (c *completionCmd) Run(p process, parsed *kong.Context) error {
	scripts := map[string]func(*kong.Application) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	script, known := scripts[c.Shell]
	if !known {
		return &usageError{"<shell>", c.Shell, "bash, zsh, fish"}
	}
	_, err := io.WriteString(p.stdout, script(parsed.Model))
	return err
}

// takesFile tells whether a flag names a file.
func takesFile(flag *kong.Flag) bool { return flag.PlaceHolder == "FILE" || flag.PlaceHolder == "DIR" }

// flagWords are the flags of a command, and those of all commands, that pass a test.
func flagWords(app *kong.Application, command *kong.Node, test func(*kong.Flag) bool) string {
	var words []string
	for _, flag := range append(slices.Clone(command.Flags), app.Flags...) {
		if word := "--" + flag.Name; test(flag) && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// commandNames are all commands, as they are listed.
func commandNames(app *kong.Application) string {
	var names []string
	for _, command := range app.Leaves(false) {
		names = append(names, command.Name)
	}
	return strings.Join(names, " ")
}

func anyFlag(*kong.Flag) bool { return true }

// bashCompletion completes by the command that stands on the line, and the word before.
func bashCompletion(app *kong.Application) string {
	var out strings.Builder
	fmt.Fprintf(&out, `# Completion of sluice for bash: source <(sluice completion bash)
_sluice() {
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= flags= files= i
	local commands="%s"
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ " $commands " == *" ${COMP_WORDS[i]} "* ]]; then command=${COMP_WORDS[i]}; break; fi
	done
	case $command in
`, commandNames(app))
	for _, command := range app.Leaves(false) {
		fmt.Fprintf(&out, "\t%s) flags=\"%s\" files=\"%s\" ;;\n", command.Name, flagWords(app, command, anyFlag), flagWords(app, command, takesFile))
	}
	fmt.Fprintf(&out, `	*) flags="%s" files="%s" ;;
	esac
	if [[ " $files " == *" $before "* ]]; then
		COMPREPLY=($(compgen -f -- "$current"))
	elif [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$current"))
	elif [[ -z $command || $command == help ]]; then
		COMPREPLY=($(compgen -W "$commands" -- "$current"))
	elif [[ $command == completion ]]; then
		COMPREPLY=($(compgen -W "bash zsh fish" -- "$current"))
	fi
}
complete -o filenames -F _sluice sluice
`, flagWords(app, app.Node, anyFlag), flagWords(app, app.Node, takesFile))
	return out.String()
}

// zshCompletion describes commands and flags.
func zshCompletion(app *kong.Application) string {
	var out strings.Builder
	out.WriteString(`#compdef sluice
# Completion of sluice for zsh: a file _sluice in a folder of $fpath
_sluice() {
	local -a commands
	commands=(
`)
	for _, command := range app.Leaves(false) {
		fmt.Fprintf(&out, "\t\t%s\n", zshQuoted(command.Name+":"+zshText(command.Help)))
	}
	out.WriteString(`	)
	local command=${words[(r)(` + strings.ReplaceAll(commandNames(app), " ", "|") + `)]}
	case $command in
`)
	for _, command := range app.Leaves(false) {
		fmt.Fprintf(&out, "\t%s)\n\t\t_arguments -s \\\n", command.Name)
		seen := map[string]bool{}
		for _, flag := range append(slices.Clone(command.Flags), app.Flags...) {
			if seen[flag.Name] {
				continue
			}
			seen[flag.Name] = true
			spec := fmt.Sprintf("--%s[%s]", flag.Name, zshText(flag.Help))
			switch {
			case flag.IsBool():
			case takesFile(flag):
				spec += ":" + flag.PlaceHolder + ":_files"
			default:
				spec += ":" + zshText(flag.FormatPlaceHolder()) + ":"
			}
			fmt.Fprintf(&out, "\t\t\t%s \\\n", zshQuoted(spec))
		}
		rest := "*: :"
		switch command.Name {
		case "help":
			rest = "*: :(" + commandNames(app) + ")"
		case "completion":
			rest = "*: :(bash zsh fish)"
		}
		fmt.Fprintf(&out, "\t\t\t%s ;;\n", zshQuoted(rest))
	}
	out.WriteString(`	*) _describe command commands ;;
	esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _sluice "$@"; else compdef _sluice sluice; fi
`)
	return out.String()
}

// zshText is text in which nothing ends a description of zsh's.
func zshText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
}

// zshQuoted is a word that no shell looks into.
func zshQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishCompletion is a line for each command and each of its flags.
func fishCompletion(app *kong.Application) string {
	var out strings.Builder
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	line := func(condition string, flag *kong.Flag) {
		kind := " -r -f" // takes what is no file
		switch {
		case flag.IsBool():
			kind = ""
		case takesFile(flag):
			kind = " -r -F"
		}
		fmt.Fprintf(&out, "complete -c sluice%s -l %s%s -d %s\n", condition, flag.Name, kind, quote(flag.Help))
	}
	out.WriteString("# Completion of sluice for fish: ~/.config/fish/completions/sluice.fish\ncomplete -c sluice -f\n")
	for _, flag := range app.Flags {
		line("", flag)
	}
	for _, command := range app.Leaves(false) {
		fmt.Fprintf(&out, "complete -c sluice -n __fish_use_subcommand -a %s -d %s\n", command.Name, quote(command.Help))
		for _, flag := range command.Flags {
			line(" -n '__fish_seen_subcommand_from "+command.Name+"'", flag)
		}
	}
	fmt.Fprintf(&out, "complete -c sluice -n '__fish_seen_subcommand_from help' -a %s\n", quote(commandNames(app)))
	out.WriteString("complete -c sluice -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n")
	return out.String()
}
