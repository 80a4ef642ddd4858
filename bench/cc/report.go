package main

import (
	"fmt"
	"slices"
	"strings"
)

// A result is what the seeds of a scenario gave.
type result struct {
	scenario *scenario
	values   [][][]float64 // by contender, number and seed
	plot     string
}

// cell is what a table says of a number: the median and the worst of the seeds, and whether each of them is as asked.
func (r *result) cell(who, i int) string {
	n, values := r.scenario.numbers[i], r.values[who][i]
	if values == nil {
		return "–"
	}
	text := fmt.Sprintf("%s (%s)", n.unit.format(median(values)), n.unit.format(n.goal.worst(values)))
	if n.goal.sign == 0 {
		return text
	}
	missed := 0
	for _, v := range values {
		if !n.goal.met(v) {
			missed++
		}
	}
	switch {
	case missed == 0:
		return text + " ✓"
	case missed == len(values):
		return text + " ✗"
	}
	return fmt.Sprintf("%s ✗ %d of %d", text, missed, len(values))
}

// heading begins a table of numbers.
func heading(contenders []contender) string {
	var b strings.Builder
	b.WriteString("| | asked |")
	for _, c := range contenders {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|---:|" + strings.Repeat("---:|", len(contenders)) + "\n")
	return b.String()
}

func (r *result) table(contenders []contender) string {
	return heading(contenders) + r.rows(contenders, false)
}

// rows are the numbers, those with a goal first, or alone.
func (r *result) rows(contenders []contender, asked bool) string {
	var b strings.Builder
	order := make([]int, len(r.scenario.numbers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return min(1, abs(r.scenario.numbers[j].goal.sign)) - min(1, abs(r.scenario.numbers[i].goal.sign))
	})
	for _, i := range order {
		n := r.scenario.numbers[i]
		if asked && n.goal.sign == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s |", n.what, n.goal.format(n.unit))
		for who := range contenders {
			fmt.Fprintf(&b, " %s |", r.cell(who, i))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func abs(x int) int { return max(x, -x) }

// page is docs/congestion.md.
func page(results []*result, contenders []contender, seeds int) string {
	var b strings.Builder
	fmt.Fprintf(&b, preface, seeds)
	b.WriteString("| |")
	for _, c := range contenders {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(contenders)) + "\n")
	for _, r := range results {
		at := r.scenario.title
		if r.scenario.further {
			at = furtherTitle
		}
		fmt.Fprintf(&b, "| [%s](#%s) |", r.scenario.title, anchor(at))
		for who := range contenders {
			if r.scenario.whole && !contenders[who].whole {
				b.WriteString(" – |")
				continue
			}
			asked, held := 0, 0
			for i, n := range r.scenario.numbers {
				if n.goal.sign == 0 {
					continue
				}
				asked++
				if !slices.ContainsFunc(r.values[who][i], func(v float64) bool { return !n.goal.met(v) }) {
					held++
				}
			}
			switch {
			case asked == 0:
				b.WriteString(" nothing asked |")
			case held < asked:
				fmt.Fprintf(&b, " %d of %d ✗ |", held, asked)
			default:
				fmt.Fprintf(&b, " %d of %d ✓ |", held, asked)
			}
		}
		b.WriteString("\n")
	}
	var texts, rows strings.Builder
	for _, r := range results {
		s := r.scenario
		if s.further {
			fmt.Fprintf(&texts, "- **%s**: %s\n", s.title, s.text)
			fmt.Fprintf(&rows, "| **%s** |%s\n%s", s.title, strings.Repeat(" |", 1+len(contenders)), r.rows(contenders, false))
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n![%s](images/congestion-%s.svg)\n\n%s", s.title, s.text, s.title, s.id, r.table(contenders))
	}
	fmt.Fprintf(&b, "\n## %s\n\n%s\n%s%s", furtherTitle, texts.String(), heading(contenders), rows.String())
	return b.String()
}

// pageOfOthers is what follows: the numbers asked for, with seeds that nothing was chosen with.
func pageOfOthers(results []*result, contenders []contender) string {
	var b strings.Builder
	fmt.Fprintf(&b, prefaceOfOthers, otherSeeds, firstOther, firstOther+otherSeeds-1)
	b.WriteString(heading(contenders))
	for _, r := range results {
		if rows := r.rows(contenders, true); rows != "" {
			fmt.Fprintf(&b, "| **%s** |%s\n%s", r.scenario.title, strings.Repeat(" |", 1+len(contenders)), rows)
		}
	}
	return b.String()
}

const prefaceOfOthers = `
## With other seeds

Parley's constants were chosen while the seeds above were looked at. These are the numbers asked for with %d others (%d to %d), with which
nothing was chosen.

`

// furtherTitle is the section of the scenarios without plots.
const furtherTitle = "Further scenarios"

// anchor is the name that a heading gets on the page.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return -1
	}, title)
}

const preface = `# Congestion control, simulated

Made by ` + "`cd bench/cc && go run . -write`" + `.

A connection sends audio and video over a simulated link in virtual time, with Parley's congestion control (protocol/cc: estimator,
pacer and transport-wide feedback) and with Pion's (github.com/pion/interceptor, the version in bench/go.mod: gcc.SendSideBWE, its leaky
bucket pacer and its interceptors for transport-wide feedback, in their default configuration but for the start at 300 kbit/s, as
Parley's, and a bound of 100 Mbit/s). Parley's code is told the time; Pion's asks for it and has goroutines, and runs on the virtual
clock of Go's testing/synctest, over the same links with the same seeds. Its runs are not the same each time, because Go's runtime
schedules its goroutines.

- The link has a round trip of 50 ms and a queue of 32 KB that drops what does not fit, unless said. What arrives in a second is
  counted on the wire, with the headers of IP, UDP and RTP; SRTP adds 16 bytes with whole peers only.
- The source is a model of an encoder that follows the target at 30 frames a second: each frame misses its size by a random factor (deviation
  25 %%) that later ones make up for; a key frame, at the start and each 20 s, has four times the size. Frames are cut into packets of one
  size, at most 1160 bytes. Besides, there is Opus with 32 kbit/s. The encoder gets the target less audio and headers (Parley's target
  counts IP and UDP, Pion's does not).
- "Whole peers" are two of Parley's peers as applications have them (internal/peer), over the same links: ICE, DTLS, SRTP, reports, retransmission and repair, whose
  bytes count too. In the other columns lost packets are not sent again. The plots show Parley's congestion control alone, as that is what Pion's is.
- Each number is the median of %d seeds, and in brackets the worst of them (the largest, where nothing is asked). ✓: asked and so with
  each seed. ✗: with none, or as many as are given were not so.
- A target of 0 pauses the encoder's video: whole peers do that where there is too little for its least, 30 kbit/s, beside the audio.
- Queueing delay is the wait for the link, averaged over 100 ms, sampled each 5 ms. The plots show the first seed, rates in bits a second over 500 ms; what is
  above the axis is drawn at its top.

How many of the numbers asked for hold with every seed:

`
