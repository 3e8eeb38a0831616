package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/presence"
)

// lobby is a world whose topic "t" tells who is there.
type lobby struct {
	*world
	tracker *presence.Tracker
	stop    func()
}

const gathered = 100 * time.Millisecond

func newLobby(t testing.TB, most int) *lobby {
	t.Helper()
	tracker, err := presence.New(presence.Config{Interval: gathered, Permdown: time.Minute, Max: most, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := &lobby{world: newWorld(t, 1<<20), tracker: tracker}
	l.host.presences, l.host.awaiting.tracker = tracker, tracker
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one send, by the goroutine that tells
	go func() { ended <- tracker.Run(ctx, l.host) }()
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return l
}

// here is a channel that follows who is on its topic, and is shown if it has a key.
type here struct {
	key  string
	sees []string // events that pass its HandleOut
	ctx  *Context
}

func (h *here) Join(ctx *Context, _ Payload) (any, error) {
	h.ctx = ctx
	if h.key == "" {
		return nil, ctx.FollowPresence()
	}
	return nil, ctx.Track(h.key, map[string]int{"n": 1})
}

// seer is here for a channel that looks at what goes to its client.
type seer struct{ here }

func (s *seer) Intercepts() []string { return []string{"e", "presence_diff"} }

func (s *seer) HandleOut(_ *Context, event string, p Payload) (any, bool) {
	s.sees = append(s.sees, event)
	return p, true
}

// list is who a client thinks is there, by key and ref, from the frames that it got; how
// many lists and changes these were; and whether it got a change before a list.
func list(t *testing.T, frames string) (who map[string]map[string]bool, lists, changes int) {
	t.Helper()
	type members map[string]struct {
		Metas []struct {
			Ref string `json:"phx_ref"`
		}
	}
	read := func(text string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	add := func(m members) {
		for key, each := range m {
			for _, meta := range each.Metas {
				if who[key] == nil {
					who[key] = map[string]bool{}
				}
				if who[key][meta.Ref] {
					t.Errorf("%s comes again", meta.Ref)
				}
				who[key][meta.Ref] = true
			}
		}
	}
	for frame := range strings.SplitSeq(frames, ";") {
		if _, text, ok := strings.Cut(frame, " presence_state "); ok {
			var all members
			read(text, &all)
			who = map[string]map[string]bool{}
			add(all)
			lists++
		}
		if _, text, ok := strings.Cut(frame, ":presence_diff 0 "); ok {
			var diff struct{ Joins, Leaves members }
			read(text, &diff)
			if changes++; lists == 0 {
				t.Fatalf("a change before the list: %s", frame)
			}
			add(diff.Joins)
			for key, each := range diff.Leaves {
				for _, meta := range each.Metas {
					if !who[key][meta.Ref] {
						t.Errorf("%s, which is not there, leaves", meta.Ref)
					}
					if delete(who[key], meta.Ref); len(who[key]) == 0 {
						delete(who, key)
					}
				}
			}
		}
	}
	return who, lists, changes
}

// truth is who is there.
func (l *lobby) truth() map[string]map[string]bool {
	who := map[string]map[string]bool{}
	entries, _ := l.tracker.List("t")
	for _, e := range entries {
		if who[e.Key] == nil {
			who[e.Key] = map[string]bool{}
		}
		who[e.Key][e.Ref] = true
	}
	return who
}

func sameMembers(a, b map[string]map[string]bool) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]bool) bool { return maps.Equal(x, y) })
}

// Whatever a mailbox has no room for, by whichever rule, its client's list is right once
// it has read what waits: a change that is shed is made good by a fresh list.
func TestAListIsNeverLeftWrong(t *testing.T) {
	t.Parallel()
	resynced := 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			l := newLobby(t, 1000)
			rule := []Overflow{CatchUp, DropOldest, DropNewest, Latest}[seed%4]
			d := Options{Overflow: rule, MailboxSize: 1 + random.IntN(4)}
			if random.IntN(3) == 0 {
				d.FlushInterval = 150 * time.Millisecond
			}
			if random.IntN(3) == 0 {
				d.Dedupe = []Dedupe{DedupeKey, DedupePayload}[random.IntN(2)]
			}
			var channel Channel = &here{key: "slow"}
			looks := random.IntN(3) == 0
			if looks {
				channel = &seer{here{key: "slow"}}
			}
			slow := l.joinFor(d, 4<<10, nil, channel)
			var others []*presence.Presence
			for range 150 {
				switch k := random.IntN(10); {
				case k < 4:
					p, err := l.tracker.Track("t", fmt.Sprint("user", random.IntN(5)), `{}`)
					if err != nil {
						t.Fatal(err)
					}
					others = append(others, p)
				case k < 6 && len(others) > 0:
					i := random.IntN(len(others))
					others[i].Leave()
					others = append(others[:i], others[i+1:]...)
				case k < 7 && len(others) > 0:
					if err := others[random.IntN(len(others))].Update(fmt.Sprintf(`{"n":%d}`, random.IntN(5))); err != nil {
						t.Fatal(err)
					}
				case k < 8:
					m, err := NewMessage("t", "e", map[string]int{"n": random.IntN(100)})
					if err == nil {
						err = l.host.pubsub.Broadcast(m, nil)
					}
					if err != nil {
						t.Fatal(err)
					}
				case k < 9:
					l.publish(1)
				default:
					slow.read()
				}
				time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // of the test's own clock
				synctest.Wait()
			}
			time.Sleep(5 * time.Second) // of the test's own clock
			slow.settle()
			who, lists, _ := list(t, slow.got())
			if want := l.truth(); !sameMembers(who, want) {
				t.Errorf("seed %d, rule %v, %d lists: the client sees %v, and there are %v", seed, rule, lists, who, want)
			}
			if lists > 1 {
				resynced++
			}
			if s, ok := channel.(*seer); ok && strings.Contains(strings.Join(s.sees, " "), "presence") {
				t.Error("a change passes HandleOut")
			}
			slow.actor.End(ErrDisconnected)
			slow.group.Wait()
			l.stop()
		})
	}
	if resynced < 20 {
		t.Errorf("only %d of the clients had to be given a list again: nothing was shed", resynced)
	}
}

// A thousand who come at once are told of in as few messages as there are intervals.
func TestAStormOfJoinsIsFewMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const joins, intervals = 1000, 10
		l := newLobby(t, 10_000)
		var clients []*client
		for i := range joins {
			clients = append(clients, l.join(1000, 64<<20, CatchUp, nil, &here{key: fmt.Sprint("user", i)}))
			if i%(joins/intervals) == joins/intervals-1 {
				synctest.Wait()
				time.Sleep(gathered) // of the test's own clock
			}
		}
		time.Sleep(time.Second) // of the test's own clock
		synctest.Wait()
		messages := 0
		for i, c := range clients {
			for c.read() {
			}
			lists, changes := strings.Count(c.got(), " presence_state "), strings.Count(c.got(), ":presence_diff ")
			messages += lists + changes
			if i%100 > 0 { // it takes long to read what all got
				continue
			}
			if who, _, _ := list(t, c.got()); len(who) != joins || lists != 1 {
				t.Fatalf("a client sees %d, by %d lists", len(who), lists)
			}
		}
		if messages > joins*(intervals+2) {
			t.Errorf("%d messages for %d joins in %d intervals", messages, joins, intervals)
		}
		for _, c := range clients {
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
		if held := l.tracker.Held(); held != 0 {
			t.Errorf("%d presences are left of channels that have ended", held)
		}
		l.stop()
	})
}

// However a channel ends its presences leave, once, and nothing can be tracked any more.
func TestPresencesLeaveWithTheirChannel(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*client, *here){
		"left":         func(c *client, _ *here) { c.actor.Receive(Inbound{Event: leave, Ref: "9"}) },
		"replaced":     func(c *client, _ *here) { c.actor.End(ErrReplaced) },
		"disconnected": func(c *client, _ *here) { c.actor.End(ErrDisconnected); c.actor.End(ErrDisconnected) },
		"failed":       func(c *client, _ *here) { c.actor.fail(errors.New("broken"), "e") },
		"untracked":    func(c *client, h *here) { h.ctx.Untrack("ann"); h.ctx.Untrack("ann"); h.ctx.Untrack("more") },
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLobby(t, 3)
			h := &here{key: "ann"}
			c := l.join(100, 1<<20, CatchUp, nil, h)
			watcher := l.join(100, 1<<20, CatchUp, nil, &here{})
			synctest.Wait()
			if err := h.ctx.Track("more", nil); err != nil {
				t.Errorf("%s: a second key: %v", name, err)
			}
			if err := h.ctx.Update("none", nil); !errors.Is(err, ErrNotTracked) {
				t.Errorf("%s: an update of what is not tracked: %v", name, err)
			}
			if err := h.ctx.Track("third", nil); err != nil {
				t.Errorf("%s: a third key: %v", name, err)
			}
			h.ctx.Untrack("third")
			if got, total := h.ctx.Presences(); total != 2 || len(got) != 2 || got[0].Key != "ann" || string(got[0].Meta) != `{"n":1}` {
				t.Errorf("%s: %d are there: %+v", name, total, got)
			}
			time.Sleep(time.Second) // of the test's own clock
			end(c, h)
			synctest.Wait()
			if held := l.tracker.Held(); held != 0 {
				t.Errorf("%s: %d presences are left", name, held)
			}
			if err := h.ctx.Track("late", nil); name != "untracked" && !errors.Is(err, ErrClosed) {
				t.Errorf("%s: tracking after the end: %v", name, err)
			}
			time.Sleep(time.Second) // of the test's own clock
			watcher.settle()
			if who, _, changes := list(t, watcher.got()); name != "untracked" && (len(who) != 0 || changes != 1) {
				t.Errorf("%s: %d are seen after %d changes", name, len(who), changes)
			}
			for _, each := range []*client{c, watcher} {
				each.actor.End(ErrDisconnected)
				each.group.Wait()
			}
			l.stop()
		})
	}
}

// There is room for so many presences, and a channel has so many keys.
func TestPresencesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(t, MaxTracked+1)
		h := &here{}
		c := l.join(100, 1<<20, CatchUp, nil, h)
		synctest.Wait()
		for i := range MaxTracked {
			if err := h.ctx.Track(fmt.Sprint(i), nil); err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		}
		if err := h.ctx.Track("beyond", nil); !errors.Is(err, ErrOverloaded) {
			t.Errorf("a key beyond: %v", err)
		}
		if _, err := l.tracker.Track("u", "last", "{}"); err != nil {
			t.Error(err)
		}
		if _, err := l.tracker.Track("u", "beyond", "{}"); !errors.Is(err, ErrPresenceFull) {
			t.Errorf("a presence beyond: %v", err)
		}
		if err := h.ctx.Track("", []int{1}); err == nil {
			t.Error("a list is taken for a meta")
		}
		if err := (&Context{actor: &Actor{host: newStage(t).host}}).Track("x", nil); !errors.Is(err, ErrNoPresence) {
			t.Errorf("where nobody keeps presences: %v", err)
		}
		c.actor.End(ErrDisconnected)
		c.group.Wait()
		l.stop()
	})
}
