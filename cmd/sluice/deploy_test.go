package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/sluicehq/sluice/metrics"
)

const deployFolder = "../../deploy"

// TestDeployedFlagsExist has what is in deploy/ use no flag and no variable that the program
// has not. Flags of other programs are those that stand below.
func TestDeployedFlagsExist(t *testing.T) {
	t.Parallel()
	flags, variables := map[string]bool{"--config": true, "--help": true}, map[string]bool{} // these two are of all commands
	for _, command := range commands(t) {
		for _, flag := range command.Flags {
			flags["--"+flag.Name] = true
			for _, name := range envNames(flag) {
				variables[name] = true
			}
		}
	}
	others := map[string][]string{
		"Dockerfile":             {"--from"},
		"compose/compose.yaml":   {"--build", "--username", "--host"},
		"systemd/sluice.service": {"--system", "--user-group", "--no-create-home", "--shell", "--now"},
		"kubernetes/sluice.yaml": {"--from-literal", "--from-file"},
	}
	flag, variable := regexp.MustCompile(`(?:^|[\s"'\[(,])(--[a-z][a-z0-9-]*)`), regexp.MustCompile(`\bSLUICE_[A-Z_]+`)
	seen := 0
	for name, text := range deployed(t) {
		for _, found := range flag.FindAllStringSubmatch(text, -1) {
			if seen++; !flags[found[1]] && !slices.Contains(others[name], found[1]) {
				t.Errorf("deploy/%s: sluice has no flag %s", name, found[1])
			}
		}
		for _, found := range variable.FindAllString(text, -1) {
			if seen++; !variables[found] && found != "SLUICE_USER" {
				t.Errorf("deploy/%s: sluice reads no variable %s", name, found)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d flags and variables are seen", seen)
	}
}

// TestDeployedSettings has serve read what the unit, compose and Kubernetes give it.
func TestDeployedSettings(t *testing.T) {
	t.Parallel()
	all := deployed(t)
	var compose struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
		}
	}
	decodeYAML(t, all["compose/compose.yaml"], &compose)
	nodes := 0
	for name, service := range compose.Services {
		if slices.Contains(service.Command, "serve") {
			nodes++
			served(t, "compose: "+name, service.Command, service.Environment, "")
		}
	}
	if nodes != 3 {
		t.Errorf("compose has %d nodes", nodes)
	}

	start := regexp.MustCompile(`(?m)^ExecStart=\S+ (.*)$`).FindStringSubmatch(all["systemd/sluice.service"])
	if start == nil {
		t.Fatal("the unit starts nothing")
	}
	served(t, "systemd", strings.Fields(start[1]), nil, all["systemd/sluice.yaml"])

	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds int
					Containers                    []struct {
						Args           []string
						Env            []struct{ Name string }
						Ports          []struct{ ContainerPort int }
						ReadinessProbe struct{ HTTPGet struct{ Path, Port string } }
					}
				}
			}
		}
	}
	var config struct{ Data map[string]string }
	kinds := map[string]string{}
	for document := range strings.SplitSeq(all["kubernetes/sluice.yaml"], "\n---\n") {
		var object struct{ Kind string }
		decodeYAML(t, document, &object)
		kinds[object.Kind] = document
	}
	decodeYAML(t, kinds["StatefulSet"], &set)
	decodeYAML(t, kinds["ConfigMap"], &config)
	pod := set.Spec.Template.Spec
	args := slices.Clone(pod.Containers[0].Args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$(NODE)", "sluice-0")
	}
	served(t, "kubernetes", args, map[string]string{"SLUICE_DATABASE_URL": "postgres://app@db/app"}, config.Data["sluice.yaml"])
	if path := pod.Containers[0].ReadinessProbe.HTTPGet.Path; path != "/readyz?scope=node" {
		t.Errorf("a node's readiness is asked at %s", path)
	}
	if _, ok := kinds["PodDisruptionBudget"]; !ok {
		t.Error("there is no disruption budget")
	}
}

// served has serve check settings, whose files of secrets are made up.
func served(t *testing.T, name string, args []string, env map[string]string, file string) {
	t.Helper()
	folder := t.TempDir()
	secret := regexp.MustCompile(`/(?:run|etc/sluice)/(?:secrets/)?([a-z-]+)`)
	made := func(text string) string {
		return secret.ReplaceAllStringFunc(text, func(path string) string {
			at := filepath.Join(folder, filepath.Base(path))
			if err := os.WriteFile(at, []byte(filepath.Base(path)+"-of-some-length-that-is-enough\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return at
		})
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if strings.Contains(arg, "sluice.yaml") {
			args[i] = strings.ReplaceAll(arg, "/etc/sluice/sluice.yaml", filepath.Join(folder, "sluice.yaml"))
			if err := os.WriteFile(filepath.Join(folder, "sluice.yaml"), []byte(made(file)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings := map[string]string{}
	for key, value := range env {
		settings[key] = made(value)
	}
	p, _ := call{env: settings}.process(t, io.Discard, io.Discard)
	resolver := newConfigResolver(p.env)
	parser, err := newParser(t.Context(), p, resolver)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		t.Errorf("%s: %q: %v", name, args, err)
		return
	}
	serve, ok := parsed.Selected().Target.Addr().Interface().(*serveCmd)
	if !ok {
		t.Errorf("%s: %q serves nothing", name, args)
		return
	}
	if err := serve.check(resolver); resolver.explain(err) || err != nil {
		t.Errorf("%s: %q: %v, %v", name, args, err, resolver.join())
	}
}

var (
	metricWord = regexp.MustCompile(`\bsluice_[a-z_]+`)
	selector   = regexp.MustCompile(`\{([^{}]*)\}`)
	labelWord  = regexp.MustCompile(`([a-z_]+)\s*(?:=|!=|=~|!~)`)
	grouping   = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
)

// TestDeployedMetricsExist has alerts and dashboard ask for metrics that there are, by their
// kind's name, and by labels that they have.
func TestDeployedMetricsExist(t *testing.T) {
	t.Parallel()
	all := deployed(t)
	expressions := map[string][]string{}
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	decodeYAML(t, all["prometheus/alerts.yaml"], &alerts)
	names := map[string]bool{}
	for _, rule := range alerts.Groups[0].Rules {
		expressions["the alert "+rule.Alert] = []string{rule.Expr}
		if names[rule.Alert] || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["do"] == "" {
			t.Errorf("the alert %s is there twice, or does not say how urgent it is, or what to do", rule.Alert)
		}
		names[rule.Alert] = true
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal([]byte(all["grafana/sluice.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions["the panel "+panel.Title] = append(expressions["the panel "+panel.Title], target.Expr)
		}
	}
	for _, variable := range dashboard.Templating.List {
		expressions["the dashboard's variables"] = append(expressions["the dashboard's variables"], variable.Query)
	}
	known := inPrometheus(t)
	labels := []string{"job", "instance", "node", "stage", "reason", "status", "transport", "route", "le"}
	for place, list := range expressions {
		for _, expression := range list {
			for _, name := range metricWord.FindAllString(expression, -1) {
				if !known[name] {
					t.Errorf("%s asks for %s, which there is not", place, name)
				}
			}
			var used []string
			for _, each := range selector.FindAllStringSubmatch(expression, -1) {
				for _, label := range labelWord.FindAllStringSubmatch(each[1], -1) {
					used = append(used, label[1])
				}
			}
			for _, each := range grouping.FindAllStringSubmatch(expression, -1) {
				used = append(used, strings.FieldsFunc(each[1], func(r rune) bool { return r == ',' || r == ' ' })...)
			}
			for _, label := range used {
				if !slices.Contains(labels, label) {
					t.Errorf("%s asks for the label %s", place, label)
				}
			}
		}
	}
	if len(names) < 10 || len(dashboard.Panels) < 10 {
		t.Errorf("only %d alerts and %d panels are seen", len(names), len(dashboard.Panels))
	}
}

// inPrometheus are the names that Prometheus has of all metrics: which kind each is stands
// in its place among the constants.
func inPrometheus(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("../../metrics/names.go")
	if err != nil {
		t.Fatal(err)
	}
	suffixes := map[string][]string{"Counters": {"_total"}, "Gauges": {""}, "Timings": {"_seconds_bucket", "_seconds_sum", "_seconds_count"}}
	constant := regexp.MustCompile(`\bName = "([a-z.]+)"`)
	known, count := map[string]bool{}, 0
	for kind, list := range suffixes {
		_, group, ok := bytes.Cut(source, []byte("// "+kind+", explained"))
		group, _, ends := bytes.Cut(group, []byte("\n)"))
		if !ok || !ends {
			t.Fatalf("metrics/names.go has no group %s", kind)
		}
		for _, name := range constant.FindAllSubmatch(group, -1) {
			count++
			for _, suffix := range list {
				known["sluice_"+strings.ReplaceAll(string(name[1]), ".", "_")+suffix] = true
			}
		}
	}
	if count != len(metrics.Meaning) {
		t.Fatalf("metrics/names.go has %d names in its groups, and %d with a meaning", count, len(metrics.Meaning))
	}
	return known
}

// deployed are the files of the folder that others are given, by their names in it.
func deployed(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(deployFolder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "secrets" {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(deployFolder, path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dockerfile", "compose/compose.yaml", "grafana/sluice.json", "kubernetes/sluice.yaml", "prometheus/alerts.yaml", "systemd/sluice.service"} {
		if files[name] == "" {
			t.Errorf("there is no deploy/%s, but %v", name, slices.Sorted(maps.Keys(files)))
		}
	}
	return files
}

func decodeYAML(t *testing.T, text string, into any) {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(value) // whose names of fields are told apart without their case
	if err == nil {
		err = json.Unmarshal(asJSON, into)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%w in %.200s", err, text))
	}
}
