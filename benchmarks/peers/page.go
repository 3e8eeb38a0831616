package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// draw makes the pictures of all trials in a folder.
func (r *comparison) draw(folder string) error {
	var errs []error
	for _, t := range r.trials {
		for i := range t.measures {
			errs = append(errs, r.picture(t, i).write(filepath.Join(folder, t.file(i))))
		}
	}
	return errors.Join(errs...)
}

// file is the name of the picture of a trial's measure.
func (t *trial) file(measure int) string {
	if measure == 0 {
		return t.name + ".svg"
	}
	return fmt.Sprintf("%s-%d.svg", t.name, measure+1)
}

// picture has a bar for each server that was measured.
func (r *comparison) picture(t *trial, measure int) *picture {
	m := &t.measures[measure]
	p := &picture{title: t.title(r.size), axis: m.unit}
	if m.smaller {
		p.axis += " (less is better)"
	}
	for _, line := range r.rows(t) {
		c := line.measures[measure]
		if !c.measured {
			continue
		}
		label := short(c.Median)
		if line.wrong != "0" {
			label += ", not all right"
		}
		p.bars = append(p.bars, bar{
			name: line.server.Name, low: c.Low, mid: c.Median, high: c.High, label: label,
			ours: slices.Contains(references, line.server.Name), unsound: line.wrong != "0",
		})
	}
	return p
}

// writePage writes everything for reading, in Markdown. The pictures are linked
// if there are some.
func (r *comparison) writePage(path, pictures string) error {
	var page bytes.Buffer
	say := func(format string, values ...any) { fmt.Fprintf(&page, format+"\n", values...) }
	say("# Sluice beside its peers\n")
	say("Written by `benchmarks/peers` on %s; its README says how the servers are configured. The raw form of everything here is what `--json` writes.\n", r.Machine.Date)
	say("```sh\ncd benchmarks/peers\n%s\n```\n", r.Command)
	r.describe(say)
	for _, t := range r.trials {
		say("## %s\n", t.title(r.size))
		if pictures != "" {
			for i, m := range t.measures {
				link, err := filepath.Rel(filepath.Dir(path), filepath.Join(pictures, t.file(i)))
				if err != nil {
					return fmt.Errorf("link the picture of %s: %w", t.name, err)
				}
				say("![%s: %s](%s)\n", t.title(r.size), m.unit, filepath.ToSlash(link))
			}
		}
		r.table(t, say)
	}
	return os.WriteFile(path, append(bytes.TrimRight(page.Bytes(), "\n"), '\n'), 0o644)
}

// describe says where and what was measured.
func (r *comparison) describe(say func(string, ...any)) {
	say("%s, %d cores, %s, %s, Node.js %s. Each server was a process on one core, its clients on the others; payloads of %d bytes. "+
		"Figures are medians, with the range of the rounds; a ratio is the median of the rounds' ratios.\n",
		cmp.Or(r.Machine.CPU, "CPU unknown"), r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, cmp.Or(r.Machine.Node, "–"), r.Payload)
	say("| Server | Version | What it is |\n|---|---|---|")
	for _, c := range r.Servers {
		say("| %s | %s | %s |", c.Name, c.Version, c.What)
	}
	say("")
}

// table says what a trial came to.
func (r *comparison) table(t *trial, say func(string, ...any)) {
	heads := r.heads(t)
	say("| Server | %s |\n|---|%s---|", strings.Join(heads, " | "), strings.Repeat("--:|", len(heads)-1))
	var notes []string
	rows := r.rows(t)
	for i := range rows {
		say("| %s | %s |", rows[i].server.Name, strings.Join(r.cells(t, &rows[i]), " | "))
		if rows[i].because != "" {
			notes = append(notes, rows[i].server.Name+": "+rows[i].because)
		}
	}
	say("")
	if len(notes) > 0 {
		say("%s\n", strings.Join(notes, ". "))
	}
}
