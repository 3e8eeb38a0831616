package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/auth"
)

// devSecretFile is where the secret is that token makes itself, and finds again.
const devSecretFile = "sluice-dev.secret"

// tokenCmd makes a token, or says what is wrong with one.
type tokenCmd struct {
	Sub     string        `placeholder:"SUBJECT" help:"Whom the token is for: its socket's id is user:SUBJECT."`
	Topics  []string      `placeholder:"PATTERN" help:"Topics that it may join: exact, or ending in *; none: it lists none, and what the rules ask a token for is closed to it."`
	Expires time.Duration `help:"How long it counts from now; 0: for ever, which a service refuses unless told otherwise."`
	JTI     string        `name:"jti" placeholder:"ID" help:"Id of the token, by which it can be revoked; none: it has no id."`
	Check   string        `placeholder:"TOKEN" help:"Say what this token grants, or what is wrong with it; - reads it from standard input."`

	JWTSecretFile string        `name:"jwt-secret-file" placeholder:"FILE" help:"File with the secret that signs tokens, as of the service; none: sluice-dev.secret in this folder, which is made."`
	JWTKeysFile   string        `name:"jwt-keys-file" placeholder:"FILE" help:"File with public keys to check a token with, as of the service; none: by the secret."`
	JWTKeysURL    string        `name:"jwt-keys-url" placeholder:"URL" help:"Where such keys are fetched from to check a token with, https off loopback; none: by the secret."`
	JWTIssuer     string        `name:"jwt-issuer" placeholder:"NAME" help:"What iss says, or has to say; none: it is left out, or not looked at."`
	JWTAudience   []string      `name:"jwt-audience" placeholder:"NAME" help:"What aud says, or one of which it has to say; none: it is left out, or not looked at."`
	JWTAlgorithms []string      `name:"jwt-algorithms" placeholder:"NAME" help:"Algorithms that a checked token may be signed with; none: all that fit the keys."`
	JWTLeeway     time.Duration `name:"jwt-leeway" help:"How far the clock of who made a checked token may be from ours."`
	JWTRequireExp bool          `name:"jwt-require-exp" help:"Whether a checked token has to expire."`
}

// Help says more than the one line of the summary.
func (c *tokenCmd) Help() string {
	return `For trying rules out: in production, the application that knows the users makes their tokens, by any library for JSON Web Tokens. Printed is the token alone. It is signed by HS256 with the secret that the service has, or, with none, by one that is made here for development.

With --check it is judged as the service would by the same flags, environment and file, but for revocations, which are in the store; exit status 1 says that it does not count.`
}

// Examples implements exemplary.
func (c *tokenCmd) Examples() string {
	return `sluice token --sub 7 --topics 'room:*' --expires 1h
sluice token --sub 7 --jwt-secret-file secret | sluice token --jwt-secret-file secret --check -
sluice watch --token "$(sluice token --topics demo)" demo`
}

// Run is called by kong.
func (c *tokenCmd) Run(ctx context.Context, p process) error {
	if c.Check != "" {
		return c.judge(ctx, p)
	}
	if c.JWTKeysFile != "" {
		return &usageError{"--jwt-keys-file", c.JWTKeysFile, "nothing without --check: public keys sign nothing"}
	}
	if c.JWTKeysURL != "" {
		return &usageError{"--jwt-keys-url", secretless(c.JWTKeysURL), "nothing without --check: public keys sign nothing"}
	}
	if c.Expires < 0 {
		return &usageError{"--expires", c.Expires.String(), "a duration from 0"}
	}
	secret, err := c.secret(p)
	if err != nil {
		return err
	}
	now := time.Now()
	claims := jwt.MapClaims{"iat": now.Unix()}
	if c.Expires > 0 {
		claims["exp"] = now.Add(c.Expires).Unix()
	}
	for claim, value := range map[string]string{"sub": c.Sub, "jti": c.JTI, "iss": c.JWTIssuer} {
		if value != "" {
			claims[claim] = value
		}
	}
	if len(c.JWTAudience) > 0 {
		claims["aud"] = c.JWTAudience
	}
	if len(c.Topics) > 0 {
		claims["topics"] = c.Topics
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return fmt.Errorf("sign the token: %w", err)
	}
	_, err = fmt.Fprintln(p.stdout, token)
	return err
}

// secret is what signs: the service's, or one for development, which is made if it is not
// there yet.
func (c *tokenCmd) secret(p process) ([]byte, error) {
	path := c.JWTSecretFile
	if path == "" {
		path = devSecretFile
		if err := makeSecret(p, path); err != nil {
			return nil, err
		}
		fmt.Fprintf(p.stderr, "sluice: signed with %s, which is for development alone; serve with: sluice serve --jwt-secret-file %[1]s\n", path)
	}
	text, err := os.ReadFile(path)
	secret := strings.TrimRight(string(text), "\r\n") // as the service reads it
	if err == nil && secret == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, &usageError{"--jwt-secret-file", path, fmt.Sprintf("a file with a secret (%v)", err)}
	}
	return []byte(secret), nil
}

// makeSecret makes a file with a secret, unless there is one.
func makeSecret(p process, path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		_, err = fmt.Fprintln(file, rand.Text()+rand.Text())
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("make a secret: %w (or name one with --jwt-secret-file)", err)
	}
	fmt.Fprintf(p.stderr, "sluice: made the secret %s\n", path)
	return nil
}

// maxToken is more than a token has that fits into a request's head.
const maxToken = 64 << 10

// judge says what a token grants, or why it does not count.
func (c *tokenCmd) judge(ctx context.Context, p process) error {
	token := c.Check
	if token == "-" {
		text, err := io.ReadAll(io.LimitReader(p.stdin, maxToken))
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token == "" {
		return &usageError{"--check", "", "a token, or - for one from standard input"}
	}
	authenticator, err := c.open(p)
	if err != nil {
		return err
	}
	granted, err := authenticator.Authenticate(ctx, &socket.ConnectRequest{Token: token})
	if err != nil && authenticator.Err() != nil { // why is told already
		return errors.New("it is not known whether the token counts, as its keys cannot be fetched: see that --jwt-keys-url can be reached from here")
	}
	refusal := new(socket.Refusal)
	if errors.As(err, &refusal) {
		return fmt.Errorf("the token does not count (%s): %s", refusal.Cause, refusal.Reason)
	}
	if err != nil {
		return err
	}
	return describeToken(p.stdout, token, granted)
}

// open reads the keys that tokens are checked with.
func (c *tokenCmd) open(p process) (*auth.Authenticator, error) {
	secret := c.JWTSecretFile
	switch {
	case c.JWTKeysURL != "" && (secret != "" || c.JWTKeysFile != ""):
		return nil, &usageError{"--jwt-keys-url", secretless(c.JWTKeysURL), "nothing, since --jwt-secret-file or --jwt-keys-file is given too: choose one"}
	case c.JWTKeysURL != "":
		if err := auth.CheckKeysURL(c.JWTKeysURL); err != nil {
			return nil, &usageError{"--jwt-keys-url", secretless(c.JWTKeysURL), fmt.Sprintf("an absolute URL of https, or of http on loopback (%v)", err)}
		}
	case secret != "" && c.JWTKeysFile != "":
		return nil, &usageError{"--jwt-keys-file", c.JWTKeysFile, "nothing, since --jwt-secret-file is given too: choose one"}
	case secret == "" && c.JWTKeysFile == "":
		secret = devSecretFile
	}
	if c.JWTLeeway < 0 || c.JWTLeeway > auth.MaxLeeway {
		return nil, &usageError{"--jwt-leeway", c.JWTLeeway.String(), fmt.Sprintf("0 to %v", auth.MaxLeeway)}
	}
	authenticator, err := auth.Open(auth.Config{
		SecretFile: secret, KeysFile: c.JWTKeysFile, KeysURL: c.JWTKeysURL,
		Issuer: c.JWTIssuer, Audience: c.JWTAudience, Algorithms: c.JWTAlgorithms, Leeway: c.JWTLeeway, RequireExp: c.JWTRequireExp,
		Logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelError})), // keys that are not fetched
	})
	if err != nil {
		name, file := "--jwt-secret-file", secret
		if secret == "" {
			name, file = "--jwt-keys-file", c.JWTKeysFile
		}
		return nil, &usageError{name, file, fmt.Sprintf("a file with keys to verify tokens with: %v", err)}
	}
	return authenticator, nil
}

// describeToken prints what a token that counts says, and for how long it does.
func describeToken(w io.Writer, token string, granted *channels.Socket) error {
	until := "for ever"
	if !granted.Expires.IsZero() {
		until = fmt.Sprintf("until %s, %v from now", granted.Expires.UTC().Format(time.RFC3339), time.Until(granted.Expires).Round(time.Second))
	}
	id := granted.ID
	if id == "" {
		id = "of its own, since the token has no sub"
	}
	claims := strings.Split(token, ".")[1] // it has been verified: there are three parts
	text, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil {
		return fmt.Errorf("decode the claims: %w", err)
	}
	_, err = fmt.Fprintf(w, "counts     %s\nsocket id  %s\nclaims     %s\n", until, harmless([]byte(id)), harmless(text))
	return err
}
