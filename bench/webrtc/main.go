//go:build unix

// Webrtc measures PeerConnections with data channels: Parley's and Pion's in one run, each between two processes over
// loopback addresses of the machine, or both ends in one where connections are set up.
//
//	go run . [-json] [-only REGEXP] [-seconds 4] [-rounds 3] [-connections 1000]
//	go run . -floor
//
// With -floor it measures what setting up a connection takes at least: the cryptography and the system calls alone.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A figure is one number of one side. What it should be beside Pion's is in goals.
type figure struct {
	Name  string
	Unit  string
	Who   string
	Value float64
}

// A goal is the least (or, if it is negative, the most) that Parley's figure may be, as a multiple of Pion's; or, with a
// limit, an absolute bound.
type goal struct {
	times float64
	limit float64
}

var goals = map[string]goal{
	"goroutines of an idle connection":   {limit: 0.1},
	"memory of an idle connection":       {limit: 40},
	"CPU of an idle connection":          {times: -0.2},
	"set up, one certificate and X25519": {times: 5},
	"set up, defaults":                   {times: 3.5},
	"64 KiB messages":                    {times: 8},
	"16 KiB messages":                    {times: 8},
	"1200-byte messages":                 {times: 8},
	"64-byte unordered messages":         {times: 5},
	"round trip of 64 bytes, p50":        {times: -1},
	"round trip of 64 bytes, p99":        {times: -1},
}

func main() {
	child := flag.String("child", "", "be one end: Parley or Pion")
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	only := flag.String("only", "", "measure only what matches")
	seconds := flag.Float64("seconds", 4, "how long one transfer takes, or setting up")
	rounds := flag.Int("rounds", 3, "how often the sides take turns; the median counts")
	connections := flag.Int("connections", 1000, "how many idle connections")
	least := flag.Bool("floor", false, "measure the least that setting up a connection takes")
	flag.Parse()
	if *child != "" {
		serve(*child)
		return
	}
	period := time.Duration(*seconds * float64(time.Second))
	if *least {
		if err := printFloor(period); err != nil {
			fmt.Fprintln(os.Stderr, "webrtc: -floor:", err)
			os.Exit(1)
		}
		return
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "webrtc: -only:", err)
		os.Exit(2)
	}
	m := &measurement{match: match, period: period, connections: *connections, all: map[string]map[string][]float64{}}
	for round := range *rounds {
		for _, who := range sides {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, *rounds, who)
			if err := m.measure(who); err != nil {
				fmt.Fprintf(os.Stderr, "webrtc: %s: %v\n", who, err)
				os.Exit(1)
			}
		}
	}
	figures := m.medians()
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(figures)
		return
	}
	table(figures)
}

var sides = []string{"Parley", "Pion"}

// table prints a row for each figure.
func table(figures []figure) {
	fmt.Println("| | Parley | Pion | ratio | goal |\n|---|---|---|---|---|")
	for _, f := range figures {
		if f.Who != sides[0] {
			continue
		}
		i := slices.IndexFunc(figures, func(g figure) bool { return g.Name == f.Name && g.Who == sides[1] })
		if i < 0 {
			continue
		}
		pion := figures[i].Value
		fmt.Printf("| %s, %s | %s | %s | %.2f | %s |\n", f.Name, f.Unit, short(f.Value), short(pion), f.Value/pion, goals[f.Name])
	}
}

func (g goal) String() string {
	switch {
	case g.limit != 0:
		return fmt.Sprintf("at most %v", g.limit)
	case g.times > 0:
		return fmt.Sprintf("at least %v times", g.times)
	case g.times < 0:
		return fmt.Sprintf("at most %v times", -g.times)
	}
	return ""
}

func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", v), "0"), ".")
}
