package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A trace is what was measured in one run of a scenario, slot by slot.
type trace struct {
	scenario *scenario
	flows    []*flow       // the first is the one in question
	rival    []int64       // bytes on the wire of a CUBIC flow that arrived
	capacity []int64       // bits a second
	queued   []float64     // mean wait for the link, seconds
	offered  []uint64      // packets of all who use the link
	lost     []uint64      // of these, by chance or because the queue was full
	before   simnet.Stats  // at the end of the last slot
	up       *simnet.Link  // whose upward direction is the link in question
	waits    time.Duration // sum of the samples of the slot
	samples  int
}

// sampled is how often the queue is looked at.
const sampled = 5 * time.Millisecond

// simulate runs a scenario once.
func simulate(t *testing.T, s *scenario, c contender, seed uint64) (tr *trace) {
	if !c.live {
		tr = newTrace(s, c, seed)
		tr.flows[0].net.Run(s.lasts)
		return tr
	}
	synctest.Test(t, func(*testing.T) {
		tr = newTrace(s, c, seed)
		n := tr.flows[0].net
		n.Live()
		time.Sleep(s.lasts)
		n.Close()
		for _, f := range tr.flows {
			if f.stack != nil {
				f.stack.close()
			}
		}
		synctest.Wait()
	})
	return tr
}

// newTrace builds the network of a scenario and sets the hours at which things begin and change in it.
//
//	near 0, near 1, ... -> left -(the link)-> internet -> far 0, far 1, ...
func newTrace(s *scenario, c contender, seed uint64) *trace {
	n := simnet.New(seed)
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	left := n.Internet().Router("left", simnet.Path{})
	tr := &trace{scenario: s, up: left.Link()}
	for _, step := range s.link {
		n.After(step.at, func(now mono.Time) {
			left.Link().SetUp(step.path)
			left.Link().SetDown(s.back(step.path))
			if step.reroutes {
				tr.flows[0].stack.reroute(now)
			}
		})
	}
	host := func(r *simnet.Router, name string, net, number int) *simnet.Host {
		return r.Host(fmt.Sprint(name, " ", number), simnet.Path{}, fmt.Sprintf("192.0.%d.%d", net, number+1))
	}
	connect := func(number int, at time.Duration) {
		f := &flow{net: n, began: n.Now(), marks: s.link[0].path.Mark > 0, reverse: number > 0 && s.rival == opposite}
		from, to := left, n.Internet()
		if f.reverse {
			from, to = to, from
		}
		f.near = bind(host(from, "near", 2, number), func(now mono.Time, d *pkt.Datagram) { f.stack.back(now, d) })
		f.far = bind(host(to, "far", 3, number), func(now mono.Time, d *pkt.Datagram) {
			f.arrived(now, len(d.Payload))
			f.stack.forward(now, d)
		})
		chance := rand.New(rand.NewPCG(seed, uint64(number+1)<<33))
		n.After(at, func(now mono.Time) {
			f.stack = c.make(now, f, chance)
			source := &source{net: n, rng: chance, out: f.stack, ends: f.began.Add(s.lasts), most: func(now mono.Time) int64 {
				return s.most(now.Sub(f.began))
			}}
			source.run()
		})
		tr.flows = append(tr.flows, f)
	}
	// Within a frame of the hour, for chance to have its say.
	about := func(at time.Duration) time.Duration { return at + time.Duration(rng.Int64N(int64(frameInterval))) }
	switch s.rival {
	case none:
		connect(0, about(s.starts))
	case second, opposite:
		connect(0, about(s.starts))
		connect(1, about(s.rivalStarts))
	case data:
		connect(0, about(s.starts))
		tr.flows[0].data = func(now mono.Time, size int) {
			tr.rival = count(tr.rival, now.Sub(tr.flows[0].began), size)
		}
	case cubic:
		connect(0, about(s.starts))
		download(n, host(left, "near", 2, 1), host(n.Internet(), "far", 3, 1), about(s.rivalStarts), func(now mono.Time, size int) {
			tr.rival = count(tr.rival, now.Sub(tr.flows[0].began), size)
		}, seed)
	}
	n.After(sampled, tr.sample)
	return tr
}

func bind(h *simnet.Host, handle func(mono.Time, *pkt.Datagram)) *simnet.Socket {
	return must(h.Bind(netip.AddrPortFrom(h.Addrs()[0], 9), handle))
}

// sample looks at the queue, and closes the slot when it is over.
func (tr *trace) sample(now mono.Time) {
	f := tr.flows[0]
	f.net.After(sampled, tr.sample)
	wait, _ := tr.up.Backlog()
	tr.waits += wait
	tr.samples++
	if time.Duration(tr.samples)*sampled < slot {
		return
	}
	tr.queued = append(tr.queued, tr.waits.Seconds()/float64(tr.samples))
	tr.waits, tr.samples = 0, 0
	at := now.Sub(f.began)
	tr.capacity = append(tr.capacity, tr.scenario.pathAt(at-slot).Rate)
	stats := tr.up.Up()
	tr.offered = append(tr.offered, stats.Sent-tr.before.Sent)
	tr.lost = append(tr.lost, stats.Lost+stats.Overflowed-tr.before.Lost-tr.before.Overflowed)
	tr.before = stats
	for _, f := range tr.flows {
		var estimate int64
		if f.stack != nil {
			estimate = f.stack.estimate()
		}
		f.estimate = append(f.estimate, estimate)
		f.mu.Lock()
		f.sent, f.came = count(f.sent, at-slot, 0), count(f.came, at-slot, 0)
		f.mu.Unlock()
	}
	tr.rival = count(tr.rival, at-slot, 0)
}
