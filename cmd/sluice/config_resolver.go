package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// configResolver answers for the flags that the command line leaves open: from the
// environment, else from the file. Only flags of the command that runs are
// asked for, so a value meant for another command can do no harm here.
//
// It also knows what is wrong with all that was given: see [fault].
type configResolver struct {
	env    func(name string) (value string, ok bool)
	from   map[string]place // by flag: where its value was found
	faults []fault
	args   []string // that were parsed

	// Filled by read.
	path string
	app  *kong.Application
	file configFile
}

func newConfigResolver(env func(string) (string, bool)) *configResolver {
	return &configResolver{env: env, from: map[string]place{}}
}

// parse reads a command line, with the environment and the file. Where the command
// line cannot be read to its end, what else is wrong with the other two is noted too.
func (r *configResolver) parse(parser *kong.Kong, args []string) (command *kong.Context, err error) {
	r.args = args
	command, err = parser.Parse(args)
	if usage := (*kong.ParseError)(nil); errors.As(err, &usage) {
		if command = usage.Context; command.Error != nil {
			r.readNamed(command)
			err = errors.Join(err, command.Resolve())
		}
	}
	return command, err
}

// checker is a command that can tell what is wrong with its settings without running.
type checker interface {
	check(resolver *configResolver) error
}

// check returns what a command that is not run finds wrong besides.
func (r *configResolver) check(command *kong.Context) error {
	if checker, ok := command.Selected().Target.Addr().Interface().(checker); ok {
		return checker.check(r)
	}
	return nil
}

// readNamed takes in the file that the command line names.
func (r *configResolver) readNamed(parsed *kong.Context) {
	for _, flag := range parsed.Model.Flags {
		if flag.Name == "config" {
			r.read(fmt.Sprint(parsed.FlagValue(flag)), parsed.Model)
		}
	}
}

// read takes in the file at path; with no path, the one that the environment
// names, and none when that is silent too.
func (r *configResolver) read(path string, app *kong.Application) {
	if path == "" {
		path, _ = r.env(envName("config"))
	}
	r.path, r.app = path, app
	if path != "" {
		r.readFile(path)
	}
}

// Resolve implements [kong.Resolver]. A variable that is set but empty counts
// as not set: that is how unset ones come through container files and shells.
func (r *configResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range envNames(flag) {
		value, ok := r.env(name)
		if !ok || value == "" {
			continue
		}
		r.from[flag.Name] = place{name: name}
		if flag.IsMap() && !pairs(value) { // which kong would give up at
			r.refuse(&usageError{"--" + flag.Name, value, flag.PlaceHolder + ", and more of them after commas"})
			return nil, nil
		}
		return value, nil
	}
	if value, ok := r.file.settings[settingName(flag)]; ok {
		r.from[flag.Name] = value.place
		return value.value, nil
	}
	return nil, nil
}

// pairs tells whether text is what a flag takes that maps keys to values.
func pairs(text string) bool {
	for pair := range strings.SplitSeq(text, ",") {
		if !strings.Contains(pair, "=") {
			return false
		}
	}
	return true
}

// Validate implements [kong.Resolver]: read has checked the file by then.
func (r *configResolver) Validate(*kong.Application) error { return nil }

// placeOf says where a flag, or a field of a rule, was given.
func (r *configResolver) placeOf(setting string) place {
	if flag, ok := strings.CutPrefix(setting, "--"); ok {
		return r.from[flag]
	}
	if at, ok := r.file.places[setting]; ok {
		return at
	}
	rule := setting[:max(0, strings.LastIndex(setting, ": "))]
	return r.file.places[rule]
}

// envNames lists the variables that can set a flag, the strongest first.
func envNames(flag *kong.Flag) []string {
	if flag.Name == "help" || flag.Name == "version" {
		return nil
	}
	names := []string{envName(settingName(flag))}
	if also := flag.Tag.Get("also"); also != "" {
		names = append(names, also)
	}
	return names
}

// settingName is what a flag is called in a file, and with it in the environment: one that
// means something else than serve's of the same name has another there.
func settingName(flag *kong.Flag) string { return cmp.Or(flag.Tag.Get("setting"), flag.Name) }

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
