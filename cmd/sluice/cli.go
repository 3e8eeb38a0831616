package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice"
)

// cli is the grammar of the command line. A flag's default is what its field
// holds before parsing, so that a default stands in one place only.
type cli struct {
	Help        helpFlag    `short:"h" help:"Show help, for a command when one is named."`
	ShowVersion versionFlag `name:"version" help:"Print version, commit and Go version."`
	Config      string      `placeholder:"FILE" help:"YAML file of settings: its keys are the names of flags."`

	Serve      serveCmd      `cmd:"" help:"Run the service."`
	Publish    publishCmd    `cmd:"" help:"Append events to the log of a running service."`
	Watch      watchCmd      `cmd:"" help:"Join a topic as a client and print what arrives."`
	Consume    consumeCmd    `cmd:"" help:"Follow the log from a position that is kept, and print events or run a command for each batch."`
	Broadcast  broadcastCmd  `cmd:"" help:"Send to whoever is joined now, on all nodes; not logged."`
	Erase      eraseCmd      `cmd:"" help:"Empty the payloads of a topic's events that the log keeps."`
	Revoke     revokeCmd     `cmd:"" help:"Have clients' tokens count no more, or list what is revoked."`
	Token      tokenCmd      `cmd:"" help:"Make a token for trying rules out, or check one."`
	Check      checkCmd      `cmd:"" help:"Say what is wrong with the settings that serve would have, and start nothing."`
	Bench      benchCmd      `cmd:"" help:"Run a scenario of load or chaos, and report."`
	Migrate    migrateCmd    `cmd:"" help:"Create or upgrade the tables."`
	StatsD     statsdCmd     `cmd:"" name:"statsd" help:"Show what arrives of metrics: a StatsD server for development."`
	Completion completionCmd `cmd:"" help:"Print what has a shell complete command lines."`
	Manual     helpCmd       `cmd:"" name:"help" help:"Show help, for a command when one is named."`
	Version    versionCmd    `cmd:"" help:"Print version, commit and Go version."`
}

func defaults() *cli {
	return &cli{
		Serve: serveCmd{
			Settings: configFlags(sluice.DefaultConfig()),
			Log:      defaultLog(),
		},
		Publish:   publishCmd{Post: defaultPost()},
		Watch:     watchCmd{URL: "ws://127.0.0.1:4000/socket"},
		Consume:   defaultConsume(),
		Broadcast: broadcastCmd{Post: defaultPost()},
		Erase:     eraseCmd{AdminURL: defaultPost().AdminURL},
		Revoke:    revokeCmd{AdminURL: defaultPost().AdminURL},
		Token:     tokenCmd{Expires: time.Hour, JWTRequireExp: true},
		Check:     checkCmd{Settings: configFlags(sluice.DefaultConfig()), Log: defaultLog()},
		StatsD:    defaultStatsD(),
		Migrate: migrateCmd{
			DataDir: sluice.DefaultConfig().DataDir,
			Log:     defaultLog(),
		},
	}
}

// BeforeResolve reads the file that --config names, before flags that the
// command line leaves open are looked up in it.
func (c *cli) BeforeResolve(parsed *kong.Context, resolver *configResolver) error {
	resolver.readNamed(parsed)
	return nil
}

// newParser ties the grammar to a process. ctx reaches the commands' Run
// methods, as do p and whatever else is bound here.
func newParser(ctx context.Context, p process, resolver *configResolver) (*kong.Kong, error) {
	return kong.New(defaults(),
		kong.Name("sluice"),
		kong.Description("Rows in, events out: sluice delivers what is committed to a log to everyone who watches its topic, in order, over Phoenix Channels."),
		kong.Writers(p.stdout, p.stderr),
		kong.NoDefaultHelp(),
		kong.Help(printHelp),
		kong.ValueFormatter(describe),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.FlagNamer(kebab),
		kong.PostBuild(takeDefaults),
		kong.Resolvers(resolver),
		kong.Bind(resolver, p),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.KindMapper(reflect.Int, decoder(resolver, parseInt)),
		kong.KindMapper(reflect.Int64, decoder(resolver, parseInt)),
		kong.KindMapper(reflect.String, decoder(resolver, parseString)),
		kong.KindMapper(reflect.Bool, boolDecoder{decoder(resolver, parseBool)}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), decoder(resolver, parseDuration)),
		kong.TypeMapper(reflect.TypeFor[sluice.ByteSize](), decoder(resolver, parseSize)),
		kong.TypeMapper(reflect.TypeFor[sluice.Overflow](), decoder(resolver, parseName[sluice.Overflow])),
		kong.TypeMapper(reflect.TypeFor[sluice.Dedupe](), decoder(resolver, parseName[sluice.Dedupe])),
	)
}

// takeDefaults makes every flag's default of the value that its field holds,
// and names what it takes by its type where the grammar doesn't say.
func takeDefaults(k *kong.Kong) error {
	return kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		flag, ok := node.(*kong.Flag)
		if !ok {
			return next(nil)
		}
		number := flag.Target.CanInt() // of which zero is as good as any
		if !flag.IsCumulative() && (number || !flag.Target.IsZero()) {
			flag.Default, flag.HasDefault = text(flag.Target.Interface()), true
		}
		if flag.PlaceHolder == "" {
			flag.PlaceHolder = placeholders[flag.Target.Type()]
		}
		return next(nil)
	})
}

var placeholders = map[reflect.Type]string{
	reflect.TypeFor[int]():               "N",
	reflect.TypeFor[*int64]():            "N",
	reflect.TypeFor[time.Duration]():     "DURATION",
	reflect.TypeFor[sluice.ByteSize]():   "SIZE",
	reflect.TypeFor[map[string]string](): "KEY=VALUE",
}

// text writes a value as it would be given: 1m for what Go prints as 1m0s, and 0
// without a unit.
func text(value any) string {
	switch value {
	case time.Duration(0), sluice.ByteSize(0):
		return "0"
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && !v.IsNil() {
		return text(v.Elem().Interface())
	}
	s := fmt.Sprint(value)
	if _, ok := value.(time.Duration); ok {
		s = strings.Replace(s, "m0s", "m", 1)
		s = strings.Replace(s, "h0m", "h", 1)
	}
	return s
}

// kebab names a field's flag: MaxDemand becomes max-demand.
func kebab(field string) string {
	var name strings.Builder
	lower := false
	for _, r := range field {
		if unicode.IsUpper(r) && lower {
			name.WriteByte('-')
		}
		lower = !unicode.IsUpper(r)
		name.WriteRune(unicode.ToLower(r))
	}
	return name.String()
}
