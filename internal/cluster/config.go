package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// Config says how a [NATS] reaches the other nodes: by a server of its own if Listen is
// given, or by that of URL.
type Config struct {
	Self Node
	Name string // of the cluster: see [CheckName]

	// Installation is asked by Run for what tells the log that all nodes of the cluster
	// serve from all others. Nodes of different ones never hear of each other.
	Installation func() string

	// Secret is shared by all nodes: what is not signed with it counts for nothing, and
	// no server without it is let in. Empty: whoever reaches the bus is trusted.
	Secret []byte

	// Listen is the address, host:port, where the servers of other nodes connect; the port
	// 0 is any that is free. Routes are the addresses of some others: of one at least of
	// those that are there already, which tells of the rest. Advertise is the address that
	// others are told to reach this one by; empty: what they see it by.
	Listen    string
	Routes    []string
	Advertise string
	TLS       *tls.Config // of both sides of connections between servers; nil: plain TCP

	// URL is that of an outside NATS, several with commas between them. CredsFile has the
	// credentials for it, ClientTLS what is trusted; nil: what the machine does.
	URL       string
	CredsFile string
	ClientTLS *tls.Config

	// NodeTimeout is after how long a silence another node is no longer one of Nodes, and
	// nearly how soon a connection that is cut is noticed. Longer bears machines that are too
	// busy to say anything; shorter notices sooner who has gone without a word. Zero is the
	// constant NodeTimeout.
	NodeTimeout time.Duration

	Metrics *metrics.Set // nil: nothing is counted
	Logger  *slog.Logger // nil means slog.Default
}

// pingEvery and pingsMissed that are is how soon a connection that is cut is noticed.
func (c *Config) pingEvery() time.Duration { return c.NodeTimeout * 2 / 3 }

// dialTimeout is how long a connection may take to be made.
func (c *Config) dialTimeout() time.Duration { return c.NodeTimeout * 2 / 3 }

// ListenError says that there can be no server at an address.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("listen for the cluster's other nodes on %s: %v", e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

var name = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// CheckName returns an error that says what a cluster's name may be if this one cannot.
func CheckName(text string) error {
	if !name.MatchString(text) {
		return errors.New("1 to 32 letters, digits and any of _-")
	}
	return nil
}

// MinSecret is how many bytes a secret has at least.
const MinSecret = 16

// subjects are what may be published to, but for those of the bus's own.
var subjects = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}$`)

// CheckSubject returns an error for what is no subject: up to four words of letters,
// digits, _ and -, with dots between them, of which the first is not one of the bus's own.
func CheckSubject(subject string) error {
	if !subjects.MatchString(subject) || subject == helloSubject || subject == nodeSubject || len(subject) > len(nodeSubject) && subject[:len(nodeSubject)+1] == nodeSubject+"." {
		return fmt.Errorf("%q is no subject of the cluster's bus", subject)
	}
	return nil
}

// RedactURL is a NATS URL, or several with commas between them, with nothing but the
// schemes and the hosts: what else there is may be a password or a token. What is none is
// an ellipsis.
func RedactURL(text string) string {
	if text == "" {
		return ""
	}
	var shown []string
	for each := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(each))
		switch {
		case err != nil || u.Host == "":
			shown = append(shown, "…")
		case u.User != nil:
			shown = append(shown, u.Scheme+"://…@"+u.Host)
		default:
			shown = append(shown, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(shown, ",")
}
