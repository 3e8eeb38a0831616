package swarm

import (
	"maps"
	"testing"
)

// A roster is kept as Phoenix's own client keeps it.
func TestRosterIsWhoIsThere(t *testing.T) {
	t.Parallel()
	const state, diff = true, false
	type message struct {
		state   bool
		payload string
	}
	const ann, ben = `{"ann":{"metas":[{"phx_ref":"1"}]}}`, `{"ben":{"metas":[{"phx_ref":"2"},{"phx_ref":"3"}]}}`
	joins := func(members string) message { return message{diff, `{"joins":` + members + `,"leaves":{}}`} }
	leaves := func(members string) message { return message{diff, `{"joins":{},"leaves":` + members + `}`} }
	for name, test := range map[string]struct {
		messages []message
		want     map[string]string
		unknown  bool
		fails    bool
	}{
		"nothing yet":                  {unknown: true},
		"nobody":                       {messages: []message{{state, `{}`}}},
		"somebody":                     {messages: []message{{state, ann}}, want: map[string]string{"1": "ann"}},
		"two tabs":                     {messages: []message{{state, ann}, joins(ben)}, want: map[string]string{"1": "ann", "2": "ben", "3": "ben"}},
		"a tab less":                   {messages: []message{{state, ben}, leaves(`{"ben":{"metas":[{"phx_ref":"2"}]}}`)}, want: map[string]string{"3": "ben"}},
		"joined and left":              {messages: []message{{state, ann}, joins(ben), leaves(ben)}, want: map[string]string{"1": "ann"}},
		"left that was not there":      {messages: []message{{state, ann}, leaves(ben)}, want: map[string]string{"1": "ann"}},
		"joined before the state":      {messages: []message{joins(ben), {state, ann}}, want: map[string]string{"1": "ann", "2": "ben", "3": "ben"}},
		"left before the state":        {messages: []message{leaves(ann), {state, ann}}},
		"before the state, alone":      {messages: []message{joins(ann)}, unknown: true},
		"updated":                      {messages: []message{{state, ann}, {diff, `{"joins":{"ann":{"metas":[{"phx_ref":"9","phx_ref_prev":"1"}]}},"leaves":` + ann + `}`}}, want: map[string]string{"9": "ann"}},
		"another state":                {messages: []message{{state, ann}, joins(ben), {state, ann}}, want: map[string]string{"1": "ann"}},
		"what was early counts once":   {messages: []message{joins(ben), {state, ann}, {state, ann}}, want: map[string]string{"1": "ann"}},
		"a list that is none":          {messages: []message{{state, `[]`}}, unknown: true, fails: true},
		"a list without refs":          {messages: []message{{state, `{"ann":{"metas":[{}]}}`}}, unknown: true, fails: true},
		"a ref that is listed twice":   {messages: []message{{state, `{"ann":{"metas":[{"phx_ref":"1"}]},"ben":{"metas":[{"phx_ref":"1"}]}}`}}, unknown: true, fails: true},
		"a change that is none":        {messages: []message{{state, ann}, {diff, `"x"`}}, want: map[string]string{"1": "ann"}, fails: true},
		"a change that lacks its half": {messages: []message{{state, ann}, {diff, `{"joins":{}}`}}, want: map[string]string{"1": "ann"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Roster
			var failed error
			for _, m := range test.messages {
				take := r.Diff
				if m.state {
					take = r.State
				}
				if err := take([]byte(m.payload)); err != nil {
					failed = err
				}
			}
			if got, known := r.Now(); !maps.Equal(got, test.want) || known == test.unknown || (failed != nil) != test.fails {
				t.Errorf("%v, known %v, error %v; want %v", got, known, failed, test.want)
			}
		})
	}
}
