package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A plot is drawn as wide as a phone, and is scaled up on larger screens. Its colours follow the reader's choice of light or dark.
const (
	plotWidth   = 400.0
	left, right = 34.0, 390.0
	titleRoom   = 20.0 // above a panel
	panelGap    = 8.0
)

const style = `<style>
text{font:10px system-ui,sans-serif;fill:#1f2328}
.t{font-weight:600;font-size:11px}.n{font-weight:400;font-size:10px}.y{text-anchor:end}.x{text-anchor:middle}
.g{stroke:#d1d9e0;stroke-width:.6}.a{stroke:#818b98;stroke-width:.8}
path{fill:none;stroke-width:1.3;stroke-linejoin:round}
.cap{stroke:#1f2328;stroke-width:1;stroke-dasharray:3 2}.other{stroke:#7d8590;stroke-width:1.1}
.c0{stroke:#0969da}.c1{stroke:#c9510c}.e0{stroke:#0969da;stroke-width:.8;opacity:.6}.e1{stroke:#c9510c;stroke-width:.8;opacity:.6}
.f0{fill:#0969da}.f1{fill:#c9510c}.bg{fill:#fff}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.g{stroke:#30363d}.cap{stroke:#f0f6fc}.other{stroke:#9198a1}
.c0,.e0{stroke:#58a6ff}.c1,.e1{stroke:#f0883e}.f0{fill:#58a6ff}.f1{fill:#f0883e}.bg{fill:#0d1117}}
</style>
`

// A curve is a line in a panel: a value for each slot, averaged over step slots.
type curve struct {
	class  string
	values []float64
	step   int
}

// A panel has its own axis of values; time is common to all.
type panel struct {
	title  string // may hold tspans
	height float64
	top    float64 // of the axis
	label  func(v float64) string
	curves []curve
	lasts  time.Duration
	showsX bool
}

// plot draws one run of each contender.
func plot(s *scenario, contenders []contender, traces []*trace) string {
	most := 0.0
	for _, c := range traces[0].capacity {
		most = max(most, float64(c))
	}
	rates := nice(1.25 * most)
	var panels []panel
	for i, tr := range traces {
		f := tr.flows[0]
		p := panel{
			title: fmt.Sprintf(`%s: <tspan class="f%d">received</tspan>`, contenders[i].name, i), height: 92,
			top: rates, label: shortRate, lasts: s.lasts,
		}
		legend := "estimate thin, link dashed"
		if tr.scenario.rival == cubic {
			legend += ", CUBIC grey"
			p.curves = append(p.curves, curve{"other", bits(tr.rival), 5})
		}
		if tr.scenario.rival == second {
			legend += ", the second one grey"
			p.curves = append(p.curves, curve{"other", bits(tr.flows[1].came), 5})
		}
		p.curves = append(p.curves, curve{"cap", floats(tr.capacity), 1}, curve{fmt.Sprintf("e%d", i), floats(f.estimate), 2},
			curve{fmt.Sprintf("c%d", i), bits(f.came), 5})
		p.title += `<tspan class="n"> bold, ` + legend + `</tspan>`
		panels = append(panels, p)
	}
	delay := panel{title: "queueing delay, ms", height: 62, label: func(v float64) string { return fmt.Sprintf("%.0f", 1000*v) }, lasts: s.lasts}
	loss := panel{title: "packets lost on the link, %", height: 46, label: func(v float64) string { return fmt.Sprintf("%.0f", 100*v) }, lasts: s.lasts, showsX: true}
	for i := len(traces) - 1; i >= 0; i-- { // the first on top
		tr, class := traces[i], fmt.Sprintf("c%d", i)
		delay.curves = append(delay.curves, curve{class, tr.queued, 2})
		shares := make([]float64, 0, len(tr.lost))
		for at := 0; at < len(tr.lost); at += 5 {
			end := min(at+5, len(tr.lost))
			share := float64(sum(tr.lost[at:end])) / max(1, float64(sum(tr.offered[at:end])))
			for range end - at {
				shares = append(shares, share)
			}
		}
		loss.curves = append(loss.curves, curve{class, shares, 5})
	}
	delay.top, loss.top = max(0.1, nice(delay.highest())), max(0.1, nice(loss.highest()))
	for i, c := range contenders {
		delay.title += fmt.Sprintf(` <tspan class="f%d">%s</tspan>`, i, c.name)
		loss.title += fmt.Sprintf(` <tspan class="f%d">%s</tspan>`, i, c.name)
	}
	panels = append(panels, delay, loss)

	height := 4.0
	for _, p := range panels {
		height += titleRoom + p.height + panelGap
	}
	height += 8
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="600" height="%.0f" role="img"><title>%s</title>`+"\n",
		plotWidth, height, height*600/plotWidth, s.title)
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect class="bg" width="%.0f" height="%.0f"/>`+"\n", plotWidth, height)
	y := 4.0
	for _, p := range panels {
		p.draw(&b, y+titleRoom)
		y += titleRoom + p.height + panelGap
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *panel) highest() (most float64) {
	for _, c := range p.curves {
		for _, v := range c.averaged() {
			most = max(most, v)
		}
	}
	return most
}

func (c curve) averaged() (out []float64) {
	for at := 0; at < len(c.values); at += c.step {
		end := min(at+c.step, len(c.values))
		out = append(out, sum(c.values[at:end])/float64(end-at))
	}
	return out
}

// draw draws a panel whose area of curves begins at y. What is above the axis is drawn at its top.
func (p *panel) draw(b *strings.Builder, y float64) {
	bottom := y + p.height
	fmt.Fprintf(b, `<text class="t" x="%.0f" y="%.1f">%s</text>`+"\n", 4.0, y-8, p.title)
	ticks := 2
	if digit := p.top / math.Pow(10, math.Floor(math.Log10(p.top)+1e-9)); math.Abs(digit-3) < 0.01 || math.Abs(digit-6) < 0.01 {
		ticks = 3
	}
	for i := range ticks + 1 {
		v := p.top * float64(i) / float64(ticks)
		at := bottom - p.height*float64(i)/float64(ticks)
		class := "g"
		if i == 0 {
			class = "a"
		}
		fmt.Fprintf(b, `<line class="%s" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text class="y" x="%.0f" y="%.1f">%s</text>`+"\n",
			class, left, right, at, at, left-3, at+3.5, p.label(v))
	}
	if p.showsX {
		for at := time.Duration(0); at <= p.lasts; at += 10 * time.Second {
			label := fmt.Sprintf("%.0f", at.Seconds())
			if at == 0 {
				label = "0 s"
			}
			fmt.Fprintf(b, `<text class="x" x="%.1f" y="%.1f">%s</text>`+"\n", p.x(at), bottom+11, label)
		}
	}
	for _, c := range p.curves {
		fmt.Fprintf(b, `<path class="%s" d="`, c.class)
		for i, v := range c.averaged() {
			at := (time.Duration(i*c.step) + time.Duration(c.step)/2) * slot
			verb := "L"
			if i == 0 {
				verb = "M"
			}
			fmt.Fprintf(b, "%s%.1f %.1f", verb, p.x(min(at, p.lasts)), bottom-p.height*min(v/p.top, 1))
		}
		b.WriteString("\"/>\n")
	}
}

func (p *panel) x(at time.Duration) float64 {
	return left + (right-left)*at.Seconds()/p.lasts.Seconds()
}

func shortRate(v float64) string {
	if v == 0 {
		return "0"
	}
	if v < 1e6 {
		return fmt.Sprintf("%.0fk", v/1e3)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e6), ".0") + "M"
}

// nice rounds up to 1, 2, 3, 4, 6 or 8 times a power of ten.
func nice(v float64) float64 {
	if v <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 3, 4, 6, 8} {
		if v <= m*unit*1.0001 {
			return m * unit
		}
	}
	return 10 * unit
}

func floats(values []int64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// bits turns bytes in slots into bits a second.
func bits(slots []int64) []float64 {
	out := floats(slots)
	for i := range out {
		out[i] *= 8 / slot.Seconds()
	}
	return out
}
