//go:build linux

// Command turn puts coturn, pion/turn and Parley under the same load, in turn, and prints what it cost them.
//
//	go run . [-json] [-rate 40000] [-clients 100] [-allocations 5000] [-gro] [-perf directory]
//
// Everything runs on the loopback interface: the server pinned to one CPU, the clients and their peer, which are one
// thread of this process, to another. coturn is Debian's turnserver.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

var (
	asJSON      = flag.Bool("json", false, "print JSON")
	rate        = flag.Int("rate", 40000, "relayed packets a second")
	clients     = flag.Int("clients", 100, "allocations that the packets are spread over")
	allocations = flag.Int("allocations", 5000, "allocations made to measure what one costs; 0: none")
	interval    = flag.Duration("interval", 150*time.Millisecond, "length of a measured interval")
	intervals   = flag.Int("intervals", 30, "measured intervals of each server and load")
	only        = flag.String("only", "", "one server: coturn, pion or parley")
	match       = flag.String("load", "", "only loads whose names contain this: \"down 1200\", \"bursts of 8\"")
	gro         = flag.Bool("gro", false, "clients and peer take segmented datagrams whole, as a network card takes them from a server")
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
	report, err := measure(contenders(*only), loads(*match))
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

func loads(match string) (all []load) {
	for _, burst := range []int{1, 8} {
		for _, up := range []bool{true, false} {
			for _, size := range []int{160, 1200} {
				l := load{up: up, size: size, burst: burst, rate: *rate}
				if strings.Contains(l.String(), match) {
					all = append(all, l)
				}
			}
		}
	}
	return all
}

// measure runs every server under every load, and makes allocations with each.
func measure(servers []string, loads []load) (*report, error) {
	r := &report{}
	for _, l := range loads {
		got, err := measureRelays(servers, l)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", l, err)
		}
		r.Relayed = append(r.Relayed, got...)
	}
	if *allocations > 0 {
		for _, name := range servers {
			got, err := measureAllocations(name, *allocations)
			if err != nil {
				return nil, fmt.Errorf("%s, allocations: %w", name, err)
			}
			r.Allocated = append(r.Allocated, got)
		}
	}
	return r, nil
}

// measureRelays starts the servers, and puts each in turn under load for an interval, many times over, so that what else
// the machine does meets all of them. A server without load takes no time.
func measureRelays(servers []string, l load) (medians []relayed, err error) {
	rivals := make([]rival, len(servers))
	for i, name := range servers {
		v := &rivals[i]
		defer v.close()
		if err := v.start(name, addressOf(i), l); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for range *intervals {
		for i := range rivals {
			if err := rivals[i].measure(); err != nil {
				return nil, fmt.Errorf("%s: %w", servers[i], err)
			}
		}
	}
	for i := range rivals {
		if len(rivals[i].found) == 0 {
			return nil, fmt.Errorf("%s: nothing was relayed", servers[i])
		}
		medians = append(medians, rivals[i].median())
	}
	return medians, nil
}

// rival is a server under a load, with what was found so far.
type rival struct {
	server  *server
	clients *generator
	load    load
	profile func() // ends it
	found   []relayed
}

func (v *rival) start(name string, address netip.AddrPort, l load) (err error) {
	v.load = l
	if v.server, err = start(name, address); err != nil {
		return err
	}
	if v.clients, err = newGenerator(address, *clients); err != nil {
		return err
	}
	if err := v.clients.allocate(); err != nil {
		return err
	}
	if err := v.clients.bind(); err != nil {
		return err
	}
	v.clients.run(l, time.Second) // warm up
	v.profile, err = v.server.profile(l.String())
	return err
}

func (v *rival) close() {
	if v.profile != nil {
		v.profile()
	}
	if v.clients != nil {
		v.clients.close()
	}
	if v.server != nil {
		v.server.stop()
	}
}

// measure adds one interval.
func (v *rival) measure() error {
	before, err := v.server.cpu()
	if err != nil {
		return err
	}
	sent, arrived, delay := v.clients.run(v.load, *interval)
	after, err := v.server.cpu()
	if err != nil {
		return err
	}
	if arrived == 0 { // the machine did something else all the while
		return nil
	}
	v.found = append(v.found, relayed{
		Server: v.server.name, Up: v.load.up, Size: v.load.size, Burst: v.load.burst,
		Rate: float64(sent) / interval.Seconds(), Lost: 1 - float64(arrived)/float64(sent),
		CPU: micros(after-before) / float64(arrived), P50: delay.quantile(0.5), P99: delay.quantile(0.99),
	})
	return nil
}

// median returns the interval with the median CPU time, of the half with the shortest long delays: what else the machine
// did in an interval shows there.
func (v *rival) median() relayed {
	slices.SortFunc(v.found, func(a, b relayed) int { return cmp.Compare(a.P99, b.P99) })
	calm := v.found[:(len(v.found)+1)/2]
	slices.SortFunc(calm, func(a, b relayed) int { return cmp.Compare(a.CPU, b.CPU) })
	return calm[len(calm)/2]
}

// measureAllocations makes n allocations, each from a socket of its own that is there before, so that the kernel memory
// that they take is the server's.
func measureAllocations(name string, n int) (allocated, error) {
	s, err := start(name, addressOf(0))
	if err != nil {
		return allocated{}, err
	}
	defer s.stop()
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
