package openapitest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Description is what an API is said to do. It may be used concurrently.
type Description struct {
	operations []*operation       // immutable after Read; paths with parameters last
	outside    []string           // prefixes of paths that are not described
	failure    *jsonschema.Schema // of each answer that refuses
}

// operation is one method of one path.
type operation struct {
	method, path string
	segments     []string // of the path
	parameters   []parameter
	bodies       map[string]*jsonschema.Schema // that it takes, by media type
	responses    map[int]response              // by status
	security     []string                      // names of schemes, of which one is enough; "": none is needed
}

// parameter is one of a request, or a header of an answer.
type parameter struct {
	in, name string
	required bool
	slashes  bool // of a path: it takes all that is left
	schema   *jsonschema.Schema
}

// response is what may be answered with a status.
type response struct {
	name    string // of the component that says so, "" where there is none
	headers []parameter
	bodies  map[string]*jsonschema.Schema // by media type
}

const root = "file:///openapi.json"

// Read reads a description in YAML. What is asked of paths that begin with one of outside
// is no matter of it.
func Read(text []byte, outside ...string) (*Description, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, err
	}
	r := reader{document: document, compiler: jsonschema.NewCompiler()}
	r.compiler.DefaultDraft(jsonschema.Draft2020)
	r.compiler.AssertFormat()
	if err := r.compiler.AddResource(root, document); err != nil {
		return nil, err
	}
	d := &Description{outside: outside, failure: r.schema("#/components/schemas/Error")}
	for _, path := range names(r.object("#/paths")) {
		for _, method := range names(r.object("#/paths/" + escape(path))) {
			d.operations = append(d.operations, r.operation(method, path))
		}
	}
	slices.SortStableFunc(d.operations, func(x, y *operation) int {
		return strings.Compare(strings.ReplaceAll(x.path, "{", "~"), strings.ReplaceAll(y.path, "{", "~"))
	})
	return d, r.err
}

// Operations are all that are described, each as a method and a path.
func (d *Description) Operations() (all []string) {
	for _, op := range d.operations {
		all = append(all, op.method+" "+op.path)
	}
	return slices.Sorted(slices.Values(all))
}

// Statuses are what an operation may answer, with the component that says so, "" if it is
// its own.
func (d *Description) Statuses(operation string) map[int]string {
	statuses := map[int]string{}
	for _, op := range d.operations {
		if op.method+" "+op.path == operation {
			for status, response := range op.responses {
				statuses[status] = response.name
			}
		}
	}
	return statuses
}

// Schemes are the names of what lets in to an operation, "" for nobody needed.
func (d *Description) Schemes(operation string) []string {
	for _, op := range d.operations {
		if op.method+" "+op.path == operation {
			return op.security
		}
	}
	return nil
}

// reader reads a description, up to the first error.
type reader struct {
	document any
	compiler *jsonschema.Compiler
	err      error
}

// at is what a pointer into the document leads to, through what that refers to; and the
// pointer of it.
func (r *reader) at(pointer string) (value any, where string) {
	value = r.document
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch within := value.(type) {
		case map[string]any:
			value = within[part]
		case []any:
			index, err := strconv.Atoi(part)
			if err != nil || index < 0 || index >= len(within) {
				return nil, pointer
			}
			value = within[index]
		default:
			return nil, pointer
		}
	}
	if object, ok := value.(map[string]any); ok {
		if ref, ok := object["$ref"].(string); ok {
			return r.at(ref)
		}
	}
	return value, pointer
}

func (r *reader) list(pointer string) []any {
	value, _ := r.at(pointer)
	list, _ := value.([]any)
	return list
}

func (r *reader) object(pointer string) map[string]any {
	value, _ := r.at(pointer)
	object, _ := value.(map[string]any)
	return object
}

func (r *reader) schema(pointer string) *jsonschema.Schema {
	schema, err := r.compiler.Compile(root + pointer)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("the schema %s: %w", pointer, err)
	}
	return schema
}

// names are those of an object's fields, in one order always.
func names(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }

func escape(part string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(part) }

func (r *reader) operation(method, path string) *operation {
	at := "#/paths/" + escape(path) + "/" + method
	op := &operation{method: strings.ToUpper(method), path: path, segments: strings.Split(path, "/"), responses: map[int]response{}}
	for i := range r.list(at + "/parameters") {
		_, where := r.at(fmt.Sprintf("%s/parameters/%d", at, i))
		op.parameters = append(op.parameters, r.parameter(where))
	}
	if body, where := r.at(at + "/requestBody"); body != nil {
		op.bodies = r.content(where)
	}
	for _, status := range names(r.object(at + "/responses")) {
		code, err := strconv.Atoi(status)
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("%s %s: the status %q is no number", method, path, status)
		}
		_, where := r.at(at + "/responses/" + status)
		answer := response{bodies: r.content(where)}
		if name, ok := strings.CutPrefix(where, "#/components/responses/"); ok {
			answer.name = name
		}
		for _, name := range names(r.object(where + "/headers")) {
			header := r.parameter(where + "/headers/" + escape(name))
			header.name = name
			answer.headers = append(answer.headers, header)
		}
		op.responses[code] = answer
	}
	for _, each := range r.list(at + "/security") {
		object, _ := each.(map[string]any)
		if len(object) == 0 {
			op.security = append(op.security, "")
		}
		op.security = append(op.security, names(object)...)
	}
	return op
}

// parameter reads a parameter, or a header.
func (r *reader) parameter(at string) (p parameter) {
	object := r.object(at)
	p.in, _ = object["in"].(string)
	p.name, _ = object["name"].(string)
	p.required, _ = object["required"].(bool)
	p.slashes, _ = object["x-slashes"].(bool)
	p.schema = r.schema(at + "/schema")
	return p
}

// content is the schemas of bodies.
func (r *reader) content(at string) map[string]*jsonschema.Schema {
	kinds := map[string]*jsonschema.Schema{}
	for kind := range r.object(at + "/content") {
		kinds[kind] = r.schema(at + "/content/" + escape(kind) + "/schema")
	}
	return kinds
}
