package rtcp

import (
	"encoding/binary"
	"iter"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Types of the blocks of an extended report (RFC 3611 section 4).
const (
	BlockReferenceTime = 4 // of one who receives only: it stands in for a SenderReport
	BlockDLRR          = 5 // what answers that
)

// ExtendedReport is RFC 3611 section 2.
type ExtendedReport struct {
	Sender rtp.SSRC
	blocks []byte
}

// ExtendedBlock is one block of it. What it holds lies in the packet.
type ExtendedBlock struct {
	Type, Specific uint8
	Body           []byte
}

// ExtendedReport reads one, and checks that its blocks are whole.
func (p Packet) ExtendedReport() (x ExtendedReport, ok bool) {
	if p.Type != TypeXR || len(p.Body) < 4 {
		return x, false
	}
	x = ExtendedReport{ssrcAt(p.Body), p.Body[4:]}
	for rest := x.blocks; len(rest) > 0; {
		if _, rest, ok = nextBlock(rest); !ok {
			return x, false
		}
	}
	return x, true
}

func nextBlock(b []byte) (x ExtendedBlock, rest []byte, ok bool) {
	if len(b) < 4 {
		return x, nil, false
	}
	n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < n {
		return x, nil, false
	}
	return ExtendedBlock{b[0], b[1], b[4:n:n]}, b[n:], true
}

// Blocks goes through the blocks.
func (x ExtendedReport) Blocks() iter.Seq[ExtendedBlock] {
	return func(yield func(ExtendedBlock) bool) {
		for rest := x.blocks; len(rest) > 0; {
			b, next, ok := nextBlock(rest)
			if !ok || !yield(b) {
				return
			}
			rest = next
		}
	}
}

// ReferenceTime reads the time of a receiver (RFC 3611 section 4.4).
func (b ExtendedBlock) ReferenceTime() (rtp.NTP, bool) {
	if b.Type != BlockReferenceTime || len(b.Body) < 8 {
		return 0, false
	}
	return rtp.NTP(binary.BigEndian.Uint64(b.Body)), true
}

// A DLRR tells a receiver when its last reference time came (RFC 3611 section 4.5).
type DLRR struct {
	SSRC       rtp.SSRC // the receiver
	LastReport uint32   // the middle of that time; 0: none came
	Delay      Delay    // since then
}

// DLRRs goes through the answers of a block; none if it is another.
func (b ExtendedBlock) DLRRs() iter.Seq[DLRR] {
	return func(yield func(DLRR) bool) {
		if b.Type != BlockDLRR {
			return
		}
		for rest := b.Body; len(rest) >= 12; rest = rest[12:] {
			if !yield(DLRR{ssrcAt(rest), binary.BigEndian.Uint32(rest[4:]), Delay(binary.BigEndian.Uint32(rest[8:]))}) {
				return
			}
		}
	}
}

// AppendReferenceTime writes an extended report with the time of a receiver.
func AppendReferenceTime(dst []byte, sender rtp.SSRC, now rtp.NTP) []byte {
	start := len(dst)
	dst = append(appendSSRC(begin(dst, TypeXR, 0), sender), BlockReferenceTime, 0, 0, 2)
	return end(binary.BigEndian.AppendUint64(dst, uint64(now)), start)
}

// AppendDLRR writes an extended report with answers; those beyond what a block can hold are left out.
func AppendDLRR(dst []byte, sender rtp.SSRC, answers ...DLRR) []byte {
	start := len(dst)
	answers = answers[:min(len(answers), (maxPacket-12)/12)]
	dst = append(appendSSRC(begin(dst, TypeXR, 0), sender), BlockDLRR, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(3*len(answers)))
	for _, a := range answers {
		dst = binary.BigEndian.AppendUint32(appendSSRC(dst, a.SSRC), a.LastReport)
		dst = binary.BigEndian.AppendUint32(dst, uint32(a.Delay))
	}
	return end(dst, start)
}
