package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	alice = newSeal(key{1}, "n", "i", []byte("a secret of all nodes"))
	bob   = newSeal(key{2}, "n", "i", []byte("a secret of all nodes"))
	plain = newSeal(key{3}, "n", "i", nil)
)

func TestEnvelopesAreOpened(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{nil, {0}, bytes.Repeat([]byte("x"), MaxData)} {
		for _, pair := range [][2]*seal{{alice, bob}, {plain, newSeal(key{4}, "n", "i", nil)}} {
			wire := pair[0].wrap("s", 7, data[:len(data)/2], data[len(data)/2:])
			e, dropped := pair[1].open("s", wire)
			if dropped != "" || e.from != pair[0].self || e.number != 7 || !bytes.Equal(e.data, data) {
				t.Errorf("%d bytes are opened as %v, %d, %d bytes: %q", len(data), e.from, e.number, len(e.data), dropped)
			}
			if len(wire)-len(data) > overhead {
				t.Errorf("%d bytes beside the data", len(wire)-len(data))
			}
		}
	}
}

// TestEnvelopesAreRefused changes each byte of one, and cuts it at each.
func TestEnvelopesAreRefused(t *testing.T) {
	t.Parallel()
	wire := alice.wrap("s", 7, []byte("data"))
	for i := range wire {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(wire)
			changed[i] ^= bit
			if _, dropped := bob.open("s", changed); dropped == "" {
				t.Errorf("with bit %x of byte %d changed it counts", bit, i)
			}
		}
		if _, dropped := bob.open("s", wire[:i]); dropped == "" {
			t.Errorf("its first %d bytes count", i)
		}
	}
	unsigned := bytes.Clone(wire[:len(wire)-macBytes])
	unsigned[3] = 0
	older, newer := bytes.Clone(wire), bytes.Clone(wire)
	older[2], newer[2] = oldestVersion-1, wireVersion+1
	for _, test := range []struct {
		name, subject string
		wire          []byte
		by            *seal
		want          string
	}{
		{"another subject", "s2", wire, bob, dropSignature},
		{"another secret", "s", newSeal(key{1}, "n", "i", []byte("another secret of nodes")).wrap("s", 7), bob, dropSignature},
		{"another name", "s", newSeal(key{1}, "n2", "i", nil).wrap("s", 7), plain, dropInstallation},
		{"another installation", "s", newSeal(key{1}, "n", "i2", nil).wrap("s", 7), plain, dropInstallation},
		{"no signature", "s", plain.wrap("s", 7), bob, dropUnsigned},
		{"the signature cut off", "s", unsigned, bob, dropUnsigned},
		{"a signature where there is no secret", "s", wire, plain, dropSignature},
		{"an older version", "s", older, bob, dropVersion},
		{"a newer version", "s", newer, bob, dropVersion},
		{"nothing", "s", nil, bob, dropMalformed},
		{"something", "s", []byte("+OK"), bob, dropMalformed},
	} {
		if _, dropped := test.by.open(test.subject, test.wire); dropped != test.want {
			t.Errorf("%s: %q, want %q", test.name, dropped, test.want)
		}
	}
}

// FuzzOpen has whatever comes over the wire be opened, and what is in it read.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add(plain.wrap("s", 1, []byte(`{"node":{"id":"0300000000000000","name":"a"}}`)))
	f.Add(plain.wrap("s", 1, []byte{isRequest, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 1, 'x', 'y'}))
	f.Add(alice.wrap("s", 1, []byte{isCancel}))
	b := New(Config{Self: NewNode("a", ""), Name: "n", Logger: slog.New(slog.DiscardHandler)})
	reader := newSeal(key{9}, "n", "i", nil)
	f.Fuzz(func(t *testing.T, wire []byte) {
		if _, dropped := bob.open("s", wire); dropped == "" && !bytes.Equal(wire, alice.wrap("s", 1, []byte{isCancel})) {
			t.Errorf("%x is taken for signed", wire)
		}
		e, dropped := reader.open("s", wire)
		if dropped != "" {
			return
		}
		if h, err := parseHello(e); err == nil && (h.Node.ID != e.from.String() || h.Node.Name == "") {
			t.Errorf("%x says hello for another: %+v", wire, h)
		}
		b.takeDirect(e, e.from.String())
	})
}

// TestServerIsForItsProcess has the port that a server needs be of no use to anybody.
func TestServerIsForItsProcess(t *testing.T) {
	t.Parallel()
	b := New(Config{Self: NewNode("a", ""), Name: "n", Listen: "0.0.0.0:0", Secret: []byte("a secret of all nodes"), Routes: []string{"h:1"}})
	options, err := b.serverOptions("i", "token")
	if err != nil || options.Host != "127.0.0.1" || options.Authorization != "token" || options.Cluster.Password == "" || strings.Contains(options.Cluster.Password, "secret") {
		t.Errorf("%+v, %v", options, err)
	}
	if password, _ := options.Routes[0].User.Password(); password != options.Cluster.Password {
		t.Error("routes do not say the secret")
	}
}

// TestTroubleIsToldNowAndThen has the same thing told once in a while, with how often it was.
func TestTroubleIsToldNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		a := newAlarm(slog.New(slog.NewTextHandler(&lines, nil)), nil)
		for range 100 {
			a.drop(dropUnsigned, 1)
			a.drop(dropRepeated, 1) // nobody's fault
			time.Sleep(time.Second)
		}
		if got := lines.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "count=1\n") || !strings.Contains(got, "count=60\n") || !strings.Contains(got, "--cluster-secret-file") {
			t.Errorf("it said %s", got)
		}
	})
}

// TestMembersAreBounded has ever new nodes say hello.
func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	m := newMembers(key{9}, NodeTimeout)
	hears := []string{m.self.String()}
	now := time.Now()
	for i := range 2 * maxLeft {
		k := key{1, byte(i), byte(i >> 8)}
		m.hear(k, 1, hello{Hears: hears}, now)
		m.hear(k, 2, hello{Bye: true}, now)
		m.hear(key{2, byte(i), byte(i >> 8)}, 1, hello{}, now)
	}
	for i := range 2 * maxPeers {
		m.hear(key{3, byte(i), byte(i >> 8)}, 1, hello{Hears: hears}, now)
	}
	if len(m.peers) != maxPeers || len(m.leaving) != maxPeers || len(m.strangers) != maxStrangers || len(m.left) != maxLeft || len(m.order) != maxLeft {
		t.Errorf("%d peers, %d strangers, %d that have left (%d)", len(m.peers), len(m.strangers), len(m.left), len(m.order))
	}
	if m.sweep(now.Add(NodeTimeout)); len(m.peers)+len(m.leaving)+len(m.strangers) != 0 || len(m.left) != maxLeft {
		t.Errorf("after a silence %d peers, %d strangers, %d that have left", len(m.peers), len(m.strangers), len(m.left))
	}
}

// TestOutboxIsBounded has nobody take what is put in.
func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	data := make([]byte, 64<<10)
	count := 0
	for ; o.put("s", data) == nil; count++ {
	}
	if most := Pending / len(data); count > most || count < most-2 {
		t.Errorf("%d messages of 64 KiB went in", count)
	}
	o.hello([]byte("first"))
	if m, ok := o.next(); !ok || string(m.data) != "first" {
		t.Errorf("next is %q of %s", m.data, m.subject)
	}
	if _, ok := o.next(); !ok || o.put("s", data) != nil {
		t.Error("there is no room after one was taken")
	}
	o.close(nil)
	for range count {
		if _, ok := o.next(); !ok {
			t.Fatal("what was put in is gone")
		}
	}
	if _, ok := o.next(); ok || o.put("s", nil) != ErrAway || o.bytes != 0 {
		t.Errorf("after the end: %v, %d bytes", ok, o.bytes)
	}
}

// TestOverloadIsAnswered has more requests come than are handled at a time.
func TestOverloadIsAnswered(t *testing.T) {
	t.Parallel()
	b := New(Config{Self: NewNode("a", ""), Name: "n", Logger: slog.New(slog.DiscardHandler)})
	b.Answer("wait", func(ctx context.Context, _ Message) ([]byte, error) { <-ctx.Done(); return nil, nil })
	for i := range maxWaiting/MaxData + 1 {
		b.answer(asked{key{1}, uint64(i)}, 0, "wait", Message{Data: make([]byte, MaxData)})
	}
	m, _ := b.out.next()
	if len(m.data) != requestHead || m.data[0] != isBusy || b.waiting > maxWaiting {
		t.Errorf("answered %q, %d bytes wait", m.data, b.waiting)
	}
	asks := &asking{to: key{1}, answered: make(chan Reply, 1)} // as the one that is busy gets it
	b.asking[binary.BigEndian.Uint64(m.data[1:])] = asks
	b.takeDirect(envelope{from: key{1}, data: m.data}, "")
	if r := <-asks.answered; !errors.Is(r.Err, ErrBusy) {
		t.Errorf("a node that is busy is heard as %v", r.Err)
	}
	b.leave()
	if b.waiting != 0 || len(b.answering) != 0 {
		t.Errorf("at the end %d bytes wait, for %d requests", b.waiting, len(b.answering))
	}
}
