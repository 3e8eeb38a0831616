package admin

import (
	_ "embed"
	"net/http"
)

// OpenAPI describes what the admin listener serves, as OpenAPI 3.1.
//
//go:embed openapi.yaml
var OpenAPI []byte

// getOpenAPI serves it (RFC 9512).
func getOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(OpenAPI) // a reader that has gone is no concern of ours
}
