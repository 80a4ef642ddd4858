package sctp

import (
	"testing"

	"github.com/parley-rtc/parley/internal/wire"
)

// What a peer can have us hold must not make each further chunk costly: all connections of a program share a loop. Were a
// chunk's cost that of all that is held, some of these tests would take seconds and others hours.

// flood is a peer that sends packets as large as a record can be.
type flood struct {
	*wireEnd
	packet []byte
}

func (f *flood) add(c []byte) {
	const most = 16 << 10
	if len(f.packet)+len(c) > most {
		f.send()
	}
	if len(f.packet) == 0 {
		f.packet = appendHeader(f.packet, 5000, 5000, f.myTag)
	}
	f.packet = append(f.packet, c...)
}

func (f *flood) send() {
	putChecksum(f.packet)
	f.HandlePacket(f.now, f.packet)
	f.packet = f.packet[:0]
	f.say()
	f.reads()
}

// end sends the rest, and looks whether the association is as it should be.
func (f *flood) end() {
	f.t.Helper()
	f.send()
	if wrong := f.inconsistency(0); wrong != "" || f.state != stateEstablished {
		f.t.Errorf("in state %d: %s", f.state, wrong)
	}
}

// flight has w send so many chunks of a byte, of which nothing is acknowledged.
func (w *wireEnd) flight(chunks int) {
	w.t.Helper()
	id, err := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Association.send.cc.window, w.Association.send.peerWindow = maxWindow, maxWindow
	for range chunks {
		if err := w.Send(w.now, id, false, []byte("x")); err != nil {
			w.t.Fatal(err)
		}
	}
	if got := len(w.say()); got != chunks {
		w.t.Fatalf("%d chunks were sent", got)
	}
}

func TestMessagesThatComeBackwards(t *testing.T) {
	const n = 60000
	f := flood{wireEnd: interleaving(t, 1)}
	for i := range n {
		f.add(iData(i, 1, uint32(n-i), 0, whole, "x"))
	}
	f.send()
	if got := len(f.channels[1].early); got != n {
		t.Fatalf("%d messages wait", got)
	}
	f.add(iData(n, 1, 0, 0, whole, "x"))
	f.end()
	if ch := f.channels[1]; ch.expected != n+1 || cap(ch.early) > 16 {
		t.Errorf("message %d is due, and room is kept for %d", ch.expected, cap(ch.early))
	}
}

// So many messages of which something is missing, and no more, are known; what is skipped is told beside them.
func TestSkippingBesideManyParts(t *testing.T) {
	const far, most = 1 << 20, 2 * maxPartial
	for name, ids := range map[string][]StreamID{"on one channel": {1}, "on each": {1, 2, 3, 4}} {
		t.Run(name, func(t *testing.T) {
			f := flood{wireEnd: interleaving(t, ids...)}
			n := 0
			for ; n < most; n++ {
				f.add(iData(n, ids[n%len(ids)], uint32(far+most-n), 0, flagBegin, "x"))
			}
			f.send()
			if f.receive.partial != maxPartial || f.stats.DroppedWindow != most-maxPartial {
				t.Fatalf("%d messages are known, %d chunks were dropped", f.receive.partial, f.stats.DroppedWindow)
			}
			n = maxPartial
			for round := range 200 {
				entries := make([][3]int, 1000)
				for i := range entries {
					entries[i] = [3]int{int(ids[i%len(ids)]), i / len(ids) % 2, round*1000 + i}
				}
				f.add(iForward(n, entries...))
				n++
			}
			f.send()
			if f.receive.partial != maxPartial {
				t.Errorf("%d messages are left", f.receive.partial)
			}
			// Those that are known go on, though there is no room for others.
			f.add(iData(n, ids[0], far+most, 1, flagEnd, "y"))
			f.add(iData(n+1, ids[0], far+2*most, 0, flagBegin, "x"))
			f.add(iData(n+2, ids[0], far+3*most, 0, flagBegin, "x"))
			f.end()
			if f.receive.partial != maxPartial || f.stats.DroppedWindow != most-maxPartial+1 {
				t.Errorf("%d messages are known, %d chunks were dropped", f.receive.partial, f.stats.DroppedWindow)
			}
		})
	}
}

func TestSkippingFarBesideFewParts(t *testing.T) {
	f := flood{wireEnd: standing(t)}
	cumulative := -1
	for range 20000 {
		f.add(data(cumulative+maxAhead, 1, 0, 0, "x"))
		cumulative += maxAhead - 2
		f.add(appendChunk(nil, typeForwardTSN, 0, wire.AppendUint32(nil, uint32(peersTSN+cumulative))))
	}
	f.end()
	if got := f.receive.cumulative - peersTSN; got != int64(cumulative) || len(f.receive.early) != 1 {
		t.Errorf("at TSN %d with %d parts", got, len(f.receive.early))
	}
}

func TestResetsOfAllStreams(t *testing.T) {
	const channels, requests = 2000, 4000
	f := flood{wireEnd: standing(t)}
	for id := range StreamID(channels) {
		if _, err := f.Open(f.now, ChannelConfig{Negotiated: true, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range requests {
		v := wire.AppendUint32(wire.AppendUint32(nil, uint32(peersTSN+i)), f.reset.next-1)
		f.add(appendChunk(nil, typeReconfig, 0, appendParam(nil, paramOutgoingReset, wire.AppendUint32(v, peersTSN-1))))
	}
	f.end()
	if got := f.reset.expected - peersTSN; got != requests || len(f.channels) != channels {
		t.Errorf("%d requests were answered; %d channels are left", got, len(f.channels))
	}
}

// RFC 9260 section 6.2.1 lets a peer take back what it has reported. Each chunk has to be touched then, so it may do so once
// in the time in which T3 would find out too.
func TestRenegingAgainAndAgain(t *testing.T) {
	const n = 60000
	f := flood{wireEnd: standing(t)}
	f.flight(n)
	for range 5000 {
		f.add(f.sack(-1, [2]int{2, n}))
		f.add(f.sack(-1))
	}
	f.end()
	if got := f.Association.send.arrived; got != n-1 {
		t.Errorf("%d chunks have arrived after all", got)
	}
	f.now = f.now.Add(f.path.rto)
	f.add(f.sack(-1))
	f.end()
	if got := f.Association.send.arrived; got != 0 {
		t.Errorf("%d chunks have arrived although they were taken back", got)
	}
}

func TestReportsOfTheNewestAlone(t *testing.T) {
	const n = 60000
	f := flood{wireEnd: standing(t)}
	f.flight(n)
	f.Association.send.rack.reordered = true // so that counting reports means nothing
	f.now = f.now.Add(initialRTO / 2)
	for range 20000 {
		f.add(f.sack(-1, [2]int{n, n}))
	}
	f.end()
	if got := f.Association.send.arrived; got != 1 {
		t.Errorf("%d chunks have arrived", got)
	}
}
