package outbound

import "testing"

func TestCountersAreMadeOnce(t *testing.T) {
	t.Parallel()
	m := NewMetrics(newMetrics(t))
	one, same := map[string]string{"a": "1", "b": "2"}, map[string]string{"b": "2", "a": "1"}
	if m.of(one) != m.of(same) || m.of(nil) != m.own {
		t.Error("not the same counters for the same tags")
	}
	if m.of(one) == m.of(map[string]string{"a": "1"}) {
		t.Error("the same counters for other tags")
	}
}
