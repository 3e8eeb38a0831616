package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request and its answer.
type Exchange struct {
	Method string
	URL    *url.URL
	Type   string // of the request's body, as Content-Type has it
	Body   []byte

	Status int
	Header http.Header // of the answer
	Answer []byte
}

// Check says what of an exchange the description does not have, nil if it has all of it.
func (d *Description) Check(x Exchange) error {
	if err := d.check(x); err != nil {
		return fmt.Errorf("%s %s, answered %d: %w", x.Method, x.URL.RequestURI(), x.Status, err)
	}
	return nil
}

func (d *Description) check(x Exchange) error {
	at := path.Clean("/" + x.URL.EscapedPath())
	if slices.ContainsFunc(d.outside, func(prefix string) bool { return at == prefix || strings.HasPrefix(at, prefix+"/") }) {
		return nil
	}
	op, values, methods := d.find(x.Method, at)
	switch {
	case op != nil:
	case len(methods) == 0 && x.Status == http.StatusNotFound, refusedBefore(x.Status):
		return fits(d.failure, "application/json", x.Header, x.Answer)
	case len(methods) == 0:
		return errors.New("the path is not described")
	case x.Status != http.StatusMethodNotAllowed:
		return errors.New("the method is not described")
	default:
		if allow := strings.Join(methods, ", "); x.Header.Get("Allow") != allow {
			return fmt.Errorf("the header Allow is %q, and described are %q", x.Header.Get("Allow"), allow)
		}
		return fits(d.failure, "application/json", x.Header, x.Answer)
	}
	if x.Status < 300 {
		if err := op.request(x, values); err != nil {
			return fmt.Errorf("it was served, and should not be: %w", err)
		}
	}
	return op.answer(x)
}

// refusedBefore tells whether a request was refused for who made it, before anyone looked
// where it leads.
func refusedBefore(status int) bool {
	return slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}, status)
}

// find is the operation that a request is for, with what its path's parameters are; and
// the methods that there are at the path.
func (d *Description) find(method, at string) (found *operation, values map[string]string, methods []string) {
	served := ""
	for _, op := range d.operations {
		match, ok := op.match(at)
		if !ok || served != "" && served != op.path {
			continue
		}
		served = op.path
		methods = append(methods, op.method)
		if op.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		if op.method == method || op.method == http.MethodGet && method == http.MethodHead {
			found, values = op, match
		}
	}
	return found, values, methods
}

// match says what the parameters of an operation's path are in another.
func (op *operation) match(at string) (values map[string]string, ok bool) {
	values = map[string]string{}
	given := strings.Split(at, "/")
	for i, segment := range op.segments {
		name, isParameter := strings.CutPrefix(segment, "{")
		switch name = strings.TrimSuffix(name, "}"); {
		case i >= len(given):
			return nil, false
		case isParameter:
			text := given[i]
			if op.slashes(name) {
				text, given = strings.Join(given[i:], "/"), given[:i+1]
			}
			plain, err := url.PathUnescape(text)
			if err != nil || text == "" {
				return nil, false
			}
			values[name] = plain
		case segment != given[i]:
			return nil, false
		}
	}
	return values, len(given) == len(op.segments)
}

func (op *operation) slashes(name string) bool {
	return slices.ContainsFunc(op.parameters, func(p parameter) bool { return p.name == name && p.slashes })
}

// request says what is wrong with a request.
func (op *operation) request(x Exchange, inPath map[string]string) error {
	query := x.URL.Query()
	for _, p := range op.parameters {
		text, ok := inPath[p.name]
		if p.in == "query" {
			text, ok = query.Get(p.name), query.Get(p.name) != ""
			query.Del(p.name)
		}
		switch {
		case !ok && p.required:
			return fmt.Errorf("the parameter %s is missing", p.name)
		case !ok:
			continue
		}
		if err := p.takes(text); err != nil {
			return err
		}
	}
	for name := range query {
		return fmt.Errorf("the parameter %s is not described", name)
	}
	if op.bodies == nil {
		return nil
	}
	kind, _, err := mime.ParseMediaType(x.Type)
	if schema := op.bodies[kind]; err == nil && schema != nil && kind != "application/json" {
		return fitsText(schema, kind, x.Body)
	}
	return fitsText(op.bodies["application/json"], "application/json", x.Body)
}

// takes says whether a text is a value that a parameter may have: as it stands, or as the
// number that it is.
func (p parameter) takes(text string) error {
	err := p.schema.Validate(text)
	if err == nil {
		return nil
	}
	if value, syntax := jsonschema.UnmarshalJSON(strings.NewReader(text)); syntax == nil {
		err = p.schema.Validate(value)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: %w", p.name, text, err)
	}
	return nil
}

// answer says what is wrong with an answer.
func (op *operation) answer(x Exchange) error {
	response, ok := op.responses[x.Status]
	if !ok {
		return errors.New("the status is not described")
	}
	for _, header := range response.headers {
		text := x.Header.Get(header.name)
		switch {
		case text == "" && header.required:
			return fmt.Errorf("the header %s is missing", header.name)
		case text == "":
			continue
		}
		if err := header.takes(text); err != nil {
			return err
		}
	}
	if x.Method == http.MethodHead {
		return nil
	}
	kind, _, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	schema := response.bodies[kind]
	if err != nil || schema == nil {
		return fmt.Errorf("the answer is of the type %q, which is not described", x.Header.Get("Content-Type"))
	}
	return fits(schema, kind, x.Header, x.Answer)
}

// fits holds an answer to a schema, if it is of the type.
func fits(schema *jsonschema.Schema, kind string, header http.Header, text []byte) error {
	if given, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || given != kind {
		return fmt.Errorf("the answer is of the type %q, not %s", header.Get("Content-Type"), kind)
	}
	return fitsText(schema, kind, text)
}

// fitsText holds a body to a schema: JSON, lines of it, or whatever else, which is a text.
func fitsText(schema *jsonschema.Schema, kind string, text []byte) error {
	var value any = string(text)
	var err error
	switch kind {
	case "application/json":
		value, err = jsonschema.UnmarshalJSON(bytes.NewReader(text))
	case "application/x-ndjson":
		list := []any{}
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			each, wrong := jsonschema.UnmarshalJSON(bytes.NewReader(line))
			err = errors.Join(err, wrong)
			list = append(list, each)
		}
		value = list
	}
	if err != nil {
		return fmt.Errorf("the body is no %s: %w", kind, err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("the body %.300s: %w", text, err)
	}
	return nil
}
