package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is bars side by side, one for each server, on a white card so that
// it can be read on a dark page too.
type picture struct {
	title string // what was done
	axis  string // what the bars show, with the unit
	bars  []bar  // from the top
}

// bar is a median with its range, and what is written at its end.
type bar struct {
	name           string
	low, mid, high float64
	label          string
	ours, unsound  bool // Sluice's own; something was lost, twice or out of order
}

// Sizes of a picture.
const (
	pictureWidth  = 7.2 * vg.Inch
	barHeight     = 0.3 * vg.Inch
	pictureFrame  = 0.95 * vg.Inch // title and axis
	barThickness  = 15
	roomForLabels = 1.32 // of the longest bar
)

var (
	oursColor   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	theirsColor = color.RGBA{0x9a, 0xa5, 0xb1, 0xff}
	wrongColor  = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	inkColor    = color.Gray{0x33}
	gridColor   = color.Gray{0xdd}
)

// The library knows one font and names no other; the rest stand in for it.
const (
	drawnFont  = "font-family:Liberation Sans;"
	shownFonts = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"
)

// write draws the picture into a file, as SVG.
func (p *picture) write(path string) error {
	drawn, err := p.plot()
	if err != nil {
		return fmt.Errorf("draw %q: %w", p.title, err)
	}
	canvas := vgsvg.New(pictureWidth, pictureFrame+barHeight*vg.Length(len(p.bars)))
	card := draw.New(canvas)
	card.SetColor(color.White)
	card.Fill(card.Rectangle.Path())
	margin := vg.Points(9)
	drawn.Draw(draw.Crop(card, margin, -margin, margin, -margin))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	return os.WriteFile(path, bytes.ReplaceAll(svg.Bytes(), []byte(drawnFont), []byte(shownFonts)), 0o644)
}

func (p *picture) plot() (*plot.Plot, error) {
	drawn := plot.New()
	p.dress(drawn)
	lines := plotter.NewGrid()
	lines.Horizontal.Width, lines.Vertical.Color = 0, gridColor
	drawn.Add(lines)
	longest := 0.0
	for i, b := range p.bars {
		at := float64(len(p.bars) - 1 - i) // the axis grows upwards
		if err := b.add(drawn, at); err != nil {
			return nil, err
		}
		longest = max(longest, b.high)
	}
	drawn.X.Min, drawn.X.Max = 0, roomForLabels*max(longest, 1e-9)
	drawn.Y.Min, drawn.Y.Max = -0.6, float64(len(p.bars))-0.4
	return drawn, nil
}

// dress sets what does not depend on values.
func (p *picture) dress(drawn *plot.Plot) {
	drawn.BackgroundColor = color.White
	drawn.Title.Text, drawn.X.Label.Text = p.title, p.axis
	drawn.Title.TextStyle.Font, drawn.Title.TextStyle.Color = sans(12), inkColor
	drawn.Title.Padding = vg.Points(6)
	drawn.X.Label.TextStyle.Font, drawn.X.Label.TextStyle.Color = sans(10), inkColor
	for _, axis := range []*plot.Axis{&drawn.X, &drawn.Y} {
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans(10), inkColor
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = inkColor, inkColor
		axis.Padding = 0
	}
	drawn.X.Tick.Marker = shortTicks{}
	drawn.Y.Tick.Length = 0
	names := make(plot.ConstantTicks, len(p.bars))
	for i, b := range p.bars {
		names[i] = plot.Tick{Value: float64(len(p.bars) - 1 - i), Label: b.name}
	}
	drawn.Y.Tick.Marker = names
}

// add draws a bar, the range of its rounds and its label.
func (b *bar) add(drawn *plot.Plot, at float64) error {
	body, err := plotter.NewBarChart(plotter.Values{b.mid}, vg.Points(barThickness))
	if err != nil {
		return err
	}
	body.Horizontal, body.XMin, body.LineStyle.Width = true, at, 0
	switch {
	case b.unsound:
		body.Color = wrongColor
	case b.ours:
		body.Color = oursColor
	default:
		body.Color = theirsColor
	}
	drawn.Add(body)
	if b.low < b.high {
		whisker, err := plotter.NewXErrorBars(ranged{*b, at})
		if err != nil {
			return err
		}
		whisker.Color, whisker.Width, whisker.CapWidth = inkColor, vg.Points(0.8), vg.Points(5)
		drawn.Add(whisker)
	}
	label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: b.high, Y: at}}, Labels: []string{b.label}})
	if err != nil {
		return err
	}
	label.Offset = vg.Point{X: vg.Points(6), Y: -vg.Points(3.5)}
	label.TextStyle[0].Font, label.TextStyle[0].Color = sans(10), inkColor
	drawn.Add(label)
	return nil
}

// ranged gives a bar's range to the plotter.
type ranged struct {
	bar
	at float64
}

func (r ranged) Len() int                       { return 1 }
func (r ranged) XY(int) (x, y float64)          { return r.mid, r.at }
func (r ranged) XError(int) (low, high float64) { return r.mid - r.low, r.high - r.mid }

// shortTicks labels the default ticks the way tables write numbers.
type shortTicks struct{}

// Ticks implements plot.Ticker.
func (shortTicks) Ticks(lo, hi float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(lo, hi)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = round(ticks[i].Value)
		}
	}
	return ticks
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}
