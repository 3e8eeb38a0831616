package sluice_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/sluicehq/sluice"

// floors is the house: a package imports only packages on lower floors, and
// those on one floor never import each other. The key is the folder, "" the
// root. A new package is given its floor here; what a folder keeps in its
// internal folder belongs to it, one floor up.
var floors = map[string]int{
	"internal/testmain": 0, // for tests alone

	"benchmarks/swarm":        1,
	"internal/connlimit":      1,
	"internal/httpserver":     1,
	"internal/httpservertest": 1, // for tests alone
	"internal/lograte":        1,
	"internal/logtail":        1,
	"internal/patterns":       1,
	"internal/ring":           1,
	"internal/openapitest":    1, // for tests alone
	"internal/pgserver":       1, // for tests and scenarios alone
	"internal/reload":         1,
	"internal/verdict":        1,
	"metrics":                 1,
	"pipeline":                1,
	"socket/client":           1,
	"store":                   1,

	"benchmarks/report":   2,
	"channels/outbound":   2,
	"channels/presence":   2,
	"internal/cluster":    2,
	"internal/hooks":      2,
	"internal/pgtest":     2, // for tests alone
	"internal/revocation": 2,
	"internal/sqlaccess":  2,
	"internal/timeline":   2,
	"store/storetest":     2, // for tests alone

	"channels":       3,
	"socket/phoenix": 3,
	"store/postgres": 3,
	"store/sqlite":   3,

	"internal/cluster/clustertest": 3, // for tests alone

	"internal/lease": 4,

	"socket":      4,
	"stages":      4,
	"store/relay": 4,

	"internal/admin":     5,
	"internal/broadcast": 5,
	"internal/webhooks":  5,
	"socket/auth":        5,

	"": 6, // the front door

	"benchmarks/target":   7,
	"examples/admin":      7,
	"examples/chatroom":   7,
	"examples/dashboard":  7,
	"examples/orders":     7,
	"examples/ticker":     7,
	"internal/sluicetest": 7, // for tests alone

	"benchmarks/baseline": 8,
	"benchmarks/chaos":    8,

	"benchmarks":          9,
	"benchmarks/pipeline": 9,

	"benchmarks/guard":  10,
	"benchmarks/tuning": 10,
	"cmd/sluice":        10,
	"cmd/sluice/e2e":    10,
}

// folders are those that the design names: the layout is part of the contract.
var folders = []string{
	"socket", "stages", "channels", "store", "pipeline", "metrics", "benchmarks",
	"store/postgres", "store/sqlite", "store/storetest", "cmd/sluice",
}

// top is what stands in the root folder: what an importer reads. More of the
// configuration may stand in config_*.go, and all else has a package of its own.
var top = []string{"doc", "api", "service", "mounts", "rules", "config", "stream", "cluster", "broadcast", "listen", "revoke", "bytesize", "console", "hooks", "webhooks", "access", "reload"}

// topTests are tests there of no file: of the house, and of what its documents show.
var topTests = []string{"layout", "docs", "readme", "example"}

// libraries are what the house stands on, each with what it is there for.
var libraries = map[string]string{
	"github.com/reugn/go-streams": "composes the line of stages",
	"github.com/gobwas/ws":        "speaks WebSocket",
	"github.com/smira/go-statsd":  "sends the metrics",
	"github.com/jackc/pgx/v5":     "reaches Postgres",
	"github.com/nats-io":          "carries messages between nodes",
}

// maxLines is where a file stops being one concept. An example is to be taken
// in at a glance.
const maxLines, maxTestLines, maxExampleLines = 500, 800, 79

// goPackage is what `go list -json` tells that this test asks about.
type goPackage struct {
	ImportPath   string
	Dir          string
	Doc          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// folder is a package's place below the root, "" for the root itself.
func folder(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// ours tells whether an import is one of the module's packages.
func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	for _, pkg := range packages(t) {
		from := folder(pkg.ImportPath)
		floor, ok := floorOf(from)
		if !ok {
			t.Errorf("package %q has no floor: give it one in the table of this test", from)
			continue
		}
		for _, imported := range pkg.Imports {
			if to := folder(imported); ours(imported) {
				if forTests(to) && !forTests(from) {
					t.Errorf("%q imports %q, which is there for tests alone", from, to)
				}
				if !mayImport(from, to) {
					t.Errorf("%q (floor %d) imports %q: imports go to lower floors only", from, floor, to)
				}
			}
		}
		for _, imported := range slices.Concat(pkg.TestImports, pkg.XTestImports) {
			if to := folder(imported); ours(imported) && to != from && !forTests(to) && !mayImport(from, to) {
				t.Errorf("a test of %q (floor %d) imports %q: imports go to lower floors only", from, floor, to)
			}
		}
	}
}

// mayImport keeps the floors, and that what a folder keeps in its internal folder
// is imported by that folder's own subfolders alone, such as store's drivers.
func mayImport(from, to string) bool {
	if flat, _, internal := strings.Cut(to, "/internal/"); internal {
		return strings.HasPrefix(from, flat+"/") || from == flat
	}
	lower, known := floorOf(to)
	floor, _ := floorOf(from)
	return known && lower < floor
}

func floorOf(folder string) (floor int, ok bool) {
	flat, _, internal := strings.Cut(folder, "/internal/")
	floor, ok = floors[flat]
	if internal {
		floor++
	}
	return floor, ok
}

func forTests(folder string) bool { return strings.HasSuffix(folder, "test") }

func TestFoldersStand(t *testing.T) {
	t.Parallel()
	var found []string
	for _, pkg := range packages(t) {
		found = append(found, folder(pkg.ImportPath))
	}
	for _, want := range folders {
		if !slices.Contains(found, want) {
			t.Errorf("the design's folder %q holds no package", want)
		}
	}
	for _, listed := range slices.Sorted(maps.Keys(floors)) {
		if !slices.Contains(found, listed) {
			t.Errorf("the table gives a floor to %q, which is no package", listed)
		}
	}
}

// TestTopHolds keeps the root folder to the front door: no file stands there but those
// of the table, and each test is of one of them, whose name it begins with.
func TestTopHolds(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range top {
		if !slices.Contains(files, name+".go") {
			t.Errorf("the table has %s.go, and the folder has not", name)
		}
	}
	for _, file := range files {
		name, test := strings.CutSuffix(strings.TrimSuffix(file, ".go"), "_test")
		concept, _, part := strings.Cut(name, "_")
		switch known := slices.Contains(top, concept); {
		case test && !known && !slices.Contains(topTests, name):
			t.Errorf("%s tests none of the front door's files: put it beside what it tests", file)
		case !test && (!known || part && concept != "config"):
			t.Errorf("%s is no part of the front door: give it a package, or a file of the table", file)
		}
	}
}

func TestLibrariesAreUsed(t *testing.T) {
	t.Parallel()
	var imports []string
	for _, pkg := range packages(t) {
		if !forTests(folder(pkg.ImportPath)) {
			imports = append(imports, pkg.Imports...)
		}
	}
	for library, purpose := range libraries {
		if !slices.ContainsFunc(imports, func(path string) bool {
			return path == library || strings.HasPrefix(path, library+"/")
		}) {
			t.Errorf("nothing but tests imports %s, which %s", library, purpose)
		}
	}
}

func TestPackagesAreReadable(t *testing.T) {
	t.Parallel()
	for _, pkg := range packages(t) {
		from := folder(pkg.ImportPath)
		example := strings.HasPrefix(from, "examples/") // a program in one file, its doc comment included
		if pkg.Doc == "" || !slices.Contains(pkg.GoFiles, "doc.go") && !example && !strings.Contains(from, "/internal/") {
			t.Errorf("package %q has no doc.go that says what it is", from)
		}
		for _, name := range slices.Concat(pkg.GoFiles, pkg.TestGoFiles, pkg.XTestGoFiles) {
			limit := maxLines
			switch {
			case strings.HasSuffix(name, "_test.go"):
				limit = maxTestLines
			case example:
				limit = maxExampleLines
			}
			text, err := os.ReadFile(filepath.Join(pkg.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if lines := bytes.Count(text, []byte("\n")); lines > limit {
				t.Errorf("%s/%s has %d lines: split it by concept, %d is the most", from, name, lines, limit)
			}
		}
	}
}

// packages lists the module's packages.
func packages(t *testing.T) []goPackage {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var list = sync.OnceValues(func() (all []goPackage, err error) {
	var stderr bytes.Buffer
	command := exec.Command("go", "list", "-json", "./...")
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, &stderr)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var pkg goPackage
		if err := decoder.Decode(&pkg); err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		all = append(all, pkg)
	}
	return all, nil
})

// TestNothingBuiltIsKept: of the files that are kept only pictures are no text.
func TestNothingBuiltIsKept(t *testing.T) {
	t.Parallel()
	list, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("what is kept is known in a clone alone: git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		text, err := os.ReadFile(name)
		if err == nil && filepath.Ext(name) != ".png" && bytes.IndexByte(text, 0) >= 0 {
			t.Errorf("%s is no text: git rm --cached it, and let .gitignore know it", name)
		}
	}
}
