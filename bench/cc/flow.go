package main

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A contender is a congestion control to be measured.
type contender struct {
	name  string
	live  bool // it has goroutines, and needs a bubble of testing/synctest
	drawn bool // in plots
	whole bool // it is all of a peer, and not congestion control alone
	make  func(now mono.Time, f *flow, rng *rand.Rand) stack
}

// A stack is the congestion control of a connection, both ends of it: what lies between a source and the network.
type stack interface {
	estimate() int64 // of what the path bears, bits a second
	video() int64    // what the encoder may make, bits of payload a second
	// send takes the payload of a packet, which is lent. The last one of a frame is marked.
	send(now mono.Time, k kind, payload []byte, last bool)
	// forward and back take what arrives at the receiver and at the sender.
	forward(now mono.Time, d *pkt.Datagram)
	back(now mono.Time, d *pkt.Datagram)
	// reroute says that what is sent takes another path from now on, if there is a way to say so.
	reroute(now mono.Time)
	close()
}

// A flow is a connection over the link, and what is measured of it.
type flow struct {
	net       *simnet.Network
	near, far *simnet.Socket
	stack     stack
	marks     bool                          // the link marks: see simnet.Path.Mark
	reverse   bool                          // it sends against the direction of the first one
	data      func(now mono.Time, size int) // takes what arrives of data, if there are to be any; nil: none
	began     mono.Time

	mu         sync.Mutex // Pion sends in goroutines of its own
	sent, came []int64    // bytes on the wire, in each slot
	estimate   []int64    // bits a second, at the end of each slot
	ages       []age      // of media that arrived
}

// age is how old media was when it arrived.
type age struct {
	at, old time.Duration
	kind    kind
}

// slot is the grain of what is measured.
const slot = 100 * time.Millisecond

func count(slots []int64, at time.Duration, n int) []int64 {
	for len(slots) <= int(at/slot) {
		slots = append(slots, 0)
	}
	slots[at/slot] += int64(n)
	return slots
}

// transmit sends a packet to the receiver.
func (f *flow) transmit(now mono.Time, b []byte, ecn pkt.ECN) {
	f.mu.Lock()
	f.sent = count(f.sent, now.Sub(f.began), len(b)+ipUDP)
	f.mu.Unlock()
	f.near.Transmit(pkt.Transmit{Path: pkt.Path{Remote: f.far.Local()}, ECN: ecn, Payload: b})
}

// answer sends a packet to the sender.
func (f *flow) answer(b []byte) { f.far.Send(f.near.Local(), b) }

// arrived counts what the receiver got on the wire.
func (f *flow) arrived(now mono.Time, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came = count(f.came, now.Sub(f.began), size+ipUDP)
}

// delivered notes how old media was when it arrived.
func (f *flow) delivered(now mono.Time, k kind, payload []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ages = append(f.ages, age{now.Sub(f.began), now.Sub(captured(payload)), k})
}

// stamp notes in a payload when it was captured.
func stamp(payload []byte, now mono.Time) { binary.BigEndian.PutUint64(payload, uint64(now)) }

func captured(payload []byte) mono.Time { return mono.Time(binary.BigEndian.Uint64(payload)) }

// An alarm calls ring when it is due, which is asked again each time it is set.
type alarm struct {
	net  *simnet.Network
	at   mono.Time // the earliest that is set; Never: none is
	due  func() mono.Time
	ring func(now mono.Time)
}

func (a *alarm) set(now mono.Time) {
	due := max(a.due(), now)
	if due >= a.at {
		return
	}
	a.at = due
	a.net.After(due.Sub(now), func(now mono.Time) {
		if now >= a.at {
			a.at = mono.Never
		}
		if a.due() <= now {
			a.ring(now)
		}
		a.set(now)
	})
}
