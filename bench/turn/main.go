//go:build linux

// Command turn puts coturn, pion/turn and Parley under the same load, one after the other, and prints what it cost them.
//
//	go run . [-json] [-rate 40000] [-clients 100] [-allocations 5000] [-perf directory]
//
// Everything runs on the loopback interface: the server pinned to one CPU, the clients and their peer, which are one
// thread of this process, to another. coturn is Debian's turnserver.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

var (
	asJSON      = flag.Bool("json", false, "print JSON")
	rate        = flag.Int("rate", 40000, "relayed packets a second")
	clients     = flag.Int("clients", 100, "allocations that the packets are spread over")
	allocations = flag.Int("allocations", 5000, "allocations made to measure what one costs; 0: none")
	interval    = flag.Duration("interval", 1500*time.Millisecond, "length of a measured interval")
	intervals   = flag.Int("intervals", 3, "intervals, of which the median counts")
	only        = flag.String("only", "", "one server: coturn, pion or parley")
	quick       = flag.Bool("quick", false, "only 1200 bytes")
	perf        = flag.String("perf", "", "directory for a profile of each server and load (perf record)")
)

func init() {
	if name := os.Getenv(serveVariable); name != "" {
		fail(serve(name))
		os.Exit(0)
	}
}

func main() {
	flag.Parse()
	if _, err := turnserver(); err != nil {
		fmt.Println("Skipped: coturn is not installed, on Debian: apt-get install coturn.")
		return
	}
	report, err := measure(contenders(*only), loads(*quick))
	fail(err)
	if *asJSON {
		fail(json.NewEncoder(os.Stdout).Encode(report))
		return
	}
	report.print(os.Stdout)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "turn:", err)
		os.Exit(1)
	}
}

func contenders(only string) []string {
	if only != "" {
		return []string{only}
	}
	return []string{"coturn", "pion", "parley"}
}

func loads(quick bool) (all []load) {
	for _, burst := range []int{1, 8} {
		for _, up := range []bool{true, false} {
			for _, size := range []int{160, 1200} {
				if size == 1200 || !quick {
					all = append(all, load{up: up, size: size, burst: burst, rate: *rate})
				}
			}
		}
	}
	return all
}

// measure runs every server under every load, each pair with a server that was just started, and the servers of one load
// after each other, so that what else the machine does meets all of them.
func measure(servers []string, loads []load) (*report, error) {
	r := &report{}
	for _, l := range loads {
		for _, name := range servers {
			var got relayed
			err := with(name, func(s *server) (err error) {
				got, err = measureRelay(s, l)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s, %v: %w", name, l, err)
			}
			r.Relayed = append(r.Relayed, got)
		}
	}
	if *allocations > 0 {
		for _, name := range servers {
			var got allocated
			err := with(name, func(s *server) (err error) {
				got, err = measureAllocations(s, *allocations)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s, allocations: %w", name, err)
			}
			r.Allocated = append(r.Allocated, got)
		}
	}
	return r, nil
}

// with starts a server for the time that f runs.
func with(name string, f func(*server) error) error {
	s, err := start(name)
	if err != nil {
		return err
	}
	defer s.stop()
	return f(s)
}

// measureRelay returns the median of several intervals.
func measureRelay(s *server, l load) (relayed, error) {
	g, err := newGenerator(s.address, *clients)
	if err != nil {
		return relayed{}, err
	}
	defer g.close()
	if err := g.allocate(); err != nil {
		return relayed{}, err
	}
	if err := g.bind(); err != nil {
		return relayed{}, err
	}
	g.run(l, time.Second) // warm up
	stop, err := s.profile(l.String())
	if err != nil {
		return relayed{}, err
	}
	defer stop()
	var all []relayed
	for range *intervals {
		before, err := s.cpu()
		if err != nil {
			return relayed{}, err
		}
		sent, arrived, delay := g.run(l, *interval)
		after, err := s.cpu()
		if err != nil {
			return relayed{}, err
		}
		if arrived == 0 {
			return relayed{}, errors.New("nothing was relayed")
		}
		all = append(all, relayed{
			Server: s.name, Up: l.up, Size: l.size, Burst: l.burst,
			Rate: float64(sent) / interval.Seconds(), Lost: 1 - float64(arrived)/float64(sent),
			CPU: micros(after-before) / float64(arrived), P50: delay.quantile(0.5), P99: delay.quantile(0.99),
		})
	}
	slices.SortFunc(all, func(a, b relayed) int { return int((a.CPU - b.CPU) * 1e6) })
	return all[len(all)/2], nil
}

// measureAllocations makes n allocations, each from a socket of its own that is there before, so that the kernel memory
// that they take is the server's.
func measureAllocations(s *server, n int) (allocated, error) {
	g, err := newGenerator(s.address, n)
	if err != nil {
		return allocated{}, err
	}
	defer g.close()
	before, err := s.usage()
	if err != nil {
		return allocated{}, err
	}
	if err := g.allocate(); err != nil {
		return allocated{}, err
	}
	cpu, err := s.cpu()
	if err != nil {
		return allocated{}, err
	}
	time.Sleep(2 * time.Second)
	after, err := s.usage()
	if err != nil {
		return allocated{}, err
	}
	each := func(d int64) float64 { return float64(d) / 1024 / float64(n) }
	return allocated{
		Server: s.name, Count: n, Resent: g.resent,
		CPU: micros(cpu-before.cpu) / float64(n), Resident: each(after.resident - before.resident),
		Kernel: each(after.kernel - before.kernel), Threads: after.threads, Goroutines: after.goroutines,
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
