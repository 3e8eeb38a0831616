package main

import "slices"

// step is one run of the sweep.
type step struct {
	round   int
	knob    *knob
	setting *setting
	measure measure
}

// plan is the order of the runs. All values of a flag come one after the
// other, and backwards every other round, so that a machine that grows slower
// or faster favours none of them.
func plan(knobs []knob, rounds int) (steps []step) {
	for round := range rounds {
		for k := range knobs {
			knob := &knobs[k]
			order := make([]*setting, len(knob.settings))
			for i := range knob.settings {
				order[i] = &knob.settings[i]
			}
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, measure := range knob.measures {
				for _, setting := range order {
					steps = append(steps, step{round, knob, setting, measure})
				}
			}
		}
	}
	return steps
}
