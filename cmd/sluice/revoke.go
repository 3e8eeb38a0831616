package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// revokeCmd has tokens count no more that have not expired.
type revokeCmd struct {
	Sub  *string `name:"sub" placeholder:"SUBJECT" help:"Revoke this subject's tokens: those that were issued before now, or do not say when."`
	JTI  *string `name:"jti" placeholder:"ID" help:"Revoke the token with this id, whenever it was issued."`
	List bool    `help:"List what is revoked, the oldest first, one in a line."`

	IssuedBefore string `placeholder:"TIME" help:"Revoke what was issued before this time by the issuer's clock, such as 2026-01-31T00:00:00Z or, as in iat, in seconds since 1970; none: now, by the store's clock."`
	Until        string `placeholder:"TIME" help:"How long it is in force: until the last of these tokens has expired; none: 30 days."`

	AdminURL       string `placeholder:"URL" help:"Admin listener of the service."`
	AdminTokenFile string `placeholder:"FILE" help:"File with the bearer token of the admin listener."`
}

// Help says more than the one line of the summary.
func (c *revokeCmd) Help() string {
	return `Sockets whose newest token is revoked are closed (1008) on all nodes within two seconds, and whoever brings one is refused. It is kept in the store (sluice_revocations). A subject who gets a new token may come back: take care first that nobody issues one to whom it is not due.

To do it twice does no harm: what is in force is never weakened, so neither time moves back. Where the issuer's clock is ahead of the store's, a token that was issued just before looks newer: name a later time with --issued-before. A time in the future bars a subject until then.`
}

// Examples implements exemplary.
func (c *revokeCmd) Examples() string {
	return `sluice revoke --sub 7
sluice revoke --jti 5e2c7b1a
sluice revoke --sub 7 --issued-before 2026-01-31T12:00:00Z --until 2026-03-01T00:00:00Z
sluice revoke --list`
}

// Run is called by kong.
func (c *revokeCmd) Run(ctx context.Context, p process) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	api, err := newAdminClient(c.AdminURL, c.AdminTokenFile)
	if err != nil {
		return err
	}
	defer api.close()
	if c.List {
		return c.list(ctx, p, api)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	answer, err := api.ask(ctx, "/api/revoke", "application/json", body)
	if err != nil {
		return err
	}
	var said revocation
	if json.Unmarshal(answer, &said) != nil || said.Until == "" {
		return errNotAdmin
	}
	kind, value := "sub", said.Sub
	if said.JTI != "" {
		kind, value = "jti", said.JTI
	}
	_, err = fmt.Fprintf(p.stdout, "revoked until %s: tokens with %s %q that were issued before %s\n", said.Until, kind, value, said.IssuedBefore)
	return err
}

// revocation is what the API is sent, and says.
type revocation struct {
	Sub          string `json:"sub,omitempty"`
	JTI          string `json:"jti,omitempty"`
	IssuedBefore string `json:"issued_before,omitempty"`
	Until        string `json:"until,omitempty"`
	Number       int64  `json:"number,omitempty"`
}

var errNotAdmin = errors.New("an answer that is none: is that the admin listener of sluice?")

// request is what the flags ask for.
func (c *revokeCmd) request() (r revocation, _ error) {
	var errs []error
	given := 0
	for _, each := range []struct {
		flag string
		from *string
		to   *string
	}{{"--sub", c.Sub, &r.Sub}, {"--jti", c.JTI, &r.JTI}} {
		if each.from == nil {
			continue
		}
		given++
		if *each.to = *each.from; *each.to == "" {
			errs = append(errs, &usageError{each.flag, "", "what the token says"})
		}
	}
	switch {
	case c.List && given > 0:
		errs = append(errs, &usageError{"--list", "true", "nothing, beside --sub or --jti"})
	case !c.List && given == 0:
		errs = append(errs, &usageError{"--sub", "", "a subject, or --jti with the id of a token, or --list"})
	case given == 2:
		errs = append(errs, &usageError{"--jti", *c.JTI, "nothing, beside --sub: revoke one after the other"})
	}
	before, err := timeOf("--issued-before", c.IssuedBefore)
	until, failure := timeOf("--until", c.Until)
	r.IssuedBefore, r.Until = before, until
	return r, errors.Join(append(errs, err, failure)...)
}

// timeOf reads a time, or seconds since 1970, as RFC 3339 has it; "" where there is none.
func timeOf(flag, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if seconds, failure := strconv.ParseInt(text, 10, 64); failure == nil && seconds > 0 {
		at, err = time.Unix(seconds, 0), nil
	}
	if err != nil || at.IsZero() || at.UTC().Year() > 9999 {
		return "", &usageError{flag, text, "a time such as 2026-01-31T00:00:00Z, or seconds since 1970"}
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// list prints what is revoked, page by page.
func (c *revokeCmd) list(ctx context.Context, p process, api *adminClient) error {
	for after := int64(0); ; {
		answer, err := api.get(ctx, "/api/revocations?limit=500&after="+strconv.FormatInt(after, 10))
		if err != nil {
			return err
		}
		var said struct {
			Revocations []json.RawMessage `json:"revocations"`
			More        bool              `json:"more"`
		}
		if json.Unmarshal(answer, &said) != nil || said.Revocations == nil {
			return errNotAdmin
		}
		before := after
		for _, each := range said.Revocations {
			var one revocation
			if json.Unmarshal(each, &one) != nil || one.Number <= after {
				return errNotAdmin
			}
			after = one.Number
			if _, err := fmt.Fprintf(p.stdout, "%s\n", each); err != nil {
				return err
			}
		}
		if !said.More {
			return nil
		}
		if after == before {
			return errNotAdmin
		}
	}
}
