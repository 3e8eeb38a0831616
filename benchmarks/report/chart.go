package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Chart is panels side by side on a white card, so that it can be read on a
// dark page too.
type Chart []Panel

// Panel is curves over a few settings, which stand at even distances: settings
// that grow by factors make a logarithmic axis, with room for one that is no
// number.
type Panel struct {
	Title    string
	X, Y     string   // what the axes show, with units
	Settings []string // on the x axis; empty ones are not labelled
	Default  int      // the setting to mark as the default; -1 for none
	Linear   bool     // whatever the range of values, the axis begins at 0
	Curves   []Curve
}

// Curve is a value for each of a panel's settings.
type Curve struct {
	Name   string // for the legend, which a panel of one curve does without
	Points []Point
}

// Point is a measured value, at least 0, with the range of its repetitions.
type Point struct{ Low, Mid, High float64 }

// The library measures texts in one font and names no other. The rest have its
// widths, nearly, where it is not installed.
const (
	drawnFont  = "font-family:Liberation Sans;"
	shownFonts = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"
)

// Sizes of a chart.
const (
	panelWidth  = 4.3 * vg.Inch
	panelHeight = 2.7 * vg.Inch
	cardPadding = 0.12 * vg.Inch
)

// logFrom is the ratio of the largest value to the smallest from which on
// values are shown on a logarithmic axis.
const logFrom = 30

// manyPoints is from how many points on a curve is a line only.
const manyPoints = 15

// Colours that people of all eyes can tell apart (Okabe and Ito).
var curveColors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff},
	color.RGBA{0xd5, 0x5e, 0x00, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff},
}

var (
	inkColor  = color.Gray{0x33}
	gridColor = color.Gray{0xd8}
	markColor = color.Gray{0xf0}
)

// WriteSVG draws the chart.
func (c Chart) WriteSVG(w io.Writer) error {
	row := make([]*plot.Plot, len(c))
	for i, panel := range c {
		var err error
		if row[i], err = panel.plot(); err != nil {
			return fmt.Errorf("chart %q: %w", panel.Title, err)
		}
	}
	canvas := vgsvg.New(panelWidth*vg.Length(len(c)), panelHeight)
	card := draw.New(canvas)
	card.SetColor(color.White)
	card.Fill(card.Rectangle.Path())
	tiles := draw.Tiles{
		Rows: 1, Cols: len(c), PadX: 2 * cardPadding,
		PadTop: cardPadding, PadBottom: cardPadding, PadLeft: cardPadding, PadRight: cardPadding,
	}
	for i, tile := range plot.Align([][]*plot.Plot{row}, tiles, card)[0] {
		row[i].Draw(tile)
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	_, err := w.Write(bytes.ReplaceAll(svg.Bytes(), []byte(drawnFont), []byte(shownFonts)))
	return err
}

func (p Panel) plot() (*plot.Plot, error) {
	smallest, largest, err := p.bounds()
	if err != nil {
		return nil, err
	}
	drawn := plot.New()
	p.dress(drawn)
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color = 0, gridColor
	if p.Default >= 0 {
		drawn.Add(defaultMark(p.Default))
	}
	drawn.Add(grid)
	logarithmic := !p.Linear && smallest > 0 && largest/smallest >= logFrom
	for i, curve := range p.Curves {
		if logarithmic {
			curve = curve.logarithmic()
		}
		if err := p.add(drawn, curve, curveColors[i]); err != nil {
			return nil, err
		}
	}
	// After adding, which widens the axes; with room for the legend.
	drawn.X.Min, drawn.X.Max = -0.4, float64(len(p.Settings))-0.6
	if logarithmic {
		lo, hi := math.Log10(smallest), math.Log10(largest)
		drawn.Y.Min, drawn.Y.Max, drawn.Y.Tick.Marker = lo-0.1, hi+0.3*(hi-lo), logTicks{}
	} else {
		drawn.Y.Min, drawn.Y.Max, drawn.Y.Tick.Marker = 0, 1.3*max(largest, math.SmallestNonzeroFloat32), linearTicks{}
	}
	return drawn, nil
}

// bounds finds the smallest and the largest value, if all can be drawn.
func (p Panel) bounds() (smallest, largest float64, err error) {
	if len(p.Settings) == 0 || len(p.Curves) == 0 || len(p.Curves) > len(curveColors) {
		return 0, 0, fmt.Errorf("it takes settings, and 1 to %d curves", len(curveColors))
	}
	smallest = math.Inf(1)
	for _, curve := range p.Curves {
		if len(curve.Points) != len(p.Settings) {
			return 0, 0, fmt.Errorf("curve %q has %d points for %d settings", curve.Name, len(curve.Points), len(p.Settings))
		}
		for _, point := range curve.Points {
			if !(point.Low >= 0 && point.Low <= point.Mid && point.Mid <= point.High && point.High < math.Inf(1)) {
				return 0, 0, fmt.Errorf("curve %q has the point %+v: want 0 ≤ low ≤ mid ≤ high", curve.Name, point)
			}
			smallest, largest = min(smallest, point.Low), max(largest, point.High)
		}
	}
	return smallest, largest, nil
}

// dress sets what does not depend on values.
func (p Panel) dress(drawn *plot.Plot) {
	sans := func(size vg.Length) font.Font {
		return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	}
	drawn.BackgroundColor = color.White
	drawn.Title.Text, drawn.X.Label.Text, drawn.Y.Label.Text = p.Title, p.X, p.Y
	drawn.Title.TextStyle.Font, drawn.Title.TextStyle.Color = sans(12), inkColor
	drawn.Title.Padding = vg.Points(6)
	drawn.Legend.TextStyle.Font, drawn.Legend.TextStyle.Color = sans(10), inkColor
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Legend.XOffs, drawn.Legend.YOffs = vg.Points(6), vg.Points(-2)
	drawn.Legend.ThumbnailWidth, drawn.Legend.Padding = vg.Points(16), vg.Points(2)
	for _, axis := range []*plot.Axis{&drawn.X, &drawn.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans(10), inkColor
		axis.Label.Padding = vg.Points(3)
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans(9), inkColor
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = inkColor, inkColor
		axis.Padding = 0
	}
	var ticks plot.ConstantTicks
	for i, setting := range p.Settings {
		if i == p.Default {
			setting += "\ndefault"
		}
		if setting != "" {
			ticks = append(ticks, plot.Tick{Value: float64(i), Label: setting})
		}
	}
	drawn.X.Tick.Marker = ticks
}

// add draws one curve, with bars for the range of its points.
func (p Panel) add(drawn *plot.Plot, curve Curve, colour color.Color) error {
	points := measured(curve.Points)
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = colour, vg.Points(1.6)
	dots.Color, dots.Shape, dots.Radius = colour, draw.CircleGlyph{}, vg.Points(2.6)
	bars.Color, bars.Width, bars.CapWidth = colour, vg.Points(0.8), vg.Points(4)
	if len(points) > manyPoints {
		drawn.Add(line)
	} else {
		drawn.Add(line, bars, dots)
	}
	if len(p.Curves) > 1 {
		drawn.Legend.Add(curve.Name, line, dots)
	}
	return nil
}

// logarithmic is the curve to be drawn on an axis that shows logarithms. The
// library has such axes, but leaves room above them for a label in the middle.
func (c Curve) logarithmic() Curve {
	points := make([]Point, len(c.Points))
	for i, p := range c.Points {
		points[i] = Point{math.Log10(p.Low), math.Log10(p.Mid), math.Log10(p.High)}
	}
	return Curve{c.Name, points}
}

// measured gives points to the plotters: values with their ranges.
type measured []Point

func (m measured) Len() int                { return len(m) }
func (m measured) XY(i int) (x, y float64) { return float64(i), m[i].Mid }
func (m measured) YError(i int) (below, above float64) {
	return m[i].Mid - m[i].Low, m[i].High - m[i].Mid
}

// defaultMark is a band behind the default setting.
type defaultMark int

// Plot implements plot.Plotter.
func (m defaultMark) Plot(c draw.Canvas, drawn *plot.Plot) {
	x, _ := drawn.Transforms(&c)
	left, right := x(float64(m)-0.35), x(float64(m)+0.35)
	c.FillPolygon(markColor, []vg.Point{{X: left, Y: c.Min.Y}, {X: right, Y: c.Min.Y}, {X: right, Y: c.Max.Y}, {X: left, Y: c.Max.Y}})
}

// linearTicks labels an axis from 0 at the multiples of 1, 2 or 5 of a power
// of ten, at most six.
type linearTicks struct{}

// Ticks implements plot.Ticker.
func (linearTicks) Ticks(_, hi float64) (ticks []plot.Tick) {
	decade := math.Pow(10, math.Floor(math.Log10(hi/10)))
	step := decade
	for _, factor := range []float64{2, 5, 10, 20} {
		if hi/step > 6 {
			step = decade * factor
		}
	}
	for i := 0.0; i*step <= hi; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: short(i * step)})
	}
	return ticks
}

// logTicks labels an axis that shows logarithms at 1, 2, 5, 10 and so on; a
// long one at 1, 10, 100 only.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for decade := math.Floor(lo); decade <= hi; decade++ {
		for _, step := range []float64{1, 2, 5} {
			v := math.Pow(10, decade) * step
			tick := plot.Tick{Value: math.Log10(v)}
			if tick.Value < lo || tick.Value > hi {
				continue
			}
			if step == 1 || hi-lo < 2.3 {
				tick.Label = short(v)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// short writes a number as axes do: 1500000 as 1.5M.
func short(v float64) string {
	unit := ""
	switch {
	case v >= 1e6:
		v, unit = v/1e6, "M"
	case v >= 1e3:
		v, unit = v/1e3, "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + unit
}
