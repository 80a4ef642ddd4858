package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// OutboundStats is one encoding, with the names of RTCOutboundRtpStreamStats. Packets and bytes count what was sent for the
// first time and what was sent again; bytes are those of payloads.
type OutboundStats struct {
	MID, Kind, RID string
	Encoding       int
	SSRC, RTXSSRC  rtp.SSRC
	PayloadType    rtp.PayloadType // of the last packet
	Active         bool
	TargetBitrate  uint64 // bits a second

	PacketsSent, BytesSent, HeaderBytesSent          uint64
	RetransmittedPacketsSent, RetransmittedBytesSent uint64
	NACKCount, PLICount, FIRCount                    uint64
	PacketsDropped                                   uint64 // that Send refused because too much waited
	TotalPacketSendDelay                             time.Duration
	LastPacketSent                                   mono.Time
	Remote                                           RemoteInboundStats

	// Of video.
	FramesSent, KeyFramesSent, HugeFramesSent uint64
	TotalEncodedBytesTarget                   uint64 // bytes
	FrameWidth, FrameHeight                   int    // of the last key frame; 0: not known
	FramesPerSecond                           FrameRate
	Quality                                   QualityLimitation
}

// RemoteInboundStats is what the peer reports of it (RTCRemoteInboundRtpStreamStats). All zero: no report came yet.
type RemoteInboundStats struct {
	Reports         uint64
	At              mono.Time // of the last
	PacketsReceived uint64
	PacketsLost     int64
	FractionLost    float64 // since the report before, 0 to 1
	Jitter          time.Duration
	HighestSequence uint32
	Told            cc.Told // by feedback of RFC 8888
	RoundTrips
}

// RoundTrips are measurements of the way there and back.
type RoundTrips struct {
	RoundTripTime             time.Duration // the last; 0: none
	TotalRoundTripTime        time.Duration
	RoundTripTimeMeasurements uint64
}

func (r *RoundTrips) add(d time.Duration) {
	r.RoundTripTime = d
	r.TotalRoundTripTime += d
	r.RoundTripTimeMeasurements++
}

// InboundStats is one stream, with the names of RTCInboundRtpStreamStats. Packets and bytes are those of the stream itself and of
// its retransmissions.
type InboundStats struct {
	MID, Kind, RID, CNAME string
	SSRC, RTXSSRC         rtp.SSRC

	PacketsReceived, BytesReceived, HeaderBytesReceived       uint64
	RetransmittedPacketsReceived, RetransmittedBytesReceived  uint64
	PacketsLost                                               int64 // by RFC 3550: what was sent again does not count as received
	PacketsRepaired                                           uint64
	FECPacketsReceived, FECPacketsDiscarded, FECBytesReceived uint64
	FECSSRC                                                   rtp.SSRC // 0: none
	PacketsDuplicated                                         uint64
	PacketsCE, PacketsECT1                                    uint64  // by the mark of their IP header (RFC 3168, RFC 9331)
	Told                                                      cc.Told // by our feedback of RFC 8888
	Jitter                                                    time.Duration
	LastPacketReceived                                        mono.Time
	NACKCount, PLICount, FIRCount                             uint64
	Remote                                                    RemoteOutboundStats

	// Of video.
	FrameWidth, FrameHeight int       // of the last key frame; 0: not known
	FramesPerSecond         FrameRate // that began
}

// RemoteOutboundStats is what the peer reports of what it sends (RTCRemoteOutboundRtpStreamStats). All zero: no report came yet.
type RemoteOutboundStats struct {
	Reports         uint64
	PacketsSent     uint64
	BytesSent       uint64
	RemoteTimestamp rtp.NTP
	RoundTrips      // by extended reports (RFC 3611), of who sends nothing
}

// Messages counts feedback of RFC 8888 (ccfbMessagesSent and ccfbMessagesReceived of RTCTransportStats).
type Messages struct{ Sent, Received uint64 }

// CongestionFeedback returns how much of it there was.
func (s *Session) CongestionFeedback() Messages { return s.messages }

func (o *OutboundStats) sent(now mono.Time, size, headers int) {
	o.PacketsSent++
	o.BytesSent += uint64(size)
	o.HeaderBytesSent += uint64(headers)
	o.LastPacketSent = now
}

func (r *RemoteInboundStats) block(now mono.Time, b *rtcp.ReportBlock, first uint16, clock uint32, rtt time.Duration, measured bool) {
	r.Reports++
	r.PacketsReceived = uint64(max(int64(b.HighestSequence)-int64(first)+1-int64(b.Lost), 0))
	r.At = now
	r.PacketsLost, r.FractionLost, r.HighestSequence = int64(b.Lost), float64(b.FractionLost)/256, b.HighestSequence
	r.Jitter = inSeconds(float64(b.Jitter), clock)
	if measured {
		r.add(rtt)
	}
}

func inSeconds(units float64, clock uint32) time.Duration {
	if clock == 0 {
		return 0
	}
	return time.Duration(units / float64(clock) * float64(time.Second))
}

func (i *InboundStats) received(now mono.Time, size, headers int) {
	i.PacketsReceived++
	i.BytesReceived += uint64(size)
	i.HeaderBytesReceived += uint64(headers)
	i.LastPacketReceived = now
}

// retransmitted counts what came on the stream of retransmissions for this one.
func (i *InboundStats) retransmitted(now mono.Time, size, headers int) {
	i.received(now, size, headers)
	i.RetransmittedPacketsReceived++
	i.RetransmittedBytesReceived += uint64(size)
}

func (i *InboundStats) remote(r *rtcp.SenderReport) {
	i.Remote.Reports++
	i.Remote.PacketsSent, i.Remote.BytesSent, i.Remote.RemoteTimestamp = uint64(r.Packets), uint64(r.Octets), r.NTP
}

// AppendOutbound appends the statistics of all encodings.
func (s *Session) AppendOutbound(dst []OutboundStats) []OutboundStats {
	for _, c := range s.sections {
		if c.sender == nil {
			continue
		}
		for _, e := range c.sender.encodings {
			o := e.stats
			o.MID, o.Kind, o.RID, o.Encoding = c.MID, c.Kind, e.told.RID, e.index
			o.SSRC, o.RTXSSRC, o.Active = e.media.ssrc, e.rtx.ssrc, e.sends() && c.Sends
			if s.congestion.Controller != nil {
				o.Remote.Told = s.congestion.Told(e.media.ssrc)
			}
			p := &e.frames.pictures
			o.FrameWidth, o.FrameHeight, o.FramesPerSecond = p.width, p.height, p.rate
			dst = append(dst, o)
		}
	}
	return dst
}

// AppendInbound appends the statistics of all streams.
func (s *Session) AppendInbound(dst []InboundStats) []InboundStats {
	for _, c := range s.sections {
		for _, x := range c.streams {
			dst = append(dst, x.Stats())
		}
	}
	return dst
}

// Stats returns the statistics of a stream.
func (x *Stream) Stats() InboundStats {
	i := x.stats
	i.MID, i.Kind, i.RID, i.CNAME, i.SSRC, i.RTXSSRC = x.section.MID, x.section.Kind, x.rid, x.cname, x.ssrc, x.rtx
	if highest, ok := x.number.Highest(); ok {
		i.PacketsLost = highest - x.first + 1 - x.count
	}
	i.Jitter = inSeconds(x.report.jitter, x.clock)
	for _, r := range x.section.repairers {
		if r == x || r.repairs == x {
			c := r.decoder.Counts()
			i.FECPacketsReceived += c.Repairs
			i.FECPacketsDiscarded += c.Discarded + c.Malformed
			if r != x {
				i.FECBytesReceived += r.stats.BytesReceived
				i.FECSSRC = r.ssrc
			}
		}
	}
	i.FrameWidth, i.FrameHeight, i.FramesPerSecond = x.pictures.width, x.pictures.height, x.pictures.rate
	s := x.section.sender.session
	i.Told = s.recorders.streams.Told(x.ssrc)
	i.Remote.RoundTrips = s.trips
	return i
}

// marked counts the mark of a packet.
func (i *InboundStats) marked(ecn pkt.ECN) {
	switch ecn {
	case pkt.CE:
		i.PacketsCE++
	case pkt.ECT1:
		i.PacketsECT1++
	}
}
