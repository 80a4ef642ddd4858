package fec

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Bounds of an Encoder.
const (
	maxBlock  = 48 // media packets that are protected together
	maxFrames = 8  // whose packets are
	maxQueue  = 2 * maxBlock
)

// A Protection is how many repair packets are made, and against what.
type Protection struct {
	// Rate is how many repair packets there are for each media packet, 0 to 1.
	Rate float64
	// Bursts says that losses come in bursts. Then repair packets share out what they protect so that neighbours are apart.
	Bursts bool
	// Columns and Rows, if Columns is not 0, lay packets out by them instead, whatever frames they are of and whatever Rate says
	// (RFC 8627 section 1.1): each of Rows rows of Columns packets gets a repair packet, and if Rows is more than 1 each column
	// too. They are 1 to 255 each, together at most 48, and for the format FlexFEC alone.
	Columns, Rows uint8
}

// An Encoder makes repair packets for the media packets of one SSRC. Make one by NewEncoder. It holds at most about 300 KB.
type Encoder struct {
	config     Config
	protection Protection
	block      [maxBlock][]byte
	held       int
	frames     int
	due        float64 // repair packets that the rate allows and that were not made
	queue      [][]byte
	free       [][]byte
	dropped    uint64
}

// NewEncoder returns an Encoder that protects nothing before Protect. ULPFEC is read only: of it there is no Encoder, and this is
// nil.
func NewEncoder(c Config) *Encoder {
	if c.Format == ULPFEC {
		return nil
	}
	return &Encoder{config: c}
}

// Protect sets the protection of the packets that follow. It may change at any time, for key frames for example.
func (e *Encoder) Protect(p Protection) {
	p.Rate = min(max(p.Rate, 0), 1)
	if p.Columns > 0 {
		p.Rows = max(p.Rows, 1)
		if e.config.Format != FlexFEC || int(p.Columns)*int(p.Rows) > maxBlock {
			p.Columns, p.Rows = 0, 0
		}
	}
	if grid := [2]uint8{p.Columns, p.Rows}; grid != [2]uint8{e.protection.Columns, e.protection.Rows} {
		e.clear()
	}
	e.protection = p
	if p.Rate == 0 && p.Columns == 0 {
		e.clear()
		e.due = 0
	}
}

// Dropped counts repair packets that were not taken in time.
func (e *Encoder) Dropped() uint64 { return e.dropped }

// Media tells of a media packet that is sent, as it is before SRTP. It is copied.
func (e *Encoder) Media(packet []byte) {
	if e.protection.Rate == 0 && e.protection.Columns == 0 || len(packet) < fixedHeader || len(packet) > maxPacket {
		return
	}
	if e.held > 0 {
		first := binary.BigEndian.Uint16(e.block[0][2:])
		switch d := binary.BigEndian.Uint16(packet[2:]) - first; {
		case e.protection.Columns > 0 && int(d) != e.held: // rows and columns have no gaps
			e.clear()
		case int(d) >= e.config.Format.maskBits():
			e.finish()
		}
	}
	kept := append(e.buffer(), packet...)
	clearVolatile(kept, e.config.Volatile)
	e.block[e.held] = kept
	e.held++
	switch l, d := int(e.protection.Columns), int(e.protection.Rows); {
	case l > 0:
		if e.held%l == 0 {
			e.row(e.held-l, d > 1)
		}
		if e.held == l*d {
			e.columns()
			e.clear()
		}
	case e.held == maxBlock:
		e.finish()
	}
}

// EndFrame tells that the frame of the last packet ends with it. A repair packet is made when the rate allows it; small frames wait
// for others.
func (e *Encoder) EndFrame() {
	if e.held == 0 || e.protection.Columns > 0 {
		return
	}
	e.frames++
	if e.due+float64(e.held)*e.protection.Rate >= 1 || e.frames == maxFrames {
		e.finish()
	}
}

// finish makes the repair packets of a block.
func (e *Encoder) finish() {
	e.due += float64(e.held) * e.protection.Rate
	m := min(int(e.due), e.held)
	e.due = min(e.due-float64(m), 1)
	choose := spread
	if e.protection.Bursts {
		choose = interleaved
	}
	first := binary.BigEndian.Uint16(e.block[0][2:])
	for r := range m {
		s := set{base: first}
		for i, packet := range e.block[:e.held] {
			if choose(i, m)>>r&1 == 1 {
				d := binary.BigEndian.Uint16(packet[2:]) - first
				s.mask[d/64] |= 1 << (63 - d%64)
			}
		}
		e.repair(s)
	}
	e.clear()
}

// row makes the repair packet of a row, that begins with packet i of the block (RFC 8627 section 4.2.2.2, figure 14).
func (e *Encoder) row(i int, columnsFollow bool) {
	s := set{base: binary.BigEndian.Uint16(e.block[i][2:])}
	d := uint8(0)
	if columnsFollow {
		d = 1
	}
	s.setFixed(e.protection.Columns, d)
	e.repair(s)
}

// columns makes the repair packets of all columns, if there is more than a row.
func (e *Encoder) columns() {
	if e.protection.Rows < 2 {
		return
	}
	for i := range int(e.protection.Columns) {
		s := set{base: binary.BigEndian.Uint16(e.block[i][2:])}
		s.setFixed(e.protection.Columns, e.protection.Rows)
		e.repair(s)
	}
}

// repair makes the payload of a repair packet for a set.
func (e *Encoder) repair(s set) {
	// "The SN base_i field indicates the lowest sequence number" (RFC 8627 section 4.2.2.1).
	if first, ok := s.next(0); ok && s.count == 0 && first > 0 {
		s.shift(first)
	}
	s.ssrc = rtp.SSRC(binary.BigEndian.Uint32(e.block[0][8:]))
	var p parity
	longest := 0
	for _, packet := range e.block[:e.held] {
		if s.has(binary.BigEndian.Uint16(packet[2:])) {
			p.add(packet)
			longest = max(longest, len(packet)-fixedHeader)
		}
	}
	out := appendHeader(e.buffer(), e.config.Format, &p, &s)
	body := len(out)
	out = out[:body+longest]
	clear(out[body:])
	for _, packet := range e.block[:e.held] {
		if s.has(binary.BigEndian.Uint16(packet[2:])) {
			subtle.XORBytes(out[body:], out[body:], packet[fixedHeader:])
		}
	}
	if len(e.queue) == maxQueue {
		e.dropped++
		e.free = append(e.free, e.queue[0])
		e.queue = append(e.queue[:0], e.queue[1:]...)
	}
	e.queue = append(e.queue, out)
}

// shift moves the base of a mask up.
func (s *set) shift(n int) {
	s.base += uint16(n)
	for ; n >= 64; n -= 64 {
		s.mask = [2]uint64{s.mask[1], 0}
	}
	s.mask[0] = s.mask[0]<<n | s.mask[1]>>(64-n)
	s.mask[1] <<= n
}

// clear forgets the block.
func (e *Encoder) clear() {
	for i := range e.held {
		e.free = append(e.free, e.block[i])
		e.block[i] = nil
	}
	e.held, e.frames = 0, 0
}

// Waiting returns how many repair packets wait for AppendRepair.
func (e *Encoder) Waiting() int { return len(e.queue) }

// Size returns how long the payload of one of them is, in bytes; they are counted from 0 on, the next one first.
func (e *Encoder) Size(i int) int { return len(e.queue[i]) }

// AppendRepair appends the payload of the next repair packet. Its RTP header is the caller's: the SSRC, payload type and sequence
// number of the repair stream, no marker, a timestamp of when it is sent (RFC 8627 section 4.2.1), and in the format FlexFEC the
// media's SSRC as the one contributing source.
func (e *Encoder) AppendRepair(dst []byte) (b []byte, ok bool) {
	if len(e.queue) == 0 {
		return dst, false
	}
	e.free = append(e.free, e.queue[0])
	dst = append(dst, e.queue[0]...)
	e.queue = append(e.queue[:0], e.queue[1:]...)
	return dst, true
}

func (e *Encoder) buffer() []byte {
	if last := len(e.free) - 1; last >= 0 {
		b := e.free[last]
		e.free = e.free[:last]
		return b[:0]
	}
	return make([]byte, 0, maxRepair)
}
