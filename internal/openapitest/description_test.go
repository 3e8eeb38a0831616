package openapitest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/openapitest"
)

const described = `
openapi: 3.1.1
paths:
  /things:
    get:
      parameters: [{ $ref: "#/components/parameters/limit" }]
      responses:
        "200": { content: { application/json: { schema: { $ref: "#/components/schemas/Thing" } } } }
        "401": { $ref: "#/components/responses/Unauthorized" }
    post:
      security: [{ token: [] }, {}]
      requestBody: { $ref: "#/components/requestBodies/Things" }
      responses:
        "202": { content: { text/plain: { schema: { type: string, minLength: 1 } } } }
  /things/{path}:
    delete:
      parameters: [{ name: path, in: path, required: true, x-slashes: true, schema: { type: string, maxLength: 9 } }]
      responses:
        "200": { content: { application/json: { schema: { $ref: "#/components/schemas/Thing" } } } }
components:
  parameters:
    limit: { name: limit, in: query, schema: { type: integer, minimum: 0 } }
  requestBodies:
    Things:
      content:
        application/json: { schema: { $ref: "#/components/schemas/Thing" } }
        application/x-ndjson: { schema: { type: array, items: { $ref: "#/components/schemas/Thing" } } }
  responses:
    Unauthorized:
      headers: { WWW-Authenticate: { required: true, schema: { type: string } } }
      content: { application/json: { schema: { $ref: "#/components/schemas/Error" } } }
  schemas:
    Error: { type: object, required: [error], properties: { error: { type: string } }, additionalProperties: false }
    Thing: { type: object, required: [at], properties: { at: { type: [string, "null"], format: date-time } }, additionalProperties: false }
`

const (
	thing = `{"at":"2026-01-02T03:04:05Z"}`
	wrong = `{"error":"no"}`
)

// TestCheck has exchanges that are described and, for each thing that can be amiss, one
// that is not.
func TestCheck(t *testing.T) {
	t.Parallel()
	d, err := openapitest.Read([]byte(described), "/page")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, request, body string
		kind                string // of the body
		status              int
		answer              string
		header              string // of the answer, beside its type
		want                string // in the error; "": there is none
	}{
		{"served", "GET /things", "", "", 200, thing, "", ""},
		{"with slashes", "GET //things/", "", "", 200, thing, "", ""},
		{"null", "GET /things", "", "", 200, `{"at":null}`, "", ""},
		{"the head alone", "HEAD /things", "", "", 200, "", "", ""},
		{"a parameter", "GET /things?limit=7", "", "", 200, thing, "", ""},
		{"no value of it", "GET /things?limit=", "", "", 200, thing, "", ""},
		{"one that is wrong, and served", "GET /things?limit=x", "", "", 200, thing, "", "limit"},
		{"one that is not described", "GET /things?offset=7", "", "", 200, thing, "", "offset is not described"},
		{"a status", "GET /things", "", "", 500, wrong, "", "status is not described"},
		{"a field", "GET /things", "", "", 200, `{"at":null,"more":1}`, "", "more"},
		{"no field", "GET /things", "", "", 200, `{}`, "", "at"},
		{"a field's type", "GET /things", "", "", 200, `{"at":7}`, "", "at"},
		{"a field's format", "GET /things", "", "", 200, `{"at":"now"}`, "", "date-time"},
		{"no JSON", "GET /things", "", "", 200, `{"at"`, "", "no application/json"},
		{"a header", "GET /things", "", "", 401, wrong, "WWW-Authenticate: Bearer", ""},
		{"no header", "GET /things", "", "", 401, wrong, "", "WWW-Authenticate is missing"},
		{"a type", "POST /things", thing, "", 202, "done", "Content-Type: text/plain; charset=utf-8", ""},
		{"another type", "POST /things", thing, "", 202, "done", "Content-Type: text/html", "text/html"},
		{"any type is JSON", "POST /things", thing, "application/x-www-form-urlencoded", 202, "done", "Content-Type: text/plain", ""},
		{"a wrong body is served", "POST /things", wrong, "", 202, "done", "Content-Type: text/plain", "should not be"},
		{"lines", "POST /things", thing + "\n\n" + thing, "application/x-ndjson", 202, "done", "Content-Type: text/plain", ""},
		{"a wrong line is served", "POST /things", thing + "\n" + wrong, "application/x-ndjson", 202, "done", "Content-Type: text/plain", "should not be"},
		{"no method", "PUT /things", "", "", 405, wrong, "Allow: GET, HEAD, POST", ""},
		{"not told which", "PUT /things", "", "", 405, wrong, "Allow: GET", "Allow"},
		{"a method", "PUT /things", "", "", 200, thing, "", "method is not described"},
		{"nothing there", "GET /other", "", "", 404, wrong, "", ""},
		{"not told what is wrong", "GET /other", "", "", 404, thing, "", "error"},
		{"refused before", "GET /other", "", "", 401, wrong, "", ""},
		{"a path", "GET /other", "", "", 200, thing, "", "path is not described"},
		{"outside", "GET /page/of", "", "", 200, "what", "", ""},
		{"not outside", "GET /pages", "", "", 200, "what", "", "path is not described"},
		{"of a path", "DELETE /things/a%2Fb/c", "", "", 200, thing, "", ""},
		{"too long", "DELETE /things/a%2Fb/c/d/e/f", "", "", 200, thing, "", "path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			method, target, _ := strings.Cut(test.request, " ")
			at, err := url.Parse("http://host" + target)
			if err != nil {
				t.Fatal(err)
			}
			header := http.Header{"Content-Type": {"application/json"}}
			if name, value, ok := strings.Cut(test.header, ": "); ok {
				header.Set(name, value)
			}
			err = d.Check(openapitest.Exchange{Method: method, URL: at, Type: test.kind, Body: []byte(test.body), Status: test.status, Header: header, Answer: []byte(test.answer)})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestDescription has a description tell what is in it, and what is wrong with one.
func TestDescription(t *testing.T) {
	t.Parallel()
	d, err := openapitest.Read([]byte(described))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Operations(); !slices.Equal(got, []string{"DELETE /things/{path}", "GET /things", "POST /things"}) {
		t.Errorf("the operations are %q", got)
	}
	if got := d.Statuses("GET /things"); len(got) != 2 || got[200] != "" || got[401] != "Unauthorized" {
		t.Errorf("the statuses are %v", got)
	}
	if got := d.Schemes("POST /things"); !slices.Equal(got, []string{"token", ""}) {
		t.Errorf("the schemes are %q", got)
	}
	for _, change := range [][2]string{{"minLength: 1", "minLength: x"}, {"/schemas/Thing", "/schemas/Nothing"}, {`"202"`, `"2XX"`}, {"paths:", "paths: ["}} {
		if _, err := openapitest.Read([]byte(strings.ReplaceAll(described, change[0], change[1]))); err == nil {
			t.Errorf("with %q it is read", change[1])
		}
	}
}
