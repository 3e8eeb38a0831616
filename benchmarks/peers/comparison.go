package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// comparison is all that was measured. Its JSON is the raw form.
type comparison struct {
	Machine  machine      `json:"machine"`
	Command  string       `json:"command"`
	Payload  int          `json:"payload_bytes"`
	Servers  []*contender `json:"servers"`
	Outcomes []outcome    `json:"outcomes"`

	trials []*trial
	size   *size
}

// row is what a table says of a server.
type row struct {
	server   *contender
	measures []cell // of the trial, in order
	wrong    string // what was lost and so on; "0" for nothing
	because  string // why a socket was cut, or there is no figure
}

// cell is a summary, if there is one.
type cell struct {
	summary
	measured bool
}

// rows are the lines of a trial's table.
func (r *comparison) rows(t *trial) (rows []row) {
	for _, c := range r.Servers {
		if !t.includes(c) {
			continue
		}
		line := row{server: c}
		for i := range t.measures {
			s, ok := summarize(r.Outcomes, &t.measures[i], t.name, c.Name)
			line.measures = append(line.measures, cell{s, ok})
		}
		check, because := checked(r.Outcomes, t.name, c.Name)
		if line.wrong, line.because = "0", because; !check.Sound() {
			line.wrong = fmt.Sprintf("%d lost, %d twice, %d out of order, %d cut", check.Lost, check.Twice, check.Disordered, check.Cut)
		}
		if failed := r.failed(t.name, c.Name); failed != "" {
			line.because = failed
		}
		rows = append(rows, line)
	}
	return rows
}

// failed is why a server has no figure in a trial; empty if it has one.
func (r *comparison) failed(trial, server string) string {
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.Trial == trial && o.Server == server && o.Failed != "" {
			return o.Failed
		}
	}
	return ""
}

// sound tells that nothing was lost, came twice or out of order, and that all
// was measured.
func (r *comparison) sound() bool {
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.Failed != "" || !o.Result.Sound() {
			return false
		}
	}
	return true
}

// heads are the columns' of a table, after the server's.
func (r *comparison) heads(t *trial) (heads []string) {
	for _, m := range t.measures {
		heads = append(heads, m.name)
		for _, reference := range r.compared(t) {
			heads = append(heads, references[reference]+" is better by")
		}
	}
	return append(heads, "wrong")
}

// compared are the references that were measured in a trial.
func (r *comparison) compared(t *trial) (those []int) {
	for i, reference := range references {
		if slices.ContainsFunc(r.Servers, func(c *contender) bool { return c.Name == reference && t.includes(c) }) {
			those = append(those, i)
		}
	}
	return those
}

// cells are a row's, one for each head.
func (r *comparison) cells(t *trial, line *row) (cells []string) {
	for _, c := range line.measures {
		cells = append(cells, c.figure())
		for _, reference := range r.compared(t) {
			ratio := "–"
			if c.measured {
				ratio = times(c.Better[reference])
			}
			cells = append(cells, ratio)
		}
	}
	return append(cells, line.wrong)
}

// figure is a summary for reading: the median, and the range of the rounds if
// there were several.
func (c cell) figure() string {
	switch {
	case !c.measured:
		return "failed"
	case c.Low == c.High:
		return short(c.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(c.Median), short(c.Low), short(c.High))
}

// writeTables writes a table for each trial.
func (r *comparison) writeTables(w io.Writer) error {
	for _, t := range r.trials {
		fmt.Fprintf(w, "%s: %s, %d-byte payloads\n", t.name, t.title(r.size), r.Payload)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "  server\t%s\n", strings.Join(r.heads(t), "\t"))
		rows := r.rows(t)
		for i := range rows {
			fmt.Fprintf(table, "  %s\t%s\n", rows[i].server.Name, strings.Join(r.cells(t, &rows[i]), "\t"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, line := range rows {
			if line.because != "" {
				fmt.Fprintf(w, "  %s: %s\n", line.server.Name, line.because)
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}

// writeJSON keeps everything in a file.
func (r *comparison) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
