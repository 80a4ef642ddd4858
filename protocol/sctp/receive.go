package sctp

import (
	"iter"
	"slices"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// receiver knows which TSNs have come and holds what cannot be delivered yet.
type receiver struct {
	cumulative int64  // everything up to it has come
	gaps       []span // what has come beyond it, in order
	duplicates []uint32
	packets    int  // with data, since the last SACK
	first      bool // no data has come yet
	held       int  // bytes that were received and not consumed, with overhead
	unread     int  // those of them that the program was told of
	tuning     tuning
	shut       bool // the last SACK offered less than a packet
	assembler
}

// span is a range of TSNs, both ends included.
type span struct{ from, to int64 }

// within ranges over what there is in m of the TSNs from one to another. It costs as much as the fewer of the two.
func within[V any](m map[int64]V, from, to int64) iter.Seq2[int64, V] {
	return func(yield func(int64, V) bool) {
		if to-from < int64(len(m)) {
			for tsn := from; tsn <= to; tsn++ {
				if v, ok := m[tsn]; ok && !yield(tsn, v) {
					return
				}
			}
			return
		}
		for tsn, v := range m {
			if from <= tsn && tsn <= to && !yield(tsn, v) {
				return
			}
		}
	}
}

const (
	maxAhead      = 1 << 16 // how far a TSN may be ahead of the cumulative one; gap blocks reach no further
	maxGaps       = 1 << 13 // spans; a chunk that would make one more is dropped
	maxDuplicates = 32      // reported in a SACK
	maxPartial    = 1 << 13 // messages of I-DATA of which something is missing; a chunk that would begin one more is dropped
)

// cost is what a chunk or message of n bytes that is held counts against the window: small ones take more memory than
// their size.
func cost(n int) int { return max(n, 256) }

func (rx *receiver) start(tsn uint32) {
	*rx = receiver{cumulative: int64(tsn) - 1, first: true}
}

func (rx *receiver) drop() { *rx = receiver{} }

// has reports whether a TSN has come.
func (rx *receiver) has(tsn int64) bool {
	if tsn <= rx.cumulative {
		return true
	}
	i, _ := slices.BinarySearchFunc(rx.gaps, tsn, func(s span, t int64) int { return int(s.to - t) })
	return i < len(rx.gaps) && rx.gaps[i].from <= tsn
}

// add notes that a new TSN has come; false if there would be too many gaps.
func (rx *receiver) add(tsn int64) bool {
	if tsn == rx.cumulative+1 {
		rx.cumulative = tsn
		rx.absorb()
		return true
	}
	i, _ := slices.BinarySearchFunc(rx.gaps, tsn, func(s span, t int64) int { return int(s.to - t) })
	left := i > 0 && rx.gaps[i-1].to == tsn-1
	right := i < len(rx.gaps) && rx.gaps[i].from == tsn+1
	switch {
	case left && right:
		rx.gaps[i-1].to = rx.gaps[i].to
		rx.gaps = slices.Delete(rx.gaps, i, i+1)
	case left:
		rx.gaps[i-1].to = tsn
	case right:
		rx.gaps[i].from = tsn
	case len(rx.gaps) >= maxGaps:
		return false
	default:
		rx.gaps = slices.Insert(rx.gaps, i, span{tsn, tsn})
	}
	return true
}

// absorb moves on over what has come already.
func (rx *receiver) absorb() {
	n := 0
	for n < len(rx.gaps) && rx.gaps[n].from <= rx.cumulative+1 {
		rx.cumulative = max(rx.cumulative, rx.gaps[n].to)
		n++
	}
	if n > 0 {
		rx.gaps = slices.Delete(rx.gaps, 0, n)
	}
}

// moveTo takes everything up to tsn as come.
func (rx *receiver) moveTo(tsn int64) {
	rx.cumulative = tsn
	rx.absorb()
}

// handleData takes a DATA or I-DATA chunk (RFC 9260 section 6.2) and returns whether there is something to acknowledge.
func (a *Association) handleData(now mono.Time, c chunk) bool {
	if a.state == stateShutdownReceived || a.state == stateShutdownAckSent {
		return false // the peer has said that there is no more
	}
	if (c.kind == typeIData) != a.send.interleave { // RFC 8260 section 2.2.3
		a.violate("the chunks of data are not of the kind that was agreed on")
		return false
	}
	d, ok := parseData(c)
	if !ok {
		a.stats.DroppedMalformed++
		return false
	}
	if len(d.payload) == 0 { // section 6.2
		a.abort(appendParam(nil, causeNoUserData, wire.AppendUint32(nil, d.tsn)),
			&Error{Remote: true, Reason: "the peer sent a chunk without data"})
		return false
	}
	rx := &a.receive
	tsn := near(rx.cumulative, d.tsn)
	if rx.has(tsn) {
		a.stats.DuplicateChunks++
		if len(rx.duplicates) < maxDuplicates {
			rx.duplicates = append(rx.duplicates, d.tsn)
		}
		a.due |= dueSack
		return true
	}
	// What fills a gap is let in even if the window is shut, because it lets what is held go.
	full := rx.held >= a.cfg.ReceiveBuffer || rx.shut && a.window() == 0 || a.events.told > a.maxTold()
	if tsn > rx.cumulative+maxAhead || full && (len(rx.gaps) == 0 || tsn > rx.gaps[len(rx.gaps)-1].to) || a.beginsTooMany(&d) || !rx.add(tsn) {
		a.stats.DroppedWindow++
		a.due |= dueSack
		return true
	}
	a.stats.BytesReceived += uint64(len(d.payload))
	if d.flags&flagImmediate != 0 {
		a.due |= dueSack
	}
	if int(d.stream) >= a.inStreams { // section 6.5
		a.standsAlone(tsn)
		a.answer(appendChunk(nil, typeError, 0,
			appendParam(nil, causeInvalidStream, append(wire.AppendUint16(nil, uint16(d.stream)), 0, 0))))
		return true
	}
	if a.reset.asked == resetOutgoing {
		a.usedAgain(now, d.stream)
	}
	a.reassemble(now, tsn, &d)
	a.pendingResetMayGoOn(now)
	return true
}

// maxTold bounds the events that wait, so that a peer cannot fill memory with channels that come and go.
func (a *Association) maxTold() int { return 4*a.cfg.MaxChannels + 16 }

// afterData decides when to acknowledge what a packet brought (section 6.2): every second packet at once, and every one
// while something is missing.
func (a *Association) afterData(now mono.Time) {
	rx := &a.receive
	a.sackPending = true
	rx.packets++
	if rx.first || rx.packets >= 2 || len(rx.gaps) > 0 {
		a.due |= dueSack
	}
	rx.first = false
	a.tuneWindow(now)
	if a.state == stateShutdownSent { // section 9.2
		a.due |= dueShutdown
		a.timer[timerShutdown] = now.Add(a.path.rto)
		a.stopTries = 0
	}
	if a.due&dueSack == 0 && a.timer[timerSack] == mono.Never {
		a.timer[timerSack] = now.Add(sackDelay)
	}
}

const sackHeader = 16

func (a *Association) appendSack(b []byte, limit int) []byte {
	rx := &a.receive
	room := (limit - len(b) - sackHeader) / 4
	if room < 0 {
		return b
	}
	// Gaps first: they save retransmissions, duplicates only tell of them.
	gaps := rx.gaps[:min(len(rx.gaps), room)]
	for len(gaps) > 0 && gaps[len(gaps)-1].to-rx.cumulative > 0xffff {
		gaps = gaps[:len(gaps)-1]
	}
	duplicates := rx.duplicates[:min(len(rx.duplicates), room-len(gaps))]
	b = append(b, byte(typeSack), 0)
	b = wire.AppendUint16(b, uint16(sackHeader+4*len(gaps)+4*len(duplicates)))
	b = wire.AppendUint32(b, uint32(rx.cumulative))
	b = wire.AppendUint32(b, uint32(a.window()))
	b = wire.AppendUint16(b, uint16(len(gaps)))
	b = wire.AppendUint16(b, uint16(len(duplicates)))
	for _, g := range gaps {
		b = wire.AppendUint16(b, uint16(g.from-rx.cumulative))
		b = wire.AppendUint16(b, uint16(g.to-rx.cumulative))
	}
	for _, d := range duplicates {
		b = wire.AppendUint32(b, d)
	}
	return b
}

// sackSent: the SACK that was appended goes out.
func (a *Association) sackSent() {
	rx := &a.receive
	a.due &^= dueSack
	a.sackPending = false
	a.timer[timerSack] = mono.Never
	rx.packets = 0
	rx.duplicates = rx.duplicates[:0]
	rx.shut = a.window() < a.cfg.MaxPacket
}
