package laws

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const (
	defaultMaxPacket = 1500
	defaultBound     = 1 << 20

	start     = mono.Time(time.Hour)  // zero means nothing by itself, so no conversation begins there
	oneWay    = 10 * time.Millisecond // the delay of the path
	stepEvery = 25 * time.Millisecond // between one step and the next
	tail      = 5 * time.Second       // how long a conversation goes on after it is done
	patience  = 2 * time.Minute       // how long one may take
	maxTurns  = 1_000_000             // and in how many turns
	maxDrain  = 100_000               // packets that one drain may give
)

// route is how a talk goes: what the path does to packets and how the driver treats the engine.
type route struct {
	loss      float64                                    // share of datagrams lost, both ways
	cutPeer   bool                                       // after the last step nothing arrives any more
	stacked   bool                                       // all steps at once, and a drain only after every seventh input
	spurious  bool                                       // call HandleTimeout when nothing is due, and look for effects
	bytes     int                                        // size of the engine's batch; 0: roomy
	transmits int                                        //
	tamper    func(t *talk, d *pkt.Datagram) (feed bool) // sees what is about to reach the engine
}

// talk drives the engine and its peer through virtual time.
type talk struct {
	*Specimen
	route
	rng       *rand.Rand
	now       mono.Time
	flying    []flight   // in order of arrival
	batch     *pkt.Batch // the engine's
	peers     *pkt.Batch
	sockets   map[netip.AddrPort]pkt.Socket
	undrained int

	transcript []string       // all that the engine gave
	heard      []pkt.Datagram // copies of all that it got
	closed     int            // closing events seen
	late       []string       // events after the first closing one
}

type flight struct {
	at       mono.Time
	toEngine bool
	d        pkt.Datagram
}

func newTalk(s *Specimen, seed uint64, r route) *talk {
	if s.MaxPacket == 0 {
		s.MaxPacket = defaultMaxPacket
	}
	if s.Bound == 0 {
		s.Bound = defaultBound
	}
	if r.bytes == 0 {
		r.bytes, r.transmits = 64*s.MaxPacket, 64
	}
	return &talk{
		Specimen: s, route: r,
		rng:     rand.New(rand.NewPCG(seed, 0x1a35)),
		now:     start,
		batch:   pkt.NewBatch(r.bytes, r.transmits),
		peers:   pkt.NewBatch(64*max(s.MaxPacket, 1<<11), 64),
		sockets: map[netip.AddrPort]pkt.Socket{},
	}
}

// converse runs the whole conversation: the steps, until it is done, and a while longer.
func (t *talk) converse() error {
	next := 0
	nextStep := func() mono.Time {
		if next == len(t.Steps) {
			return mono.Never
		}
		if t.stacked {
			return start
		}
		return start.Add(time.Duration(next) * stepEvery)
	}
	end := start.Add(patience)
	for turns := 0; ; turns++ {
		if turns == maxTurns {
			return fmt.Errorf("after %d turns only %v have passed: the engine spins", turns, t.now.Sub(start))
		}
		if err := t.settleNow(nextStep() <= t.now); err != nil {
			return err
		}
		at := mono.Min(nextStep(), t.nextEvent())
		if at > end {
			return nil
		}
		t.now = max(t.now, at)
		if nextStep() <= t.now {
			t.Steps[next](t.now)
			t.undrained++
			next++
			if next == len(t.Steps) && t.cutPeer {
				t.loss = 1
			}
			continue
		}
		if err := t.turn(); err != nil {
			return err
		}
		if next == len(t.Steps) && end == start.Add(patience) && t.Done() == nil {
			end = t.now.Add(tail)
		}
	}
}

// settle runs on without steps until nothing moves any more or the time is up, and drains both ends.
func (t *talk) settle(limit time.Duration) error {
	end := t.now.Add(limit)
	for turns := 0; ; turns++ {
		if turns == maxTurns {
			return fmt.Errorf("the engine spins at %v", t.now.Sub(start))
		}
		if err := t.settleNow(false); err != nil {
			return err
		}
		at := t.nextEvent()
		if at > end || at == mono.Never {
			return nil
		}
		t.now = max(t.now, at)
		if err := t.turn(); err != nil {
			return err
		}
	}
}

// nextEvent returns when the path or a timer has something next.
func (t *talk) nextEvent() mono.Time {
	at := t.Engine.NextTimeout()
	if len(t.flying) > 0 {
		at = mono.Min(at, t.flying[0].at)
	}
	if t.Peer != nil {
		at = mono.Min(at, t.Peer.NextTimeout())
	}
	return at
}

// settleNow drains what there is at this moment, unless steps or inputs are to be stacked.
func (t *talk) settleNow(hold bool) error {
	if t.Peer != nil {
		if err := t.drainPeer(); err != nil {
			return err
		}
	}
	if t.stacked && (hold || t.undrained < 7 && t.nextEvent() <= t.now.Add(oneWay)) {
		return nil
	}
	t.undrained = 0
	return t.drain()
}

// turn lets the one thing happen that is due now.
func (t *talk) turn() error {
	switch {
	case len(t.flying) > 0 && t.flying[0].at <= t.now:
		f := t.flying[0]
		t.flying = t.flying[1:]
		if !f.toEngine {
			t.Peer.HandleDatagram(t.now, &f.d)
			return nil
		}
		if t.tamper == nil || t.tamper(t, &f.d) {
			t.feed(&f.d)
		}
		return nil
	case t.Engine.NextTimeout() <= t.now:
		due := t.Engine.NextTimeout()
		t.Engine.HandleTimeout(t.now)
		t.undrained++
		if next := t.Engine.NextTimeout(); next <= t.now {
			return fmt.Errorf("at %v HandleTimeout was called for %v, and NextTimeout is %v: it did not move on",
				t.now.Sub(start), due.Sub(start), next.Sub(start))
		}
		return nil
	default:
		t.Peer.HandleTimeout(t.now)
		return nil
	}
}

// feed gives the engine a datagram, remembers a copy and spoils the memory afterwards, because it was only lent.
func (t *talk) feed(d *pkt.Datagram) {
	kept := *d
	kept.Payload = slices.Clone(d.Payload)
	t.heard = append(t.heard, kept)
	t.lend(d)
}

func (t *talk) lend(d *pkt.Datagram) {
	payload := d.Payload
	t.Engine.HandleDatagram(t.now, d)
	t.undrained++
	for i := range payload {
		payload[i] = 0xdb
	}
}

// drain takes all packets and events that the engine has.
func (t *talk) drain() error {
	for given, more := 0, true; more; {
		t.batch.Reset()
		more = t.Engine.AppendTransmit(t.now, t.batch)
		if t.batch.Len() == 0 && more {
			return fmt.Errorf("AppendTransmit put nothing into an empty batch of %d bytes and says that there is more", t.bytes)
		}
		if given += t.batch.Len(); given > maxDrain {
			return fmt.Errorf("one drain gave more than %d packets", maxDrain)
		}
		t.collect()
	}
	t.batch.Reset()
	if more := t.Engine.AppendTransmit(t.now, t.batch); more || t.batch.Len() > 0 {
		return fmt.Errorf("AppendTransmit said that there was no more, and then gave %d packets", t.batch.Len())
	}
	for {
		e, ok := t.Engine.NextEvent()
		if !ok {
			break
		}
		t.note("event %s", e.Text)
		if t.closed > 0 {
			t.late = append(t.late, e.Text)
		}
		if e.Closing {
			t.closed++
		}
	}
	if t.spurious {
		return t.pokeForNothing()
	}
	return nil
}

// pokeForNothing calls HandleTimeout when nothing is due and the engine is drained: nothing may come of it.
func (t *talk) pokeForNothing() error {
	due := t.Engine.NextTimeout()
	if due <= t.now {
		return nil
	}
	t.Engine.HandleTimeout(t.now)
	if next := t.Engine.NextTimeout(); next != due {
		return fmt.Errorf("a spurious HandleTimeout moved NextTimeout from %v to %v", due.Sub(start), next.Sub(start))
	}
	t.batch.Reset()
	if more := t.Engine.AppendTransmit(t.now, t.batch); more || t.batch.Len() > 0 {
		return fmt.Errorf("a spurious HandleTimeout made the engine send %d packets", t.batch.Len())
	}
	if e, ok := t.Engine.NextEvent(); ok {
		return fmt.Errorf("a spurious HandleTimeout made the event %s", e.Text)
	}
	return nil
}

// collect takes what is in the engine's batch onto the path, one datagram for each segment.
func (t *talk) collect() {
	for _, tr := range t.batch.Transmits() {
		t.sockets[tr.Local] = tr.Socket
		for _, payload := range segments(tr) {
			t.note("socket %d, %v to %v, ecn %d, dscp %d: %x", tr.Socket, tr.Local, tr.Remote, tr.ECN, tr.DSCP, payload)
			if t.Peer != nil {
				t.launch(tr, payload, false)
			}
		}
	}
}

func (t *talk) drainPeer() error {
	for given, more := 0, true; more; {
		t.peers.Reset()
		more = t.Peer.AppendTransmit(t.now, t.peers)
		if given += t.peers.Len(); given > maxDrain || t.peers.Len() == 0 && more {
			return fmt.Errorf("the peer breaks the laws: a drain of it does not end")
		}
		for _, tr := range t.peers.Transmits() {
			for _, payload := range segments(tr) {
				t.launch(tr, payload, true)
			}
		}
	}
	for {
		if _, ok := t.Peer.NextEvent(); !ok {
			return nil
		}
	}
}

// launch puts a datagram on the path, if it is not lost.
func (t *talk) launch(tr pkt.Transmit, payload []byte, toEngine bool) {
	if t.loss > 0 && t.rng.Float64() < t.loss {
		return
	}
	from, to := tr.Local, tr.Remote
	if !from.IsValid() {
		from = subjectAddr
		if toEngine {
			from = peerAddr
		}
	}
	if !to.IsValid() {
		to = peerAddr
		if toEngine {
			to = subjectAddr
		}
	}
	d := pkt.Datagram{Path: pkt.Path{Local: to, Remote: from}, ECN: tr.ECN, DSCP: tr.DSCP, Payload: slices.Clone(payload)}
	if toEngine {
		if t.Socket != nil {
			d.Socket = t.Socket(to)
		} else {
			d.Socket = t.sockets[to]
		}
	}
	t.flying = append(t.flying, flight{t.now.Add(oneWay), toEngine, d}) // one delay for all, so they stay in order
}

func (t *talk) note(format string, args ...any) {
	t.transcript = append(t.transcript, fmt.Sprintf("%v ", t.now.Sub(start))+fmt.Sprintf(format, args...))
}

// segments returns the datagrams that tr stands for.
func segments(tr pkt.Transmit) [][]byte {
	if tr.Segments() == 1 {
		return [][]byte{tr.Payload}
	}
	return slices.Collect(slices.Chunk(tr.Payload, int(tr.SegmentSize)))
}
