package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func example() Chart {
	return Chart{
		{
			Title: "Throughput", X: "--lanes", Y: "events/s", Settings: []string{"1", "2", "4"}, Default: 1,
			Curves: []Curve{{Points: []Point{{90e3, 100e3, 120e3}, {190e3, 200e3, 200e3}, {0, 0, 0}}}},
		},
		{
			Title: "Latency", X: "--lanes", Y: "ms", Settings: []string{"1", "2", "none"}, Default: -1,
			Curves: []Curve{
				{Name: "p50", Points: []Point{{1, 1.5, 2}, {1, 1, 1}, {100, 150, 200}}},
				{Name: "p99", Points: []Point{{2, 2.5, 3}, {5, 5, 5}, {300, 350, 400}}},
			},
		},
	}
}

func TestChartIsDrawn(t *testing.T) {
	t.Parallel()
	var svg bytes.Buffer
	if err := example().WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "chart.svg"), svg.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if fonts := bytes.Count(svg.Bytes(), []byte("font-family")); fonts == 0 || fonts != bytes.Count(svg.Bytes(), []byte(shownFonts)) {
		t.Error("there are texts without a font to fall back to")
	}
	texts, paths := read(t, &svg)
	for _, want := range []string{"Throughput", "Latency", "--lanes", "events/s", "1", "4", "none", "default", "p50", "p99", "100k", "100"} {
		if !slices.Contains(texts, want) {
			t.Errorf("it does not say %q, but %q", want, texts)
		}
	}
	if paths < 3*3+3 { // a dot for each point, and the lines
		t.Errorf("only %d paths", paths)
	}
}

// read parses a picture.
func read(t *testing.T, svg io.Reader) (texts []string, paths int) {
	t.Helper()
	decoder := xml.NewDecoder(svg)
	var within string
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return texts, paths
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			within = token.Name.Local
			if within == "path" {
				paths++
			}
		case xml.EndElement:
			within = ""
		case xml.CharData:
			if within == "text" {
				texts = append(texts, strings.TrimSpace(string(token)))
			}
		}
	}
}

func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Panel){
		"no settings":       func(p *Panel) { p.Settings = nil },
		"no curves":         func(p *Panel) { p.Curves = nil },
		"too many curves":   func(p *Panel) { p.Curves = slices.Repeat(p.Curves, 2) },
		"a point too few":   func(p *Panel) { p.Curves[1].Points = p.Curves[1].Points[:2] },
		"a negative value":  func(p *Panel) { p.Curves[0].Points[0].Low = -1 },
		"no number":         func(p *Panel) { p.Curves[0].Points[0].Mid = math.NaN() },
		"without end":       func(p *Panel) { p.Curves[0].Points[0].High = math.Inf(1) },
		"outside its range": func(p *Panel) { p.Curves[0].Points[0].Mid = 1e9 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chart := example()
			spoil(&chart[1])
			if err := chart.WriteSVG(io.Discard); err == nil || !strings.Contains(err.Error(), "Latency") {
				t.Errorf("drawn, with error %v", err)
			}
		})
	}
}

func TestShortNumbers(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 20: "20", 1000: "1k", 12500: "12.5k", 250e3: "250k", 1.5e6: "1.5M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
