package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
)

// TestNobodyLookedIsNotNobody has it be unknown which nodes there are until somebody has
// looked: whoever asks whether there are any sends what he has to send.
func TestNobodyLookedIsNotNobody(t *testing.T) {
	t.Parallel()
	var held []string
	away := errors.New("the database is away")
	m := cluster.NewMissing(cluster.MissingConfig{
		Bus: cluster.NewNone(cluster.NewNode("a", "test")),
		Held: func(_ context.Context, prefix string) ([]string, error) {
			if prefix != cluster.NodeLease {
				t.Errorf("asked for %q", prefix)
			}
			return held, away
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if !m.Any() || m.Names() != nil || len(m.All()) != 0 {
		t.Errorf("before: %v, %v, %v", m.Any(), m.Names(), m.All())
	}
	if err := m.Look(t.Context()); !errors.Is(err, away) || !m.Any() {
		t.Errorf("Look says %v, and then there are others: %v", err, m.Any())
	}
	away = nil
	held = []string{cluster.NodeLease + "a"}
	if err := m.Look(t.Context()); err != nil || m.Any() {
		t.Errorf("alone: %v, %v", err, m.Any())
	}
	held = append(held, cluster.NodeLease+"c", cluster.NodeLease+"b")
	if err := m.Look(t.Context()); err != nil || !m.Any() || !slices.Equal(m.Names(), []string{"b", "c"}) || !slices.Equal(m.All(), []string{"b", "c"}) {
		t.Errorf("of three: %v, %v, %v", err, m.Names(), m.All())
	}
}
