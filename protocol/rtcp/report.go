package rtcp

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// SenderReport is RFC 3550 section 6.4.1.
type SenderReport struct {
	SSRC    rtp.SSRC
	NTP     rtp.NTP
	RTPTime uint32 // the same time, in the units of the stream
	Packets uint32 // sent so far
	Octets  uint32 // of payload
	Reports ReportBlocks
}

// ReceiverReport is RFC 3550 section 6.4.2.
type ReceiverReport struct {
	SSRC    rtp.SSRC
	Reports ReportBlocks
}

// ReportBlock is what a receiver says of one source.
type ReportBlock struct {
	SSRC            rtp.SSRC
	FractionLost    uint8  // since the last report, of 256
	Lost            int32  // in all; negative where there were more duplicates: 24 bits
	HighestSequence uint32 // the highest sequence number received, rollovers above it
	Jitter          uint32 // in the units of the stream
	LastReport      uint32 // the middle of the NTP time of the last SenderReport; 0: none yet
	Delay           Delay  // since that came
}

const (
	blockLen  = 24
	senderLen = 24 // with the sender's SSRC
)

// ReportBlocks are those of a report, at most 31, as they stand on the wire. The zero value is none.
type ReportBlocks struct{ raw []byte }

// Len returns how many there are.
func (r ReportBlocks) Len() int { return len(r.raw) / blockLen }

// At returns one of them, from 0 on. It panics if there are not so many.
func (r ReportBlocks) At(i int) ReportBlock {
	b := r.raw[blockLen*i : blockLen*(i+1)]
	lost := int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8
	return ReportBlock{
		SSRC: ssrcAt(b), FractionLost: b[4], Lost: lost,
		HighestSequence: binary.BigEndian.Uint32(b[8:]), Jitter: binary.BigEndian.Uint32(b[12:]),
		LastReport: binary.BigEndian.Uint32(b[16:]), Delay: Delay(binary.BigEndian.Uint32(b[20:])),
	}
}

// Add adds a block. It returns false if there are 31. What was lost is limited to what 24 bits can say.
func (r *ReportBlocks) Add(b ReportBlock) bool {
	if r.Len() == maxCount {
		return false
	}
	lost := min(max(b.Lost, -1<<23), 1<<23-1)
	dst := appendSSRC(r.raw, b.SSRC)
	dst = append(dst, b.FractionLost, byte(lost>>16), byte(lost>>8), byte(lost))
	for _, v := range [...]uint32{b.HighestSequence, b.Jitter, b.LastReport, uint32(b.Delay)} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	r.raw = dst
	return true
}

// Reset empties r, and keeps its memory for use by Add: for a value of one's own, never for one that was read.
func (r *ReportBlocks) Reset() { r.raw = r.raw[:0] }

// blocks takes the report blocks off; extensions of a profile may follow (RFC 3550 section 6.4.3).
func (p Packet) blocks(at int) (ReportBlocks, bool) {
	n := at + blockLen*int(p.Count)
	if len(p.Body) < n {
		return ReportBlocks{}, false
	}
	return ReportBlocks{p.Body[at:n:n]}, true
}

// SenderReport reads one.
func (p Packet) SenderReport() (r SenderReport, ok bool) {
	if p.Type != TypeSR || len(p.Body) < senderLen {
		return r, false
	}
	b := p.Body
	r = SenderReport{
		SSRC: ssrcAt(b), NTP: rtp.NTP(binary.BigEndian.Uint64(b[4:])), RTPTime: binary.BigEndian.Uint32(b[12:]),
		Packets: binary.BigEndian.Uint32(b[16:]), Octets: binary.BigEndian.Uint32(b[20:]),
	}
	r.Reports, ok = p.blocks(senderLen)
	return r, ok
}

// Append writes the packet.
func (r *SenderReport) Append(dst []byte) []byte {
	start := len(dst)
	dst = appendSSRC(begin(dst, TypeSR, uint8(r.Reports.Len())), r.SSRC)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.NTP))
	for _, v := range [...]uint32{r.RTPTime, r.Packets, r.Octets} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return end(append(dst, r.Reports.raw...), start)
}

// ReceiverReport reads one.
func (p Packet) ReceiverReport() (r ReceiverReport, ok bool) {
	if p.Type != TypeRR || len(p.Body) < 4 {
		return r, false
	}
	r.SSRC = ssrcAt(p.Body)
	r.Reports, ok = p.blocks(4)
	return r, ok
}

// Append writes the packet.
func (r *ReceiverReport) Append(dst []byte) []byte {
	start := len(dst)
	dst = appendSSRC(begin(dst, TypeRR, uint8(r.Reports.Len())), r.SSRC)
	return end(append(dst, r.Reports.raw...), start)
}
