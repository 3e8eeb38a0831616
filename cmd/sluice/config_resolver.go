package main

import (
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice"
)

// configResolver answers for the flags that the command line leaves open: from the
// environment, else from the file. Only flags of the command that runs are
// asked for, so a value meant for another command can do no harm here.
type configResolver struct {
	env  func(name string) (value string, ok bool)
	file map[string]fileValue // by flag; filled by read
	from map[string]string    // by flag: where its value was found

	topics []sluice.TopicRule // the file's rules; filled by read

	// Of the file; filled by read.
	path string
	app  *kong.Application
}

func newConfigResolver(env func(string) (string, bool)) *configResolver {
	return &configResolver{env: env, from: map[string]string{}}
}

// read takes in the file at path; with no path, the one that the environment
// names, and none when that is silent too.
func (s *configResolver) read(path string, app *kong.Application) (err error) {
	if path == "" {
		path, _ = s.env(envName("config"))
	}
	s.path, s.app = path, app
	if path != "" {
		s.file, s.topics, err = readConfig(path, app)
	}
	return err
}

// Resolve implements [kong.Resolver]. A variable that is set but empty counts
// as not set: that is how unset ones come through container files and shells.
func (s *configResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range envNames(flag) {
		if value, ok := s.env(name); ok && value != "" {
			s.from[flag.Name] = name
			return value, nil
		}
	}
	if value, ok := s.file[flag.Name]; ok {
		s.from[flag.Name] = value.position
		return value.value, nil
	}
	return nil, nil
}

// Validate implements [kong.Resolver]: read has checked the file by then.
func (s *configResolver) Validate(*kong.Application) error { return nil }

// origin says where a flag's value came from, as the end of a sentence; the
// command line goes without saying.
func (s *configResolver) origin(name string) string {
	if from := s.from[strings.TrimPrefix(name, "--")]; from != "" {
		return " (given by " + from + ")"
	}
	return ""
}

// envNames lists the variables that can set a flag, the strongest first.
func envNames(flag *kong.Flag) []string {
	if flag.Name == "help" {
		return nil
	}
	names := []string{envName(flag.Name)}
	if also := flag.Tag.Get("also"); also != "" {
		names = append(names, also)
	}
	return names
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
