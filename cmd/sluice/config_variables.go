package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// envPrefix begins the variables that set flags.
const envPrefix = "SLUICE_"

// serviceLink are variables that Kubernetes sets in every container for a service
// whose name begins with sluice.
var serviceLink = regexp.MustCompile(`^SLUICE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$`)

// slips are the letters by which a name may differ from ours, not to be of another's.
const slips = 2

// checkVariables refuses a variable that is nearly one of ours, which would be
// ignored where it is most likely meant, and tells of others that begin like ours.
func (p process) checkVariables(app *kong.Application, resolver *configResolver) {
	known := map[string]*kong.Flag{} // by what follows the prefix
	for _, flag := range append(slices.Collect(maps.Values(fileFlags(app))), app.Flags...) {
		known[strings.TrimPrefix(envName(settingName(flag)), envPrefix)] = flag
	}
	names := p.environ()
	slices.Sort(names)
	for _, variable := range names {
		name, value, _ := strings.Cut(variable, "=")
		flag, ours := strings.CutPrefix(name, envPrefix)
		if !ours || value == "" || known[flag] != nil || serviceLink.MatchString(name) {
			continue
		}
		if meant := nearest(flag, known, slips); meant != "" {
			resolver.refuse(&usageError{name, value, fmt.Sprintf("nothing, since no flag has this variable: did you mean %s%s?", envPrefix, meant)})
			continue
		}
		fmt.Fprintf(p.stderr, "sluice: the variable %s sets no flag, and is ignored; see: sluice serve --help\n", name)
	}
}
