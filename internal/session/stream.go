package session

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A Stream is one source of the peer's, of media: what repairs it is part of it. It is the session's, to be read by whoever
// drives that, and never comes back once StreamEnded was told of it.
type Stream struct {
	ssrc    rtp.SSRC
	section *section
	rid     string
	role    role
	repairs *Stream // of what repairs: the stream that it repairs; nil: not known yet
	rtx     rtp.SSRC
	fec     rtp.SSRC
	decoder *fec.Decoder // of what repairs by parity; nil: nothing came to it
	cname   string
	ended   bool

	number   seqnum.Unwrapper[uint16]
	seen     bitmap
	first    int64 // number of the first packet
	count    int64 // packets received, by themselves
	clock    uint32
	heard    mono.Time // anything of it
	report   reception
	capture  captureReference
	pictures pictures
	losses   losses
	keys     keyRequests
	stats    InboundStats
}

// MID is the section's.
func (x *Stream) MID() string { return x.section.MID }

// Kind is "audio" or "video".
func (x *Stream) Kind() string { return x.section.Kind }

// RID names the encoding; "" without simulcast.
func (x *Stream) RID() string { return x.rid }

// SSRC is the source's.
func (x *Stream) SSRC() rtp.SSRC { return x.ssrc }

// CNAME is what the source says of itself; "" if it has not yet. Streams of one CNAME share a clock.
func (x *Stream) CNAME() string { return x.cname }

// Codec returns what a payload type of the stream means.
func (x *Stream) Codec(pt rtp.PayloadType) (jsep.Codec, bool) {
	if f := x.section.in.of(pt); f != nil && f.role == roleMedia {
		return f.Codec, true
	}
	return jsep.Codec{}, false
}

// bitmapSize is how far behind the newest a packet may come and be told from one that was here.
const bitmapSize = 2048

// A bitmap knows which of the newest packets were here.
type bitmap struct {
	bits    [bitmapSize / 64]uint64
	highest int64
	started bool
}

// add notes a packet; it is false if it was here, or is too old to know.
func (b *bitmap) add(n int64) bool {
	switch {
	case !b.started:
		b.started, b.highest = true, n
	case n > b.highest:
		if n-b.highest >= bitmapSize {
			clear(b.bits[:])
		} else {
			for i := b.highest + 1; i < n; i++ {
				*b.word(i) &^= 1 << (i & 63)
			}
		}
		b.highest = n
	case n <= b.highest-bitmapSize || *b.word(n)&(1<<(n&63)) != 0:
		return false
	}
	*b.word(n) |= 1 << (n & 63)
	return true
}

func (b *bitmap) word(n int64) *uint64 { return &b.bits[uint64(n)%bitmapSize/64] }

// A reception is what reports say of a source (RFC 3550 appendix A).
type reception struct {
	expectedBefore, countBefore int64   // at the last report
	transit                     int64   // of the last packet, in units of the clock
	jitter                      float64 // in these too
	hasTransit                  bool
	loss                        float64 // share of packets, averaged over reports
	fresh                       bool    // something came since the last report

	sender   rtcp.SenderReport // the last one; SSRC 0: none
	senderAt mono.Time
}

// arrive notes when a packet came (RFC 3550 appendix A.8).
func (r *reception) arrive(now mono.Time, timestamp, clock uint32) {
	r.fresh = true
	if clock == 0 {
		return
	}
	transit := int64(uint32(int64(now)/1000*int64(clock)/1_000_000) - timestamp)
	if d := int64(int32(uint32(transit - r.transit))); r.hasTransit {
		if d < 0 {
			d = -d
		}
		r.jitter += (float64(d) - r.jitter) / 16
	}
	r.transit, r.hasTransit = transit, true
}

// block makes a report of what came since the last one (RFC 3550 section 6.4.1, appendix A.3), but for its Delay.
func (x *Stream) block() rtcp.ReportBlock {
	r := &x.report
	highest, _ := x.number.Highest()
	expected := highest - x.first + 1
	lost := expected - x.count
	fraction := uint8(0)
	if e, l := expected-r.expectedBefore, (expected-r.expectedBefore)-(x.count-r.countBefore); e > 0 && l > 0 {
		fraction = uint8(min(l<<8/e, 255))
	}
	r.loss += (float64(fraction)/256 - r.loss) / 4
	r.expectedBefore, r.countBefore, r.fresh = expected, x.count, false
	b := rtcp.ReportBlock{
		SSRC: x.ssrc, FractionLost: fraction, Lost: int32(min(max(lost, -1<<23), 1<<23-1)), HighestSequence: uint32(highest), Jitter: uint32(r.jitter),
	}
	if r.sender.SSRC != 0 {
		b.LastReport = r.sender.NTP.Middle()
	}
	return b
}

// NTP returns the sender's time of day for a timestamp, by its last report: streams of one CNAME are in step at equal times
// (RFC 3550 section 6.4.1). It is false before the first report.
func (x *Stream) NTP(timestamp uint32) (rtp.NTP, bool) {
	r := &x.report.sender
	if r.SSRC == 0 || x.clock == 0 {
		return 0, false
	}
	return r.NTP.Add(time.Duration(seqnum.Diff(timestamp, r.RTPTime)) * time.Second / time.Duration(x.clock)), true
}
