package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/store"
)

// checkCmd says what is wrong with the settings that serve would have, and starts nothing.
type checkCmd struct {
	Print bool `help:"Print what is in force, as a file for --config, with where each setting is from."`

	Settings configFlags `embed:""`
	Log      logFlags    `embed:""`
}

// Help says more than the one line of the summary.
func (c *checkCmd) Help() string {
	return `It reads flags, environment and file as sluice serve does, and tells all that is wrong at once, each with file, line and column where it is from a file. Files of keys, tokens and certificates are read; nothing is listened at, and no store opened. Where a rule has a function of the database asked (access: sql), the database is asked whether that can be. Exit status 2 says that serve would not start, 0 that nothing is wrong with how it is told to.`
}

// Examples implements exemplary.
func (c *checkCmd) Examples() string {
	return `sluice check --config sluice.yaml
sluice check --config sluice.yaml --print
SLUICE_LISTEN=0.0.0.0:4000 sluice check`
}

// Run is called by kong.
func (c *checkCmd) Run(ctx context.Context, p process, resolver *configResolver, parsed *kong.Context) error {
	if err := c.check(resolver); err != nil {
		return err
	}
	if err := c.checkFunctions(ctx, p, resolver); err != nil {
		return err
	}
	if c.Print {
		return c.print(p.stdout, resolver, parsed)
	}
	_, err := fmt.Fprintln(p.stdout, "nothing is wrong with these settings")
	return err
}

// functionsWait is how long the database may take to say which functions there are.
const functionsWait = 10 * time.Second

// checkFunctions has the database say whether the functions of rules can be asked. While it
// cannot tell, serve would wait for it: that is nothing wrong.
func (c *checkCmd) checkFunctions(ctx context.Context, p process, resolver *configResolver) error {
	cfg, err := c.Settings.config()
	if err != nil {
		return err
	}
	cfg.Topics, cfg.Hooks = resolver.file.topics, resolver.file.hooks
	if cfg.Logger, err = c.Log.logger(p.stderr); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, functionsWait)
	defer cancel()
	err = sluice.CheckFunctions(ctx, cfg)
	if unknown := new(store.UnavailableError); errors.As(err, &unknown) {
		_, err = fmt.Fprintf(p.stderr, "sluice: not checked, as the database does not answer: whether the functions of topic rules can be asked (%v)\n", unknown)
	}
	return err
}

// check implements checker.
func (c *checkCmd) check(resolver *configResolver) error {
	err := (&serveCmd{c.Settings, c.Log}).check(resolver)
	for _, pair := range [][3]string{ // which serve reads once it listens
		{"tls", c.Settings.TLSCert, c.Settings.TLSKey},
		{"admin-tls", c.Settings.AdminTLSCert, c.Settings.AdminTLSKey},
	} {
		flag, cert, key := "--"+pair[0], pair[1], pair[2]
		if cert == "" || key == "" {
			continue
		}
		if _, wrong := tls.LoadX509KeyPair(cert, key); wrong != nil {
			err = errors.Join(err, &usageError{flag + "-cert", cert, fmt.Sprintf("a PEM file that fits %s-key %s (%v)", flag, key, wrong)})
		}
	}
	return err
}

// print writes all settings of serve, each with where it was given.
func (c *checkCmd) print(w io.Writer, resolver *configResolver, parsed *kong.Context) error {
	given := map[string]bool{} // on the command line
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag.Name] = true
		}
	}
	var out strings.Builder
	group := ""
	for _, flag := range parsed.Selected().Flags {
		if flag.Group == nil {
			continue // --print itself
		}
		if flag.Group.Title != group {
			group = flag.Group.Title
			fmt.Fprintf(&out, "# %s\n", group)
		}
		from := "default"
		if at, ok := resolver.from[flag.Name]; ok {
			from = at.String()
		} else if given[flag.Name] {
			from = "--" + flag.Name
		}
		value, err := fileText(flag)
		if err != nil {
			return err
		}
		if value == "" {
			fmt.Fprintf(&out, "# %s: none  # %s\n", flag.Name, from)
			continue
		}
		fmt.Fprintf(&out, "%s: %s  # %s\n", flag.Name, value, from)
	}
	if resolver.file.topics == nil {
		out.WriteString("# topics: no rules: every topic is open to whoever may connect\n")
	}
	for i, rule := range resolver.file.topics {
		fmt.Fprintf(&out, "# topics: rule %d: %q  # %v\n", i+1, rule.Match, resolver.file.places[ruleName(i)])
	}
	describeHooks(&out, resolver.file)
	describeWebhooks(&out, resolver.file)
	_, err := io.WriteString(w, out.String())
	return err
}

// fileText is a flag's value as a file would have it, in one line; "" if it has none.
func fileText(flag *kong.Flag) (string, error) {
	value := flag.Target
	switch {
	case value.Kind() == reflect.Pointer && value.IsNil():
		return "", nil
	case flag.IsMap(), flag.IsSlice():
		if value.Len() == 0 {
			return "", nil
		}
		text, err := yaml.MarshalWithOptions(value.Interface(), yaml.Flow(true))
		return strings.TrimSpace(secretless(string(text))), err
	}
	written := text(value.Interface())
	if written == "" {
		return "", nil
	}
	if value.Kind() != reflect.String {
		return written, nil
	}
	text, err := yaml.Marshal(secretless(written))
	return strings.TrimSpace(string(text)), err
}

// secrets are passwords in what names a database or another server: in a URL, in its
// parameters, and in keyword/value form.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(://[^:/?#@\s]*:)[^/?#\s]*(@)`),
	regexp.MustCompile(`(?i)(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)()`),
}

// secretless is a setting without the passwords in it.
func secretless(text string) string {
	for _, secret := range secrets {
		text = secret.ReplaceAllString(text, "${1}xxxxx${2}")
	}
	return text
}
