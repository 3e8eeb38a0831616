package connlimit

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

func addresses(t *testing.T, max int, trusted ...string) *Addresses {
	t.Helper()
	prefixes, err := ParseProxies(trusted)
	if err != nil {
		t.Fatal(err)
	}
	return NewAddresses(max, prefixes)
}

func TestClient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		peer, trusted string
		forwarded     []string
		want          string
	}{
		{"192.0.2.1:5", "", nil, "192.0.2.1"},
		{"192.0.2.1:5", "", []string{"203.0.113.9"}, "192.0.2.1"}, // anybody can say so
		{"10.0.0.1:5", "10.0.0.0/8", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"}, // what the client itself has sent stands left
		{"10.0.0.1:5", "10.0.0.0/8", []string{"198.51.100.1, 203.0.113.9, 10.9.9.9"}, "203.0.113.9"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{"198.51.100.1", "203.0.113.9,10.9.9.9", "10.8.8.8"}, "203.0.113.9"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{"10.2.2.2, 10.3.3.3"}, "10.2.2.2"},
		{"10.0.0.1:5", "10.0.0.0/8", nil, "10.0.0.1"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{""}, "10.0.0.1"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{"203.0.113.9, nonsense"}, "10.0.0.1"},
		{"10.0.0.1:5", "10.0.0.0/8", []string{"203.0.113.9,"}, "10.0.0.1"},
		{"10.0.0.1:5", "10.0.0.1", []string{"203.0.113.9:443"}, "203.0.113.9"},
		{"[::ffff:10.0.0.1]:5", "10.0.0.1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"10.0.0.1:5", "::ffff:10.0.0.0/104", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[fe80::1%eth0]:5", "fe80::/10", []string{"203.0.113.9"}, "203.0.113.9"},
		{"@", "10.0.0.0/8", []string{"203.0.113.9"}, ""},
	} {
		var trusted []string
		if test.trusted != "" {
			trusted = strings.Split(test.trusted, ",")
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = test.peer, test.forwarded
		got := addresses(t, 1, trusted...).Client(r)
		if want, _ := netip.ParseAddr(test.want); got != want {
			t.Errorf("%s with %q, trusting %q: got %v, want %s", test.peer, test.forwarded, test.trusted, got, test.want)
		}
	}
	for _, bad := range []string{"x", "10.0.0.0/33", "fe80::1%eth0", "10.0.0", ""} {
		if _, err := ParseProxies([]string{bad}); err == nil {
			t.Errorf("%q is taken for a network", bad)
		}
	}
}

func TestSharesOfAddresses(t *testing.T) {
	t.Parallel()
	a := addresses(t, 2)
	var leave []func()
	for _, test := range []struct {
		addr string
		ok   bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8:0:1::1", true}, {"2001:db8:0:1:ffff::2", true}, {"2001:db8:0:1::3", false}, {"2001:db8:0:2::1", true},
	} {
		release, ok := a.Reserve(netip.MustParseAddr(test.addr))
		if ok != test.ok {
			t.Errorf("%s: %v", test.addr, ok)
		}
		if ok {
			leave = append(leave, release)
		}
	}
	for _, release := range leave {
		release()
	}
	if len(a.sockets) != 0 {
		t.Errorf("still counted: %v", a.sockets)
	}
}

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// dial has a listener accept a connection, and tells whether its client is still connected.
func dial(t *testing.T, l *Listener, host byte) (c *Conn, open func() bool) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	c = l.admit(from{there, &net.TCPAddr{IP: net.IPv4(192, 0, 2, host)}})
	if c == nil {
		return nil, nil
	}
	l.State(c, http.StateNew)
	return c, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !c.released
	}
}

// TestAFullListener: who waits longest without a request gives way; where all are at work a few
// are told, and the rest closed. Nothing is counted twice or for ever.
func TestAFullListener(t *testing.T) {
	t.Parallel()
	refused := 0
	l := &Listener{Max: 3, Spare: 2, Addresses: addresses(t, 0), Refused: func() { refused++ }}
	first, firstOpen := dial(t, l, 1)
	second, secondOpen := dial(t, l, 1)
	third, _ := dial(t, l, 1)
	l.State(first, http.StateActive)
	fourth, _ := dial(t, l, 1)
	if !firstOpen() || secondOpen() || fourth.over || l.Open() != 3 {
		t.Fatalf("first %v, second %v, %d open", firstOpen(), secondOpen(), l.Open())
	}
	l.State(second, http.StateClosed)
	for _, c := range []*Conn{third, fourth} {
		l.State(c, http.StateActive)
	}
	l.State(first, http.StateHijacked)
	fifth, _ := dial(t, l, 1)
	sixth, _ := dial(t, l, 1)
	seventh, _ := dial(t, l, 1)
	if fifth == nil || !fifth.over || sixth == nil || !sixth.over || seventh != nil || refused != 2 {
		t.Fatalf("%v, %v, %v, %d refused", fifth, sixth, seventh, refused)
	}
	if !firstOpen() {
		t.Fatal("a connection at work gave way")
	}
	_, release := first.Detach()
	release()
	release()
	l.State(third, http.StateIdle)
	eighth, _ := dial(t, l, 1)
	ninth, _ := dial(t, l, 1)
	if eighth.over || ninth.over || l.Open() != 5 {
		t.Fatalf("%d open", l.Open())
	}
	for _, c := range []*Conn{second, third, fourth, fifth, sixth, eighth, ninth} {
		c.Close()
		c.Close()
	}
	if l.Open() != 0 || l.over != 0 || l.idle.Len() != 0 {
		t.Errorf("%d open, %d over, %d idle", l.Open(), l.over, l.idle.Len())
	}
}

// TestAnAddressHasItsShare: one address fills its own share, whatever room there is.
func TestAnAddressHasItsShare(t *testing.T) {
	t.Parallel()
	l := &Listener{Max: 100, Spare: 1, Addresses: addresses(t, 1, "192.0.2.9")}
	var list []*Conn
	for i := range l.Addresses.perAddress() + 2 {
		c, _ := dial(t, l, 1)
		if want := i < l.Addresses.perAddress(); want != (c != nil && !c.over) {
			t.Errorf("connection %d: %v", i, c)
		}
		if c != nil {
			list = append(list, c)
		}
	}
	for _, host := range []byte{2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9} { // another's, and a proxy's
		if c, _ := dial(t, l, host); c == nil || c.over {
			t.Errorf("host %d has no room", host)
		}
	}
	for _, c := range list {
		c.Close()
	}
	if c, _ := dial(t, l, 1); c == nil || c.over {
		t.Error("what was given back is not there")
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, descriptors := range []int{0, 1, 16, 64, 200, 256, 1024, 1 << 20} {
		for _, sockets := range []int{0, 1, 10, 1 << 20} {
			p := PlanFor(descriptors, sockets)
			if p.Admin < 1 || p.Spare < 1 || p.Public < 0 || (descriptors > 0 || sockets > 0) && p.Public == 0 {
				t.Errorf("%d descriptors, %d sockets: %+v", descriptors, sockets, p)
			}
			if left := descriptors - p.Public - p.Admin - 2*p.Spare; descriptors >= 16 && left < min(forRest, descriptors/8) {
				t.Errorf("%d descriptors: %+v leaves %d", descriptors, p, left)
			}
		}
	}
}
