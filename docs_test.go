package sluice_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/sluicehq/sluice/metrics"
)

// documents are those that name files and functions, each with the heading of the
// section that does; "" is all of it.
var documents = map[string]string{
	"docs/architecture.md": "",
	"CONTRIBUTING.md":      "",
	"README.md":            "How it is built",
}

// TestDocsNameWhatExists finds every file, folder and Go identifier that the documents
// name in the code, and every link's file and heading. A package is named by its name, a
// type with a dot before its method or field.
func TestDocsNameWhatExists(t *testing.T) {
	t.Parallel()
	code, err := parseCode()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		for _, line := range read(t, name).section(documents[name]) {
			for _, word := range line.code {
				if wrong := code.check(word); wrong != "" {
					t.Errorf("%s:%d: `%s`: %s", name, line.number, word, wrong)
				}
			}
		}
	}
	for _, name := range code.documents {
		text := read(t, name)
		for _, line := range text {
			for _, target := range line.links {
				if wrong := checkLink(t, name, target); wrong != "" {
					t.Errorf("%s:%d: the link to %s: %s", name, line.number, target, wrong)
				}
			}
		}
	}
}

// TestDocsCheckIsStrict has the check refuse what is not there.
func TestDocsCheckIsStrict(t *testing.T) {
	t.Parallel()
	code, err := parseCode()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		"channels/nothing.go", "channels/nothing_*.go", "nowhere/", "Hub.nothing", "Nobody.Route", "channels.Nothing",
		"nowhere.Route", "NewNothing", "session.nothing", "sluice_nothing", "go test ./nowhere", "go test -run TestOfNothingThatIs ./channels", "make nothing",
	} {
		if code.check(word) == "" {
			t.Errorf("`%s` is taken for what exists", word)
		}
	}
	for _, word := range []string{
		"channels/hub.go", "channels/hub_*.go", "channels/", "Hub.Route", "channels.Hub.Route", "channels.NewHub", "Hub.epoch", "store.Log.Fetch",
		"NewHub", "session.join()", "sluice_log", "sluice_log_lag", "go test -run TestTopHolds .", "make test", "--lanes", "GET /readyz", "after",
	} {
		if wrong := code.check(word); wrong != "" {
			t.Errorf("`%s`: %s", word, wrong)
		}
	}
}

// TestArchitectureShowsTheFloors keeps the table of the document, and the picture of the
// README, to the floors that the imports are held to.
func TestArchitectureShowsTheFloors(t *testing.T) {
	t.Parallel()
	shown := map[string]int{}
	for _, line := range read(t, "docs/architecture.md").section("Floors") {
		cells := strings.Split(line.text, "|")
		if len(cells) < 4 || len(line.code) == 0 {
			continue
		}
		floor, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			t.Errorf("docs/architecture.md:%d: the first column is no floor", line.number)
		}
		shown[strings.TrimSuffix(line.code[0], ".")] = floor
	}
	for _, folder := range slices.Sorted(maps.Keys(floors)) {
		if floor, ok := shown[folder]; !ok || floor != floors[folder] {
			t.Errorf("docs/architecture.md has %q on floor %d, the test of imports on %d", folder, floor, floors[folder])
		}
		delete(shown, folder)
	}
	for folder, floor := range shown {
		t.Errorf("docs/architecture.md has %q on floor %d, the test of imports on none", folder, floor)
	}
	row, seen := regexp.MustCompile(`^(.+?)\s\s(\d+)\s\s(.+)$`), 0
	for _, line := range read(t, "README.md").section("How it is built") {
		cells := row.FindStringSubmatch(line.text)
		if cells == nil || !line.fenced {
			continue
		}
		for _, word := range strings.Fields(cells[1]) {
			seen++
			if folder := strings.TrimPrefix(strings.TrimSuffix(word, "/"), "sluice"); strconv.Itoa(floors[folder]) != cells[2] {
				t.Errorf("README.md:%d: %q is on floor %s, in the test of imports on %d", line.number, word, cells[2], floors[folder])
			}
		}
	}
	if seen == 0 {
		t.Error("the README shows no floors")
	}
}

// TestArchitectureNamesEveryLock keeps the list of locks to those that there are.
func TestArchitectureNamesEveryLock(t *testing.T) {
	t.Parallel()
	code, err := parseCode()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, line := range read(t, "docs/architecture.md").section("Locks") {
		text.WriteString(strings.Join(line.code, " ") + " " + line.fencedText() + " ")
	}
	named := strings.FieldsFunc(text.String(), func(r rune) bool { return r == ' ' || r == ',' })
	for _, lock := range code.locks {
		if !slices.Contains(named, lock) {
			t.Errorf("docs/architecture.md does not say where %s stands among the locks", lock)
		}
	}
}

// docLine is a line of a document.
type docLine struct {
	number int
	text   string
	fenced bool
	code   []string // what stands in backticks; of a fenced line that runs something, the line
	links  []string
}

func (l docLine) fencedText() string {
	if l.fenced {
		return l.text
	}
	return ""
}

type docText []docLine

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	linkSpan = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^(#+) (.*)$`)
)

func read(t *testing.T, name string) (text docText) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fenced, shell := false, false
	for i, line := range strings.Split(string(content), "\n") {
		if mark, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			language, _, _ := strings.Cut(mark, " ") // what follows says what a test does with it
			fenced, shell = !fenced, language == "sh"
			continue
		}
		l := docLine{number: i + 1, text: line, fenced: fenced}
		switch command, _, _ := strings.Cut(line, "#"); {
		case fenced && shell:
			l.code = []string{strings.TrimSpace(command)}
		case !fenced:
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				l.code = append(l.code, span[1])
			}
			for _, span := range linkSpan.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, "code"), -1) {
				l.links = append(l.links, span[1])
			}
		}
		text = append(text, l)
	}
	return text
}

// section is the lines below a heading, up to the next one that is as high; all with "".
func (d docText) section(name string) (lines docText) {
	level := 0
	for _, l := range d {
		if h := heading.FindStringSubmatch(l.text); h != nil && !l.fenced {
			switch {
			case h[2] == name:
				level = len(h[1])
			case len(h[1]) <= level:
				level = 0
			}
		}
		if level > 0 || name == "" {
			lines = append(lines, l)
		}
	}
	return lines
}

// checkLink says what is wrong with a link, "" if nothing is. Those that lead away are
// nobody's business here.
func checkLink(t *testing.T, from, target string) string {
	if strings.Contains(target, "://") {
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	if file = path.Join(path.Dir(from), file); strings.HasPrefix(target, "#") {
		file = from
	}
	if _, err := os.Stat(file); err != nil {
		return "there is no such file"
	}
	if anchor == "" {
		return ""
	}
	for _, line := range read(t, file) {
		if h := heading.FindStringSubmatch(line.text); h != nil && !line.fenced && slug(h[2]) == anchor {
			return ""
		}
	}
	return "there is no such heading"
}

// slug is what a heading is linked by.
func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// codeIndex is what there is to be named.
type codeIndex struct {
	packages  map[string]map[string]bool // by a package's name: what it declares
	members   map[string]map[string]bool // by a type's name, in whatever package: its methods and fields
	names     map[string]bool            // all of the above
	foreign   map[string]bool            // packages that are not ours, by name and path
	locks     []string                   // fields that are a mutex, as Type.field
	tests     []string
	targets   string   // of the Makefile
	sql       string   // of all migrations
	documents []string // all Markdown files
}

var (
	pathWord  = regexp.MustCompile(`^\.?[\w*-][\w./*-]*$`)
	nameWord  = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?$`)
	tableWord = regexp.MustCompile(`^sluice_\w+$`)
	testWord  = regexp.MustCompile(`^'?(Test|Fuzz|Benchmark)\w+`)
	mixedWord = regexp.MustCompile(`[a-z][A-Z]|^[A-Z]\w*[a-z]`)
)

var extensions = []string{".go", ".md", ".mod", ".sum", ".svg", ".sql", ".mjs", ".json", ".sh"}

// check says what is wrong with what stands in backticks, "" if nothing is.
func (c *codeIndex) check(word string) string {
	if words := strings.Fields(word); len(words) > 1 {
		return c.checkCommand(words)
	}
	word = strings.TrimPrefix(word, "*")
	switch {
	case strings.HasPrefix(word, "/"), strings.HasPrefix(word, "-"), c.foreign[word]: // a URL's path, a flag
		return ""
	case pathWord.MatchString(word) && (strings.Contains(word, "/") || slices.Contains(extensions, path.Ext(word)) || word == "Makefile"):
		if found, _ := filepath.Glob(strings.TrimSuffix(word, "/")); len(found) == 0 {
			return "there is no such file"
		}
		return ""
	case tableWord.MatchString(word):
		if !strings.Contains(c.sql, word) && !c.isMetric(word) {
			return "there is no such table, function or metric"
		}
		return ""
	case !nameWord.MatchString(word):
		return ""
	}
	return c.checkName(strings.Split(strings.TrimSuffix(word, "()"), "."))
}

// checkCommand looks for the packages, tests and targets that a command names.
func (c *codeIndex) checkCommand(words []string) string {
	for i, word := range words {
		switch folder, below := strings.CutPrefix(word, "./"); {
		case below:
			if _, err := os.Stat(strings.TrimSuffix(folder, "/...")); err != nil && folder != "..." {
				return "there is no " + word
			}
		case testWord.MatchString(word) && !slices.ContainsFunc(c.tests, func(name string) bool {
			return strings.HasPrefix(name, strings.Trim(testWord.FindString(word), "'"))
		}):
			return "there is no " + word
		case i == 1 && words[0] == "make" && !strings.Contains(c.targets, "\n"+word+":"):
			return "there is no such target"
		}
	}
	return ""
}

// checkName looks for a declaration: name, Type.member, package.Name or
// package.Type.member. A single word in small letters may be anything.
func (c *codeIndex) checkName(parts []string) string {
	first := parts[0]
	declared, ours := c.packages[first]
	switch {
	case len(parts) == 1 && (!mixedWord.MatchString(first) || c.names[first]):
		return ""
	case len(parts) == 1:
		return "nothing has that name"
	case ours && declared[parts[1]] && (len(parts) == 2 || c.members[parts[1]][parts[2]]):
		return ""
	case len(parts) == 2 && c.members[first][parts[1]]:
		return ""
	case c.foreign[first] && !ours:
		return ""
	case ours:
		return "package " + first + " has no " + strings.Join(parts[1:], ".")
	case c.members[first] != nil:
		return "no type " + first + " has a method or field " + parts[1]
	}
	return "no package and no type is called " + first
}

func (c *codeIndex) isMetric(word string) bool {
	for name := range metrics.Meaning {
		if strings.HasPrefix(word, "sluice_"+strings.ReplaceAll(string(name), ".", "_")) {
			return true
		}
	}
	return false
}

// parseCode reads all that there is below the root.
var parseCode = sync.OnceValues(func() (*codeIndex, error) {
	c := &codeIndex{packages: map[string]map[string]bool{}, members: map[string]map[string]bool{}, names: map[string]bool{}, foreign: map[string]bool{}}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		return nil, err
	}
	c.targets = string(makefile)
	files := token.NewFileSet()
	err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "node_modules", "testdata", "bin", "artifacts", "sluice-data"}, entry.Name()):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			c.documents = append(c.documents, filepath.ToSlash(name))
		case path.Ext(name) == ".sql":
			text, err := os.ReadFile(name)
			c.sql += string(text)
			return err
		case path.Ext(name) == ".go":
			file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return fmt.Errorf("parse %s: %w", name, err)
			}
			c.add(file, strings.HasSuffix(name, "_test.go"), hasLocks(filepath.ToSlash(name)))
		}
		return nil
	})
	for name := range c.packages {
		delete(c.foreign, name)
	}
	return c, err
})

// hasLocks tells whether the locks of a file stand in the list: not those of tests, nor
// of programs that measure.
func hasLocks(file string) bool {
	return !strings.HasPrefix(file, "benchmarks/") && !strings.HasPrefix(file, "examples/") && !strings.HasPrefix(file, "cmd/") && !forTests(path.Dir(file))
}

// add takes in what a file declares.
func (c *codeIndex) add(file *ast.File, test, locks bool) {
	declared := c.packages[file.Name.Name]
	if declared == nil {
		declared = map[string]bool{}
		c.packages[file.Name.Name] = declared
	}
	for _, imported := range file.Imports {
		name := strings.Trim(imported.Path.Value, `"`)
		c.foreign[name], c.foreign[path.Base(name)] = true, true
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			switch {
			case d.Recv != nil:
				c.member(receiver(d.Recv.List[0].Type), d.Name.Name)
			case test:
				c.tests = append(c.tests, d.Name.Name)
				c.names[d.Name.Name] = true
			default:
				declared[d.Name.Name], c.names[d.Name.Name] = true, true
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					for _, name := range s.Names {
						declared[name.Name], c.names[name.Name] = true, true
					}
				case *ast.TypeSpec:
					declared[s.Name.Name], c.names[s.Name.Name] = true, true
					c.addType(s, locks && !test)
				}
			}
		}
	}
}

func (c *codeIndex) addType(s *ast.TypeSpec, locks bool) {
	var fields *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields = t.Methods
	default:
		return
	}
	for _, field := range fields.List {
		for _, name := range field.Names {
			c.member(s.Name.Name, name.Name)
			if of, ok := field.Type.(*ast.SelectorExpr); ok && locks && (of.Sel.Name == "Mutex" || of.Sel.Name == "RWMutex") {
				c.locks = append(c.locks, s.Name.Name+"."+name.Name)
			}
		}
		if len(field.Names) == 0 {
			c.member(s.Name.Name, receiver(field.Type))
		}
	}
}

func (c *codeIndex) member(of, name string) {
	if c.members[of] == nil {
		c.members[of] = map[string]bool{}
	}
	c.members[of][name], c.names[name] = true, true
}

// receiver is the name of the type that an expression is of, without its package.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.IndexListExpr:
		return receiver(of.X)
	case *ast.SelectorExpr:
		return of.Sel.Name
	case *ast.Ident:
		return of.Name
	}
	return ""
}
