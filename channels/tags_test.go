package channels

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// chooses is a Channel that says how it is served, and may turn clients down.
type chooses struct {
	delivery Options
	reject   bool
}

func (c chooses) Join(ctx *Context, _ Payload) (any, error) {
	ctx.SetOptions(c.delivery)
	if c.reject {
		return nil, Reject("no")
	}
	return nil, nil
}

// TestTagsOfAChannel has a channel with tags and one without on one topic, and
// reads all counters: what is counted carries the channel's tags and counts once.
func TestTagsOfAChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.log.event = func(offset int64) Message {
			m := event(offset)
			m.Key = fmt.Append(nil, offset/2)
			return m
		}
		set := w.set
		acme := Options{Dedupe: DedupeKey, MailboxSize: 3, Tags: map[string]string{"tenant": "acme", "plan": "free"}}
		w.publish(4)
		clients := []*client{
			w.joinFor(Options{MailboxSize: 100}, 1<<20, nil, accepts{}),
			w.joinFor(Options{MailboxSize: 100}, 1<<20, &Resume{After: 0}, chooses{delivery: acme}),
			w.joinFor(Options{MailboxSize: 100}, 1<<20, nil, chooses{delivery: Options{Tags: acme.Tags}, reject: true}),
		}
		read := func() {
			for _, c := range clients {
				for range 3 {
					time.Sleep(replayPause) // of the test's own clock
					synctest.Wait()
					for c.read() {
						c.batch.Written()
					}
				}
			}
		}
		read()
		w.publish(4) // 6 to 8
		read()
		_ = w.host.pubsub.Broadcast(&Message{Topic: "t", Event: "b", Payload: []byte("{}")}, nil)
		for range 3 { // the fourth finds no room in a mailbox of 3
			_ = w.host.pubsub.Broadcast(&Message{Topic: "t", Event: "b", Payload: []byte("{}")}, nil)
		}
		read()
		tags := []metrics.Tag{{Key: "plan", Value: "free"}, {Key: "tenant", Value: "acme"}}
		got := make(map[string]int64)
		for name, value := range map[string]*metrics.Counter{
			"pushed":            set.Counter(metrics.MessagesPushed),
			"pushed acme":       set.Counter(metrics.MessagesPushed, tags...),
			"duplicate":         set.Counter(metrics.MessagesDuplicate),
			"duplicate acme":    set.Counter(metrics.MessagesDuplicate, tags...),
			"replayed":          set.Counter(metrics.MessagesReplayed),
			"replayed acme":     set.Counter(metrics.MessagesReplayed, tags...),
			"overflow":          set.Counter(metrics.MessagesDropped, metrics.Reason("overflow")),
			"overflow acme":     set.Counter(metrics.MessagesDropped, append(tags, metrics.Reason("overflow"))...),
			"joins ok":          set.Counter(metrics.Joins, metrics.Status("ok")),
			"joins ok acme":     set.Counter(metrics.Joins, append(tags, metrics.Status("ok"))...),
			"joins denied":      set.Counter(metrics.Joins, metrics.Status("rejected"), metrics.Reason("handler")),
			"joins denied acme": set.Counter(metrics.Joins, append(tags, metrics.Status("rejected"), metrics.Reason("handler"))...),
		} {
			got[name] = value.Value()
		}
		// Of 1, 2+3, 4 and 6+7, 8 the repeats 3 and 7 are withheld from acme.
		want := map[string]int64{
			"pushed": 3 + 4, "pushed acme": 3 + 2 + 3, "duplicate": 0, "duplicate acme": 2, "replayed": 0, "replayed acme": 3,
			"overflow": 0, "overflow acme": 1, "joins ok": 1, "joins ok acme": 1, "joins denied": 0, "joins denied acme": 1,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if all := w.hub.Pushed(); all != want["pushed"]+want["pushed acme"] {
			t.Errorf("%d pushed over all", all)
		}
		for _, c := range clients {
			c.actor.End(ErrDisconnected)
			c.group.Wait()
		}
	})
}
