package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// measured are two rounds on a machine that was half as fast in the second.
func measured(t *testing.T) *comparison {
	t.Helper()
	chosen, err := chooseTrials([]string{"fanout", "steady"})
	if err != nil {
		t.Fatal(err)
	}
	servers, err := choose([]string{"sluice", "centrifuge", "ws"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &comparison{Machine: machine{CPU: "a CPU", Cores: 2}, Command: "go run .", Payload: 128, Servers: servers, trials: chosen, size: &size{sockets: 12}}
	for round, speed := range []float64{1, 0.5} {
		for i, rate := range []float64{800e3, 200e3} {
			server := servers[i].Name
			r.Outcomes = append(r.Outcomes,
				outcome{Round: round + 1, Trial: "fanout", Server: server, Result: report.Result{DeliveriesPerCPUSecond: rate * speed}},
				outcome{Round: round + 1, Trial: "steady", Server: server, Result: report.Result{
					DeliveriesPerCPUSecond: rate * speed,
					Latency:                &swarm.Percentiles{P50: swarm.Milliseconds(1e6 / rate / speed), P99: 10},
				}})
		}
		r.Outcomes = append(r.Outcomes, outcome{Round: round + 1, Trial: "fanout", Server: "ws", Failed: "no such luck"})
	}
	r.Outcomes[0].Result.Lost = 7 // sluice's, in fanout
	return r
}

func TestRatiosAreOfOneRound(t *testing.T) {
	t.Parallel()
	r := measured(t)
	for _, test := range []struct {
		trial   string
		measure int
	}{{"fanout", 0}, {"steady", 0}} {
		chosen, err := chooseTrials([]string{test.trial})
		if err != nil {
			t.Fatal(err)
		}
		s, ok := summarize(r.Outcomes, &chosen[0].measures[test.measure], test.trial, "centrifuge")
		if !ok || s.Better[0] != 4 || s.Better[1] != 0 {
			t.Errorf("%s: %+v %v; want sluice to be better by 4, and sluice-log not to be compared", test.trial, s, ok)
		}
		if s.Low >= s.Median || s.Median >= s.High {
			t.Errorf("%s: %+v is no range", test.trial, s)
		}
	}
	if _, ok := summarize(r.Outcomes, &perCPUSecond, "fanout", "ws"); ok {
		t.Error("a server without a result has a figure")
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	r := measured(t)
	var tables bytes.Buffer
	if err := r.writeTables(&tables); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  sluice      600 k (400 k–800 k)  –                    7 lost, 0 twice, 0 out of order, 0 cut\n",
		"  centrifuge  150 k (100 k–200 k)  4.00 ×               0\n",
		"  ws          failed               –                    0\n",
		"  ws: no such luck\n",
	} {
		if !strings.Contains(tables.String(), want) {
			t.Errorf("no line %q in\n%s", want, &tables)
		}
	}
	if r.sound() {
		t.Error("that 7 were lost makes no difference")
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	r := measured(t)
	folder := t.TempDir()
	pictures := filepath.Join(folder, "pictures")
	c := command{JSON: filepath.Join(folder, "deep", "peers.json"), Plots: pictures, Markdown: filepath.Join(folder, "page.md")}
	if err := errors.Join(c.prepareFiles(), c.write(r)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(c.Markdown)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"](pictures/fanout.svg)", "](pictures/steady-2.svg)", "a CPU, 2 cores", "## 1 topic × 12 sockets, published in bulk", "cd benchmarks/peers\ngo run .",
		"| Server | deliveries/CPU s | sluice is better by | wrong |\n|---|--:|--:|---|", "ws: no such luck",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	for _, name := range []string{"fanout.svg", "steady.svg", "steady-2.svg"} {
		picture, err := os.ReadFile(filepath.Join(pictures, name))
		if err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(bytes.NewReader(picture))
		for err == nil {
			_, err = decoder.Token()
		}
		if err != io.EOF || !bytes.Contains(picture, []byte("centrifuge")) {
			t.Errorf("%s is no picture (%v)", name, err)
		}
	}
	text, err := os.ReadFile(c.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var again comparison
	if err := json.Unmarshal(text, &again); err != nil || len(again.Outcomes) != len(r.Outcomes) {
		t.Errorf("the JSON has %d outcomes (%v), want %d", len(again.Outcomes), err, len(r.Outcomes))
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0.00", 1.234: "1.23", 9.996: "10.0", 12.34: "12.3", 744: "744", 9994: "9994", 62_000: "62.0 k", 744_400: "744 k",
		999_600: "1.00 M", 15_794_258: "15.8 M",
	} {
		if got := short(v); got != want {
			t.Errorf("short(%v) is %q, want %q", v, got, want)
		}
	}
	if got := grouped(1234567) + " " + grouped(999); got != "1,234,567 999" {
		t.Errorf("grouped as %s", got)
	}
	if got := median([]float64{9, 1, 5, 3}); got != 4 {
		t.Errorf("the median is %v, want 4", got)
	}
	if got := times(0); got != "–" {
		t.Errorf("nothing to compare is written %q", got)
	}
}

func TestChoices(t *testing.T) {
	t.Parallel()
	servers, err := choose(nil, nodeNames())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range servers {
		if c.needs == needNode {
			t.Errorf("%s takes Node.js", c.Name)
		}
	}
	for _, wrong := range [][2][]string{{{"centrifugo"}, nil}, {nil, {"sokcetio"}}, {{"ws"}, {"ws"}}} {
		if _, err := choose(wrong[0], wrong[1]); err == nil || !strings.Contains(err.Error(), "choose from sluice,") {
			t.Errorf("--servers %q --without %q: %v", wrong[0], wrong[1], err)
		}
	}
	if _, err := chooseTrials([]string{"fan-out"}); err == nil || !strings.Contains(err.Error(), "fanout") {
		t.Errorf("an unknown scenario: %v", err)
	}
	var list strings.Builder
	c := command{List: true}
	if err := c.run(t.Context(), &list, io.Discard); err != nil || !strings.Contains(list.String(), "storm") {
		t.Errorf("--list says %q (%v)", &list, err)
	}
	if err := enoughFiles(trials(), &size{sockets: 1 << 31}); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("more sockets than files: %v", err)
	}
	if err := (&command{Rounds: 0, For: 1}).run(t.Context(), &list, io.Discard); err == nil || !strings.Contains(err.Error(), "--rounds") {
		t.Errorf("no rounds: %v", err)
	}
}
