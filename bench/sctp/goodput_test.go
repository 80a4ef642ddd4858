// Package sctp measures Parley's SCTP and Pion's side by side. See the README of the module.
package sctp_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	table = flag.String("table", "", "measure all cells and write the table into this file")
	state = flag.String("state", "", "a file with results: cells that are in it are not measured again, others are added")
	only  = flag.String("only", "", "measure only what matches this regular expression, like 'Parley 10 Mbit'")
)

const ms = time.Millisecond

var contenders = []struct {
	name string
	run  contender
}{{"Parley", parley}, {"Pion", pions}, {fitted, pionsFitted}}

// fitted is Pion with a receive window that fits the link: it holds what is under way and half of the queue. An application
// does not know that size in advance; but with it Pion does not overflow the queue.
const fitted = "Pion, fitted"

// Each side fills a small link; the numbers come with -table.
func TestGoodput(t *testing.T) {
	if *table == "" {
		c := cell{Mbit: 2, RTT: 20 * ms}
		for _, who := range contenders {
			if r := who.run(t, c); r.Goodput < 0.5*float64(c.rate()) {
				t.Errorf("%s: %.2f Mbit/s of %d", who.name, r.Goodput/1e6, c.Mbit)
			}
		}
		return
	}
	matches, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	known, missing := map[string]result{}, false
	load(t, known)
	for _, c := range cells() {
		for _, who := range contenders {
			k := key(c, who.name)
			if _, ok := known[k]; ok || who.name == fitted && !c.mayOverflow(known) {
				continue
			}
			if !matches.MatchString(k) {
				missing = true
				continue
			}
			began := time.Now()
			known[k] = who.run(t, c)
			fmt.Printf("%s: %.2f Mbit/s, %v to 90 %%, measured in %.1f s\n", k, known[k].Goodput/1e6, known[k].Ramp, time.Since(began).Seconds())
			save(t, known)
		}
	}
	if !missing {
		if err := os.WriteFile(*table, []byte(page(known)+latencyTable(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func cells() (all []cell) {
	for _, mbit := range []int{10, 100, 1000} {
		for _, rtt := range []time.Duration{1, 50, 100, 300} {
			for _, loss := range []float64{0, 0.001, 0.01} {
				all = append(all, cell{Mbit: mbit, RTT: rtt * ms, Loss: loss})
			}
		}
	}
	return all
}

// mayOverflow reports whether Pion lost what it lost by the overflow of the queue alone, and much of it.
func (c cell) mayOverflow(known map[string]result) bool {
	plain, ok := known[key(c, "Pion")]
	return ok && c.Loss == 0 && plain.Goodput < 0.9*float64(c.rate())
}

func key(c cell, who string) string {
	return fmt.Sprintf("%s %d Mbit/s %v loss %v", who, c.Mbit, c.RTT, c.Loss)
}

func load(t *testing.T, known map[string]result) {
	b, err := os.ReadFile(*state)
	if *state == "" || os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &known); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, known map[string]result) {
	if *state == "" {
		return
	}
	b, err := json.MarshalIndent(known, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*state, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// page makes the page with the table, and says in it where a target is missed.
func page(known map[string]result) string {
	var b strings.Builder
	b.WriteString(`# Goodput of SCTP

Made by ` + "`cd bench && go test ./sctp -run Goodput -table ../../docs/sctp-goodput.md -timeout 2h`" + `.

One association sends messages of 64 KiB in one channel as fast as it can, over a simulated link in virtual time: UDP over
IPv4 without DTLS, a drop-tail queue of one round trip's worth (at least 64 KiB), losses independent of each other and in the
direction of the data only. Goodput is that of messages, in the steady state from ten seconds after the start, as a share of
the link; headers take 5 % of it. It is measured for 20 s where packets are lost, else for 10 s; at 1000 Mbit/s, where these
are very many packets, for 5 s with 1 ms and loss, and 2 s without loss. The receive window is bounded at 16 MiB, and at 64 MiB
for 1000 Mbit/s with 300 ms. Pion's SCTP (the version is in bench/go.mod) runs over the same link, in its default configuration
but for the window. Both send packets of 1228 bytes, the headers of UDP and IP not counted.

"Expected" is the smaller of the link and the response function of RFC 9438 section 5.1 for that loss and round trip.
"To 90 %" is how long after the first message 90 % of the link were filled for the first time, for 100 ms or one round trip;
it is given where nothing is lost but by overflow.

Where nothing is lost and Pion does not fill 90 % of the link, it is measured with a second window too ("fitted"): what the
link holds for one round trip and half of the queue (at least 128 KiB), which no application knows in advance. The reason is
what happens without it. Pion has no HyStart++ and does not pace, so slow start ends when the queue overflows, and thousands of
packets are lost in one round trip (with 100 Mbit/s and 300 ms about 6,000). What was lost still counts as outstanding in its
view of the peer's window (rwnd), which is 0 for that reason; and what it sends again is bounded by the smaller of that and the
congestion window (in v1.12.1 Association.getDataPacketsToRetransmit), so that one packet is repaired for each round trip. This
takes longer than is measured, and is what a share near nothing means; the sockets have dropped nothing. Where the window of 16
MiB is smaller than the link and the queue (1000 Mbit/s, 100 ms) nothing overflows. Pion's runs are not the same each time,
because its goroutines are scheduled by Go's runtime; how much it recovers within ten seconds varies most.

| link | round trip | loss | Parley | Pion | Pion, fitted | expected | Parley to 90 % | Pion to 90 % | Pion, fitted, to 90 % | |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
`)
	for _, c := range cells() {
		ours, pions, best := known[key(c, "Parley")], known[key(c, "Pion")], known[key(c, fitted)]
		link := float64(c.rate())
		expected := math.Min(link, c.response())
		note := ""
		switch {
		case c.Loss == 0 && ours.Goodput < 0.9*link:
			note = "below 90 % of the link"
		case ours.Goodput < 0.8*expected:
			note = "below 0.8 of what is expected"
		case ours.Goodput < max(pions.Goodput, best.Goodput):
			note = "below Pion"
		}
		ramp := func(r result) string {
			switch {
			case c.Loss > 0:
				return ""
			case r.Ramp == 0:
				return "never"
			}
			return fmt.Sprintf("%.1f s", r.Ramp.Seconds())
		}
		bestShare, bestRamp := "", ""
		if best.Goodput > 0 {
			bestShare, bestRamp = share(best.Goodput, link), ramp(best)
		}
		fmt.Fprintf(&b, "| %d Mbit/s | %v | %v %% | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Mbit, c.RTT, 100*c.Loss,
			share(ours.Goodput, link), share(pions.Goodput, link), bestShare, share(expected, link), ramp(ours), ramp(pions), bestRamp, note)
	}
	return b.String()
}

func share(bits, link float64) string {
	p := 100 * bits / link
	if p < 10 {
		return fmt.Sprintf("%.2f %%", p)
	}
	return fmt.Sprintf("%.1f %%", p)
}
