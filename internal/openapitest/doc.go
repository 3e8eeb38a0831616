// Package openapitest holds what is asked over HTTP, and what is answered, to a
// description in OpenAPI 3.1. Tests hand in the description once ([Read]) and each
// exchange of theirs ([Description.Check]); package sluicetest does so for all that it
// asks the admin listener.
//
// # Guarantees
//
// What the description does not have is an error: a path, a method, a status, a type of
// body, a header that has to be there, and whatever a schema forbids. Schemas are those
// of JSON Schema 2020-12, with formats asserted. A request that breaks the description and
// is served all the same is an error too; one that is refused is not, as tests make many.
//
// # Shutdown
//
// It starts nothing.
package openapitest
