package sqlaccess

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Function is a function of the database, by its name as the database has it: upper case
// counts, and there are no quotes.
type Function struct{ Schema, Name string }

// arguments are what it takes, and returns what it gives.
const (
	arguments = "(topic text, claims jsonb)"
	returns   = "boolean"
)

// maxName is how many bytes a name in PostgreSQL may have.
const maxName = 63

// Parse reads a name with its schema, such as app.may_join.
func Parse(text string) (Function, error) {
	schema, name, found := strings.Cut(text, ".")
	f := Function{schema, name}
	if !found || CheckName(schema) != nil || CheckName(name) != nil || strings.Contains(name, ".") {
		return Function{}, errors.New("it is no name of a function with its schema, such as app.may_join")
	}
	return f, nil
}

// CheckName returns an error for what can be no name in the database.
func CheckName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' || r == '\x7f' || r == '\uFFFD' }) {
		return fmt.Errorf("it is no name of 1 to %d bytes, without quotes and control characters", maxName)
	}
	return nil
}

// String is the function's name as SQL has it.
func (f Function) String() string { return quoted(f.Schema) + "." + quoted(f.Name) }

// call is the expression that asks it. COALESCE takes neither several rows nor what is no
// boolean, and has NULL be a no.
func (f Function) call() string {
	return fmt.Sprintf("SELECT coalesce(%s($1::text, $2::jsonb), false)", pgx.Identifier{f.Schema, f.Name}.Sanitize())
}

// plain is a name that people write without quotes.
var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// quoted is a name as SQL has it, in quotes only where they are needed.
func quoted(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}
