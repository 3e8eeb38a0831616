package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/metrics"
)

// pages are what users read, by their paths from the repository's root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(found) < 12 {
		t.Fatalf("%d pages, %v", len(found), err)
	}
	texts := map[string]string{}
	for _, path := range append(found, "../../README.md", "../../SECURITY.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimPrefix(filepath.ToSlash(path), "../../")] = string(text)
	}
	return texts
}

// foreignFlags are flags of other programs that the pages use, each by its page.
var foreignFlags = map[string][]string{
	"docs/deploying.md":  {"--dry-run"},
	"docs/tuning.md":     {"--redraw"},
	"docs/tables.md":     {"--disable-triggers"}, // of pg_restore
	"docs/peers.md":      {"--json", "--plots", "--markdown", "--for", "--repeat"},
	"docs/benchmarks.md": {"--redraw"},
}

// TestDocumentedFlagsExist has the pages name no flag, no variable and no command that the
// program has not.
func TestDocumentedFlagsExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"--config": true, "--help": true, "--version": true}
	names := map[string]bool{}
	for _, command := range commands(t) {
		names[command.Name] = true
		for _, flag := range command.Flags {
			known["--"+flag.Name] = true
			for _, name := range envNames(flag) {
				known[name] = true
			}
		}
	}
	word := regexp.MustCompile(`(?:^|[\s"'\[(,\x60|])(--[a-z][a-z0-9-]*)|\b(SLUICE_[A-Z_]+)`)
	command := regexp.MustCompile(`(?m)(?:^|[\x60(]|\bin/)sluice ([a-z]+)\b`)
	seen := 0
	for page, text := range pages(t) {
		for _, found := range word.FindAllStringSubmatch(text, -1) {
			name := found[1] + found[2]
			if seen++; !known[name] && !slices.Contains(foreignFlags[page], name) && !strings.Contains(wrongOnPurpose, name) {
				t.Errorf("%s: sluice has no %s", page, name)
			}
		}
		for _, found := range command.FindAllStringSubmatch(text, -1) {
			if seen++; !names[found[1]] {
				t.Errorf("%s: there is no sluice %s", page, found[1])
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d flags, variables and commands are seen", seen)
	}
}

// wrongOnPurpose is what the page on troubleshooting gets wrong; --jwt is the beginning of
// several flags, of which a page may speak together.
const wrongOnPurpose = "--mailbx SLUICE_MAILBX_SIZE --jwt"

// TestDocumentedEndpointsExist has the pages name no request that the API's description
// has not: the handlers are held to that.
func TestDocumentedEndpointsExist(t *testing.T) {
	t.Parallel()
	description, err := os.ReadFile("../../internal/admin/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var api struct{ Paths map[string]map[string]any }
	decodeYAML(t, string(description), &api)
	request := regexp.MustCompile(`\b(GET|POST|DELETE|PUT|PATCH) (/[a-z./{}:0-9]*)`)
	path := regexp.MustCompile(`127\.0\.0\.1:4001(/[a-z./:0-9]*)`)
	identifier := regexp.MustCompile(`^(/api/(?:sockets|presence))/[^/]+$`)
	consumer := regexp.MustCompile(`^/api/consumers/[a-z]+`)
	has := func(method, path string) bool {
		if operations := api.Paths[path]; operations[strings.ToLower(method)] != nil || method == "" && operations != nil {
			return true
		}
		if named := consumer.ReplaceAllString(path, "/api/consumers/{name}"); named != path {
			return api.Paths[named] != nil && (method == "" || api.Paths[named][strings.ToLower(method)] != nil)
		}
		base := identifier.FindStringSubmatch(path)
		return base != nil && (api.Paths[base[1]+"/{id}"] != nil || api.Paths[base[1]+"/{topic}"] != nil)
	}
	seen := 0
	for page, text := range pages(t) {
		for _, found := range request.FindAllStringSubmatch(text, -1) {
			if seen++; !has(found[1], found[2]) {
				t.Errorf("%s: there is no %s %s", page, found[1], found[2])
			}
		}
		for _, found := range path.FindAllStringSubmatch(text, -1) {
			if seen++; !has("", found[1]) {
				t.Errorf("%s: there is nothing at %s", page, found[1])
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d requests are seen", seen)
	}
}

// TestDocumentedNamesExist has the pages name no metric, table or function that there is
// not. A metric of StatsD is told by what stands before its first dot.
func TestDocumentedNamesExist(t *testing.T) {
	t.Parallel()
	known := inPrometheus(t)
	for name := range inPrometheus(t) { // the timing itself, which a page may name
		known[strings.TrimSuffix(name, "_count")] = true
	}
	sql := sources(t, ".sql")
	roles := []string{"sluice_owner", "sluice_server", "sluice_writer", "sluice_watcher", "sluice_reader"} // of the page on grants
	first := map[string]bool{}
	for name := range metrics.Meaning {
		if before, _, dotted := strings.Cut(string(name), "."); dotted {
			first[before] = true
		}
	}
	word, dotted := regexp.MustCompile(`\bsluice_[a-z_]+[a-z]\b`), regexp.MustCompile("`([a-z]+)((?:\\.[a-z]+)+)(?:\\{[a-z]+\\})?`")
	files := []string{".sh", ".md", ".go", ".yaml", ".json", ".mjs", ".log", ".html"}
	seen := 0
	for page, text := range pages(t) {
		for _, name := range word.FindAllString(text, -1) {
			if seen++; !known[name] && !slices.Contains(roles, name) && !regexp.MustCompile(`\b`+name+`(\b|_)`).MatchString(sql) {
				t.Errorf("%s: there is no metric, table or function %s", page, name)
			}
		}
		for _, found := range dotted.FindAllStringSubmatch(text, -1) {
			name := found[1] + found[2]
			if !first[found[1]] || slices.Contains(files, filepath.Ext(name)) {
				continue
			}
			if seen++; metrics.Meaning[metrics.Name(name)] == "" {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d names are seen", seen)
	}
}

// TestDocumentedSettingsExist has the settings in the pages' files be those of serve: what
// a page does not have checked by itself is read here.
func TestDocumentedSettingsExist(t *testing.T) {
	t.Parallel()
	flags := map[string]bool{"topics": true, "hooks": true, "webhooks": true}
	for _, command := range commands(t) {
		if command.Name == "serve" {
			for _, flag := range command.Flags {
				flags[flag.Name] = true
			}
		}
	}
	block, key := regexp.MustCompile("(?s)```yaml[^\\n]*\\n(.*?)```"), regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	seen := 0
	for page, text := range pages(t) {
		for _, found := range block.FindAllStringSubmatch(text, -1) {
			for _, name := range key.FindAllStringSubmatch(found[1], -1) {
				if seen++; !flags[name[1]] {
					t.Errorf("%s: serve has no setting %s", page, name[1])
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d settings are seen", seen)
	}
}

// TestEachAlertIsExplained has the page on operating say what to do about each alert, and
// about no other.
func TestEachAlertIsExplained(t *testing.T) {
	t.Parallel()
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert  string
				Labels map[string]string
			}
		}
	}
	decodeYAML(t, deployed(t)["prometheus/alerts.yaml"], &alerts)
	_, section, _ := strings.Cut(pages(t)["docs/operating.md"], "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	explained := map[string]string{}
	for part := range strings.SplitSeq(section, "\n### ") {
		name, text, _ := strings.Cut(part, "\n")
		explained[name] = strings.TrimSpace(text)
	}
	for _, rule := range alerts.Groups[0].Rules {
		text := explained[rule.Alert]
		if !strings.HasPrefix(text, "*"+rule.Labels["severity"]+".*") || len(text) < 60 {
			t.Errorf("docs/operating.md does not say of %s that it is a %s and what to do, but %q", rule.Alert, rule.Labels["severity"], text)
		}
		delete(explained, rule.Alert)
	}
	for name := range explained {
		if strings.HasPrefix(name, "Sluice") {
			t.Errorf("docs/operating.md explains %s, which is no alert", name)
		}
	}
}

// TestQuotedMessagesExist has the page on troubleshooting quote what the program says: what
// stands in the first column of a table is in the source, but for what differs.
func TestQuotedMessagesExist(t *testing.T) {
	t.Parallel()
	source := sources(t, ".go") + sources(t, ".sql")
	_, page, _ := strings.Cut(pages(t)["docs/troubleshooting.md"], "\n## A client cannot connect\n") // what is before is made to happen by TestWrongStarts
	seen := 0
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(page, -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			seen++
			for part := range strings.SplitSeq(span[1], "…") {
				if !strings.Contains(source, part) {
					t.Errorf("docs/troubleshooting.md quotes %q, which the program does not say", part)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d messages are seen", seen)
	}
}

// sources are the contents of all files of a kind, but for tests.
func sources(t *testing.T, extension string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "benchmarks"):
			return fs.SkipDir
		case filepath.Ext(path) != extension || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
