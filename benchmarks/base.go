package benchmarks

import "maps"

// Stand is what scenarios have in common: where they are run, who watches what,
// and how events get there.
type Stand struct {
	Called string // the scenario's name
	About  string // what it measures, in a line
	Server Server
	By     Way // how events are published
	Load
}

// Name implements [Scenario].
func (s *Stand) Name() string { return s.Called }

// Measures implements [Scenario].
func (s *Stand) Measures() string { return s.About }

// Standing implements [Standing].
func (s *Stand) Standing() *Stand { return s }

// with adds the load's settings to a scenario's own.
func (s *Stand) with(settings map[string]any) map[string]any {
	maps.Copy(settings, map[string]any{"topics": &s.Topics, "sockets": &s.Sockets, "payload": &s.Payload})
	return settings
}

func (s *Stand) params(more ...Param) []Param {
	all := []Param{{"topics", s.Topics}, {"sockets", s.Sockets}, {"payload_bytes", s.Payload}}
	if s.By != "" {
		all = append(all, Param{"published_by", string(s.By)})
	}
	return append(all, more...)
}
