package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// adminClient is what publish, broadcast, consume, erase and revoke speak to a service's admin listener with.
type adminClient struct {
	base   string
	token  string
	client http.Client
}

// adminTimeout bounds one request: long for a commit, short for a wait.
const adminTimeout = time.Minute

func newAdminClient(base, tokenFile string) (*adminClient, error) {
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, &usageError{"--admin-url", base, "a URL such as " + defaultPost().AdminURL}
	}
	token, err := readToken(tokenFile)
	if err != nil {
		return nil, err
	}
	return &adminClient{
		base:   strings.TrimSuffix(base, "/"),
		token:  token,
		client: http.Client{Timeout: adminTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}},
	}, nil
}

// nextStep is what to do about an error of connecting to where flag says.
func nextStep(err error, flag string) string {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return "name it by " + flag + " as its certificate does; one that the system does not trust is trusted with SSL_CERT_FILE=FILE"
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return "no TLS is spoken there: see the scheme that " + flag + " begins with"
	}
	return "start it with: sluice serve; or name it with " + flag
}

// close lets go of the connections that are kept for the next request.
func (a *adminClient) close() { a.client.CloseIdleConnections() }

// errInterrupted says that a request was broken off by a signal: whether it
// was carried out is not known.
var errInterrupted = errors.New("interrupted")

// apiError is what the API answers when it refuses.
type apiError struct {
	Message string `json:"error"`
	Hint    string `json:"hint"`
	status  int

	// Of what is no longer kept.
	Epoch  string `json:"epoch"`
	Resume int64  `json:"resume"`
}

func (e *apiError) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return fmt.Sprintf("%s: %s", e.Message, e.Hint)
}

// ask sends a body, of which the API accepts all or nothing, and returns the answer.
func (a *adminClient) ask(ctx context.Context, path, contentType string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.base, err)
	}
	request.Header.Set("Content-Type", contentType)
	return a.exchange(request)
}

// get returns what stands at a path.
func (a *adminClient) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.base, err)
	}
	return a.exchange(request)
}

// maxAnswer bounds an answer, in bytes: a page of the log, which ends with an event of any size
// that --max-payload-bytes can allow.
const maxAnswer = 300 << 20

// reachError says that a service was not reached, or did not answer to the end.
type reachError struct {
	doing string
	err   error
	hint  string // none if empty
}

func (e *reachError) Error() string {
	if e.hint == "" {
		return fmt.Sprintf("%s: %v", e.doing, e.err)
	}
	return fmt.Sprintf("%s: %v; %s", e.doing, e.err, e.hint)
}

func (e *reachError) Unwrap() error { return e.err }

func (a *adminClient) exchange(request *http.Request) ([]byte, error) {
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := a.client.Do(request)
	if request.Context().Err() != nil {
		return nil, errInterrupted
	}
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, &reachError{"cannot reach " + a.base, err, nextStep(err, "--admin-url")}
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err == nil && response.StatusCode/100 == 2:
		return answer, nil
	case response.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s wants its admin token: give the file that holds it with --admin-token-file", a.base)
	case request.Context().Err() != nil:
		return nil, errInterrupted
	case err != nil:
		return nil, &reachError{doing: "read the answer of " + a.base, err: err}
	}
	if bytes.Contains(answer, []byte("HTTP request to an HTTPS server")) { // net/http's words
		return nil, fmt.Errorf("%s answers to TLS alone: begin --admin-url with https://", a.base)
	}
	refused := &apiError{status: response.StatusCode}
	if json.Unmarshal(answer, refused) != nil || refused.Message == "" {
		refused = &apiError{Message: fmt.Sprintf("%s answered %s: is that the admin listener of sluice?", a.base, response.Status), status: response.StatusCode}
	}
	return nil, refused
}
