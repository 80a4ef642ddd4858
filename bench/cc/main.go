// Command cc measures congestion control in virtual time: Parley's and Pion's over the same simulated links. With -write it writes
// docs/congestion.md and its plots.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

var (
	write = flag.Bool("write", false, "write the page and the plots into the folder of -docs")
	docs  = flag.String("docs", "../../docs", "where the documentation is")
	seeds = flag.Int("seeds", 20, "how many runs of each scenario")
	first = flag.Int("first", 1, "the seed of the first")
	only  = flag.String("only", "", "measure only the scenarios whose name matches this regular expression")
	who   = flag.String("who", "", "and only the contenders whose name does")
)

var contenders = []contender{
	{name: "Parley", drawn: true, make: newParley},
	{name: "Parley, whole peers", whole: true, make: newPeers},
	{name: "Pion", live: true, drawn: true, make: newPion},
}

// Constants were chosen while seeds from 1 on were looked at. The page has these too, with which nothing was chosen.
const firstOther, otherSeeds = 1001, 40

// The command is a test, because a bubble of testing/synctest must have one.
func main() {
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "cc", F: measure}}, nil, nil)
}

func measure(t *testing.T) {
	wanted, err := regexp.Compile(*only)
	asked, err2 := regexp.Compile(*who)
	if err := errors.Join(err, err2); err != nil || *write && (*only != "" || *who != "") {
		t.Fatal("-only and -who take regular expressions, and a part cannot be written: ", err)
	}
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !asked.MatchString(c.name) })
	ours := slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return c.live })
	var results, others []*result
	for _, s := range scenarios {
		if !wanted.MatchString(s.id) {
			continue
		}
		began := time.Now()
		r := run(t, s, contenders, *first, *seeds)
		results = append(results, r)
		if *write {
			others = append(others, run(t, s, ours, firstOther, otherSeeds))
		}
		fmt.Printf("%s, %.1f s\n\n%s\n", s.title, time.Since(began).Seconds(), r.table(contenders))
	}
	if !*write {
		return
	}
	for _, r := range results {
		if r.scenario.further {
			continue
		}
		save(t, filepath.Join("images", "congestion-"+r.scenario.id+".svg"), r.plot)
	}
	save(t, "congestion.md", page(results, contenders, *seeds)+pageOfOthers(others, ours))
}

func save(t *testing.T, name, text string) {
	if err := os.WriteFile(filepath.Join(*docs, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run simulates a scenario with each contender and seed.
func run(t *testing.T, s *scenario, contenders []contender, first, seeds int) *result {
	r := &result{scenario: s}
	var drawn []contender
	var traces []*trace
	for _, c := range contenders {
		values := make([][]float64, len(s.numbers))
		if s.whole && !c.whole {
			r.values = append(r.values, values)
			continue
		}
		for seed := range seeds {
			tr := simulate(t, s, c, uint64(first+seed))
			for i, n := range s.numbers {
				values[i] = append(values[i], n.of(tr))
			}
			if seed == 0 && c.drawn {
				drawn, traces = append(drawn, c), append(traces, tr)
			}
		}
		r.values = append(r.values, values)
	}
	if !s.further && len(traces) > 0 {
		r.plot = plot(s, drawn, traces)
	}
	return r
}
