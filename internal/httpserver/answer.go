package httpserver

import (
	"encoding/json"
	"net/http"
)

// Answer sends a value as JSON.
func Answer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // a programmer's error: all values are ours
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// Refuse answers an error: what is wrong, and what to do about it.
func Refuse(w http.ResponseWriter, status int, wrong, hint string) {
	Answer(w, status, struct {
		Error string `json:"error"`
		Hint  string `json:"hint"`
	}{wrong, hint})
}
