package socket

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// count is the number of values in params, and how deep they nest.
func count(value any) (n, depth int) {
	switch value := value.(type) {
	case Params:
		for _, each := range value {
			inner, d := count(each)
			n, depth = n+inner, max(depth, d+1)
		}
	case []any:
		for _, each := range value {
			inner, d := count(each)
			n, depth = n+inner, max(depth, d+1)
		}
	default:
		n = 1
	}
	return n, depth
}

func FuzzParseParams(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a[b]=c&a[d]=e", "a[]=1&a[]=2", "a[b][][c]=d", "a[=1&[]=2&=3", "%zz=1", "a=1&a[b]=2", "vsn=2.0.0&token=x%2By"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		params := parseParams(query)
		n, depth := count(params)
		if n > maxParams || depth > maxParamDepth+1 {
			t.Fatalf("%d values, %d deep", n, depth)
		}
		// What is plain reads as the standard library reads it.
		if plain, err := url.ParseQuery(query); err == nil && !strings.ContainsAny(query, "[]%") && strings.Count(query, "&") < maxParams {
			for name, values := range plain {
				if got := params.Get(name); name != "" && got != values[len(values)-1] {
					t.Fatalf("%q: %q is %q, not %q", query, name, got, values)
				}
			}
		}
	})
}

func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"phoenix, base64url.bearer.phx.YWJj", "base64url.bearer.phx.YWJj", "phoenix,base64url.bearer.phx.-_+/==", ",,", "base64url.bearer.phx."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if token := bearerToken(http.Header{protocolHeader: {header}}); token != "" && !strings.Contains(header, bearerPrefix) {
			t.Fatalf("%q gives the token %q", header, token)
		}
	})
}

func FuzzParseOrigin(f *testing.F) {
	for _, seed := range []string{"//host", "//*.host", "https://host:8443", "host", "//", "https://", "//ho st", "//[::1]:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		o, err := parseOrigin(pattern)
		r := &http.Request{Host: "other.example", Header: http.Header{"Origin": {"https://elsewhere.example"}}}
		if err == nil && pattern != "" && !strings.Contains(strings.ToLower(pattern), "example") && !strings.Contains(pattern, "*") && !strings.HasSuffix(pattern, "://") && (&gate{list: []origin{o}, open: func() bool { return false }}).allows(r) {
			t.Fatalf("%q lets %q in", pattern, r.Header.Get("Origin"))
		}
	})
}
