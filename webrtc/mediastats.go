package webrtc

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
)

// The types of what a report holds of media.
const (
	StatsTypeCodec             StatsType = "codec"
	StatsTypeInboundRTP        StatsType = "inbound-rtp"
	StatsTypeOutboundRTP       StatsType = "outbound-rtp"
	StatsTypeRemoteInboundRTP  StatsType = "remote-inbound-rtp"
	StatsTypeRemoteOutboundRTP StatsType = "remote-outbound-rtp"
	StatsTypeMediaSource       StatsType = "media-source"
)

// CodecStats is RTCCodecStats: a codec that a stream uses.
type CodecStats struct {
	StatsBase
	PayloadType uint8  `json:"payloadType"`
	TransportID string `json:"transportId"`
	MimeType    string `json:"mimeType"`
	ClockRate   uint32 `json:"clockRate"`
	Channels    uint16 `json:"channels,omitempty"`
	SDPFmtpLine string `json:"sdpFmtpLine,omitempty"`
}

// RTPStreamStats is RTCRtpStreamStats: what the dictionaries of streams have in common.
type RTPStreamStats struct {
	StatsBase
	SSRC        uint32 `json:"ssrc"`
	Kind        string `json:"kind"`
	TransportID string `json:"transportId,omitempty"`
	CodecID     string `json:"codecId,omitempty"`
}

// InboundRTPStreamStats is RTCInboundRtpStreamStats: a stream that comes. Times are in seconds. What is of frames, of the jitter
// buffer, of samples and of concealment counts for a track that is read by [RemoteTrack.ReadSample]; frames are decoded when they
// are handed out by it. In JSON members are left out that are of the other kind.
type InboundRTPStreamStats struct {
	RTPStreamStats
	PacketsReceived         uint64 `json:"packetsReceived"`
	PacketsReceivedWithECT1 uint64 `json:"packetsReceivedWithEct1"`
	PacketsReceivedWithCE   uint64 `json:"packetsReceivedWithCe"`
	// By our feedback of RFC 8888, where the peer takes that.
	PacketsReportedAsLost             uint64  `json:"packetsReportedAsLost,omitempty"`
	PacketsReportedAsLostButRecovered uint64  `json:"packetsReportedAsLostButRecovered,omitempty"`
	PacketsLost                       int64   `json:"packetsLost"`
	Jitter                            float64 `json:"jitter"`
	TrackIdentifier                   string  `json:"trackIdentifier"`
	MID                               string  `json:"mid"`
	RID                               string  `json:"rid,omitempty"` // of simulcast; not in webrtc-stats
	RemoteID                          string  `json:"remoteId,omitempty"`
	BytesReceived                     uint64  `json:"bytesReceived"`
	HeaderBytesReceived               uint64  `json:"headerBytesReceived"`
	LastPacketReceivedTimestamp       float64 `json:"lastPacketReceivedTimestamp,omitempty"`
	RetransmittedPacketsReceived      uint64  `json:"retransmittedPacketsReceived"`
	RetransmittedBytesReceived        uint64  `json:"retransmittedBytesReceived"`
	RTXSSRC                           uint32  `json:"rtxSsrc,omitempty"`
	FECPacketsReceived                uint64  `json:"fecPacketsReceived"`
	FECPacketsDiscarded               uint64  `json:"fecPacketsDiscarded"`
	FECBytesReceived                  uint64  `json:"fecBytesReceived"`
	FECSSRC                           uint32  `json:"fecSsrc,omitempty"`
	PacketsRepaired                   uint64  `json:"packetsRepaired"`   // by what came again or by FEC; not in webrtc-stats any more
	PacketsDuplicated                 uint64  `json:"packetsDuplicated"` // not in webrtc-stats any more
	NACKCount                         uint64  `json:"nackCount"`
	PLICount                          uint64  `json:"pliCount" of:"video"`
	FIRCount                          uint64  `json:"firCount" of:"video"`

	PacketsDiscarded         uint64  `json:"packetsDiscarded"`
	JitterBufferDelay        float64 `json:"jitterBufferDelay"`
	JitterBufferTargetDelay  float64 `json:"jitterBufferTargetDelay"`
	JitterBufferMinimumDelay float64 `json:"jitterBufferMinimumDelay"`
	JitterBufferEmittedCount uint64  `json:"jitterBufferEmittedCount"`
	TotalProcessingDelay     float64 `json:"totalProcessingDelay"`
	// EstimatedPlayoutTimestamp is what of the sender's clock is being played now, in milliseconds since 1900 (NTP).
	EstimatedPlayoutTimestamp float64 `json:"estimatedPlayoutTimestamp,omitempty"`

	AudioLevel           *float64 `json:"audioLevel,omitempty" of:"audio"` // of the last packet, if the peer tells
	TotalAudioEnergy     float64  `json:"totalAudioEnergy" of:"audio"`     // of what the peer tells
	TotalSamplesReceived uint64   `json:"totalSamplesReceived" of:"audio"`
	TotalSamplesDuration float64  `json:"totalSamplesDuration" of:"audio"`
	ConcealedSamples     uint64   `json:"concealedSamples" of:"audio"`
	ConcealmentEvents    uint64   `json:"concealmentEvents" of:"audio"`

	// Of the pictures that come, read or not: their size is that of the last key frame, if its header says it.
	FrameWidth      int     `json:"frameWidth,omitempty" of:"video"`
	FrameHeight     int     `json:"frameHeight,omitempty" of:"video"`
	FramesPerSecond float64 `json:"framesPerSecond" of:"video"`

	FramesReceived                     uint64  `json:"framesReceived" of:"video"`
	FramesDecoded                      uint64  `json:"framesDecoded" of:"video"`
	KeyFramesDecoded                   uint64  `json:"keyFramesDecoded" of:"video"`
	FramesDropped                      uint64  `json:"framesDropped" of:"video"`
	FramesAssembledFromMultiplePackets uint64  `json:"framesAssembledFromMultiplePackets" of:"video"`
	TotalAssemblyTime                  float64 `json:"totalAssemblyTime" of:"video"`
	TotalInterFrameDelay               float64 `json:"totalInterFrameDelay" of:"video"`
	TotalSquaredInterFrameDelay        float64 `json:"totalSquaredInterFrameDelay" of:"video"`
	FreezeCount                        uint64  `json:"freezeCount" of:"video"`
	TotalFreezesDuration               float64 `json:"totalFreezesDuration" of:"video"`
	PauseCount                         uint64  `json:"pauseCount" of:"video"`
	TotalPausesDuration                float64 `json:"totalPausesDuration" of:"video"`

	receiver *RTPReceiver
}

// MarshalJSON writes the members of the stream's kind.
func (s InboundRTPStreamStats) MarshalJSON() ([]byte, error) { return membersOf(s.Kind, s) }

// OutboundRTPStreamStats is RTCOutboundRtpStreamStats: a stream that we send. Times are in seconds.
type OutboundRTPStreamStats struct {
	RTPStreamStats
	PacketsSent              uint64  `json:"packetsSent"`
	BytesSent                uint64  `json:"bytesSent"`
	MID                      string  `json:"mid"`
	MediaSourceID            string  `json:"mediaSourceId,omitempty"`
	RemoteID                 string  `json:"remoteId,omitempty"`
	RID                      string  `json:"rid,omitempty"`
	EncodingIndex            int     `json:"encodingIndex"`
	HeaderBytesSent          uint64  `json:"headerBytesSent"`
	RetransmittedPacketsSent uint64  `json:"retransmittedPacketsSent"`
	RetransmittedBytesSent   uint64  `json:"retransmittedBytesSent"`
	RTXSSRC                  uint32  `json:"rtxSsrc,omitempty"`
	TargetBitrate            float64 `json:"targetBitrate"` // bits a second
	TotalEncodedBytesTarget  uint64  `json:"totalEncodedBytesTarget" of:"video"`
	FrameWidth               int     `json:"frameWidth,omitempty" of:"video"` // of the last key frame, if its header says it
	FrameHeight              int     `json:"frameHeight,omitempty" of:"video"`
	FramesPerSecond          float64 `json:"framesPerSecond" of:"video"`
	FramesSent               uint64  `json:"framesSent" of:"video"`
	HugeFramesSent           uint64  `json:"hugeFramesSent" of:"video"`
	FramesEncoded            uint64  `json:"framesEncoded" of:"video"` // by the program: that were taken to be sent
	KeyFramesEncoded         uint64  `json:"keyFramesEncoded" of:"video"`
	TotalPacketSendDelay     float64 `json:"totalPacketSendDelay"`
	NACKCount                uint64  `json:"nackCount"`
	PLICount                 uint64  `json:"pliCount" of:"video"`
	FIRCount                 uint64  `json:"firCount" of:"video"`
	PacketsDropped           uint64  `json:"packetsDropped"` // before they were sent, because too much waited; not in webrtc-stats
	Active                   bool    `json:"active"`
	ScalabilityMode          string  `json:"scalabilityMode,omitempty" of:"video"`
	// QualityLimitationReason is "none" or "bandwidth": of the processor only the program knows. QualityLimitationDurations has the
	// seconds of each reason.
	QualityLimitationReason    string             `json:"qualityLimitationReason,omitempty" of:"video"`
	QualityLimitationDurations map[string]float64 `json:"qualityLimitationDurations,omitempty" of:"video"`

	sender *RTPSender
}

// MarshalJSON writes the members of the stream's kind.
func (s OutboundRTPStreamStats) MarshalJSON() ([]byte, error) { return membersOf(s.Kind, s) }

// RemoteInboundRTPStreamStats is RTCRemoteInboundRtpStreamStats: what the peer reports of a stream that we send. Times are in
// seconds.
type RemoteInboundRTPStreamStats struct {
	RTPStreamStats
	LocalID         string `json:"localId"`
	PacketsReceived uint64 `json:"packetsReceived"`
	// By the peer's feedback of RFC 8888, if it gives that.
	PacketsReceivedWithCE             uint64  `json:"packetsReceivedWithCe,omitempty"`
	PacketsReportedAsLost             uint64  `json:"packetsReportedAsLost,omitempty"`
	PacketsReportedAsLostButRecovered uint64  `json:"packetsReportedAsLostButRecovered,omitempty"`
	PacketsLost                       int64   `json:"packetsLost"`
	Jitter                            float64 `json:"jitter"`
	RoundTripTime                     float64 `json:"roundTripTime,omitempty"`
	TotalRoundTripTime                float64 `json:"totalRoundTripTime"`
	FractionLost                      float64 `json:"fractionLost"`
	RoundTripTimeMeasurements         uint64  `json:"roundTripTimeMeasurements"`
}

// RemoteOutboundRTPStreamStats is RTCRemoteOutboundRtpStreamStats: what the peer reports of a stream that it sends.
type RemoteOutboundRTPStreamStats struct {
	RTPStreamStats
	PacketsSent     uint64  `json:"packetsSent"`
	BytesSent       uint64  `json:"bytesSent"`
	LocalID         string  `json:"localId"`
	RemoteTimestamp float64 `json:"remoteTimestamp"` // milliseconds since 1970, by the peer's clock
	ReportsSent     uint64  `json:"reportsSent"`
	// The round trip is measured by extended reports (RFC 3611), with peers that have them.
	RoundTripTime             float64 `json:"roundTripTime,omitempty"`
	TotalRoundTripTime        float64 `json:"totalRoundTripTime"`
	RoundTripTimeMeasurements uint64  `json:"roundTripTimeMeasurements"`
}

// MediaSourceStats is RTCAudioSourceStats or RTCVideoSourceStats: a track of ours that is sent. In JSON members are left out that
// are of the other kind.
type MediaSourceStats struct {
	StatsBase
	TrackIdentifier string `json:"trackIdentifier"`
	Kind            string `json:"kind"`

	AudioLevel           *float64 `json:"audioLevel,omitempty" of:"audio"` // of the last sample that had one
	TotalAudioEnergy     float64  `json:"totalAudioEnergy" of:"audio"`     // of samples with a level
	TotalSamplesDuration float64  `json:"totalSamplesDuration" of:"audio"` // of what was written, in seconds

	Frames uint64 `json:"frames" of:"video"` // that were written
	// Of the largest of the encodings that are sent.
	Width           int     `json:"width,omitempty" of:"video"`
	Height          int     `json:"height,omitempty" of:"video"`
	FramesPerSecond float64 `json:"framesPerSecond" of:"video"`
}

// MarshalJSON writes the members of the source's kind.
func (s MediaSourceStats) MarshalJSON() ([]byte, error) { return membersOf(s.Kind, s) }

// GetStats returns the report of the sender (getStats): the streams that it sends, and whatever they refer to.
func (s *RTPSender) GetStats() StatsReport {
	return s.pc.GetStats().selected(func(x Stats) bool {
		o, ok := x.(*OutboundRTPStreamStats)
		return ok && o.sender == s
	})
}

// GetStats returns the report of the receiver (getStats): the streams that it receives, and whatever they refer to.
func (r *RTPReceiver) GetStats() StatsReport {
	return r.pc.GetStats().selected(func(x Stats) bool {
		i, ok := x.(*InboundRTPStreamStats)
		return ok && i.receiver == r
	})
}

// GetTrackStats returns the report of a track (getStats with a selector), ours or the peer's: that of the one sender or receiver
// that has it. If there is none, or if there are several, it is an InvalidAccessError.
func (pc *PeerConnection) GetTrackStats(track interface{ ID() string }) (StatsReport, error) {
	var found []func() StatsReport
	for _, t := range pc.transceivers() {
		if x := t.sender.Track(); x != nil && track != nil && x.ID() == track.ID() {
			found = append(found, t.sender.GetStats)
		}
		if track != nil && t.receiver.track.ID() == track.ID() {
			found = append(found, t.receiver.GetStats)
		}
	}
	if len(found) != 1 {
		return nil, fail(InvalidAccessError, "%d senders and receivers have the track", len(found))
	}
	return found[0](), nil
}

// selected is the "stats selection algorithm": what root says, and all that is referred to from there, directly or not.
func (r StatsReport) selected(root func(Stats) bool) StatsReport {
	found := StatsReport{}
	var visit func(s Stats)
	visit = func(s Stats) {
		if id := s.Base().ID; found[id] == nil {
			found[id] = s
			for _, other := range references(reflect.ValueOf(s).Elem()) {
				if o := r[other]; o != nil {
					visit(o)
				}
			}
		}
	}
	for _, s := range r {
		if root(s) {
			visit(s)
		}
	}
	return found
}

// references are the members of a dictionary that are ids of others.
func references(v reflect.Value) (ids []string) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Tag.Get("json")
		name, _, _ = strings.Cut(name, ",")
		switch {
		case f.Kind() == reflect.Struct:
			ids = append(ids, references(f)...)
		case f.Kind() == reflect.String && strings.HasSuffix(name, "Id"):
			ids = append(ids, f.String())
		}
	}
	return ids
}

// media reports what a transport carries of audio and video.
func (r *reporter) media(transport int, id string, seen *observation) {
	all := r.pc.media.Load()
	if all == nil {
		return
	}
	for i := range seen.outbound {
		o := &seen.outbound[i]
		if m := all.sections[o.MID]; m != nil && m.Transport == transport && (m.Sends || o.PacketsSent > 0) {
			r.outbound(m, id, o)
		}
	}
	for i := range seen.inbound {
		in := &seen.inbound[i]
		if m := all.sections[in.MID]; m != nil && m.Transport == transport {
			r.inbound(m, id, in)
		}
	}
}

func (r *reporter) stream(prefix string, kind StatsType, ssrc uint32, m *mediaSection, transport, codec string) RTPStreamStats {
	return RTPStreamStats{r.base(fmt.Sprint(prefix, ssrc), kind), ssrc, m.Kind, transport, codec}
}

func (r *reporter) outbound(m *mediaSection, transport string, o *session.OutboundStats) {
	s, ssrc, codec := m.transceiver.sender, uint32(o.SSRC), ""
	if o.PacketsSent > 0 {
		codec = r.codec(m, transport, m.Send, uint8(o.PayloadType))
	}
	x := &OutboundRTPStreamStats{
		RTPStreamStats: r.stream("O", StatsTypeOutboundRTP, ssrc, m, transport, codec), sender: s,
		PacketsSent: o.PacketsSent, BytesSent: o.BytesSent, MID: o.MID, RID: o.RID, EncodingIndex: o.Encoding, HeaderBytesSent: o.HeaderBytesSent,
		RetransmittedPacketsSent: o.RetransmittedPacketsSent, RetransmittedBytesSent: o.RetransmittedBytesSent, TargetBitrate: float64(o.TargetBitrate),
		TotalPacketSendDelay: o.TotalPacketSendDelay.Seconds(), NACKCount: o.NACKCount, PLICount: o.PLICount, FIRCount: o.FIRCount, Active: o.Active,
		PacketsDropped: o.PacketsDropped,
	}
	if o.Encoding < len(s.refused) {
		x.PacketsDropped += s.refused[o.Encoding].Load()
	}
	if repairs(m.Send) {
		x.RTXSSRC = uint32(o.RTXSSRC)
	}
	if o.Encoding < len(s.timelines) && m.Kind == "video" {
		l := &s.timelines[o.Encoding]
		x.FramesEncoded, x.KeyFramesEncoded = l.frames, l.keyFrames
	}
	if m.Kind == "video" {
		x.FramesSent, x.HugeFramesSent, x.TotalEncodedBytesTarget = o.FramesSent, o.HugeFramesSent, o.TotalEncodedBytesTarget
		x.FrameWidth, x.FrameHeight, x.FramesPerSecond = o.FrameWidth, o.FrameHeight, float64(o.FramesPerSecond.At(r.now))
		x.QualityLimitationReason = "none"
		if o.Quality.Bandwidth {
			x.QualityLimitationReason = "bandwidth"
		}
		x.QualityLimitationDurations = map[string]float64{"none": o.Quality.None.Seconds(), "bandwidth": o.Quality.InBandwidth.Seconds(), "cpu": 0, "other": 0}
	}
	if o.Encoding < len(s.encodings) {
		x.ScalabilityMode = s.encodings[o.Encoding].ScalabilityMode
	}
	if t := s.Track(); t != nil {
		x.MediaSourceID = r.source(t, x)
	}
	if p := &o.Remote; p.Reports > 0 {
		remote := &RemoteInboundRTPStreamStats{
			RTPStreamStats: r.stream("RI", StatsTypeRemoteInboundRTP, ssrc, m, transport, codec), LocalID: x.ID,
			PacketsReceived: p.PacketsReceived, PacketsLost: p.PacketsLost, Jitter: p.Jitter.Seconds(), RoundTripTime: p.RoundTripTime.Seconds(),
			TotalRoundTripTime: p.TotalRoundTripTime.Seconds(), FractionLost: p.FractionLost, RoundTripTimeMeasurements: p.RoundTripTimeMeasurements,
			PacketsReceivedWithCE: p.Told.CE, PacketsReportedAsLost: p.Told.Lost, PacketsReportedAsLostButRecovered: p.Told.Recovered,
		}
		remote.Timestamp = r.at(p.At) // "the time at which the report was received"
		x.RemoteID = remote.ID
		r.add(remote)
	}
	r.add(x)
}

func (r *reporter) inbound(m *mediaSection, transport string, i *session.InboundStats) {
	receiver, ssrc := m.transceiver.receiver, uint32(i.SSRC)
	track := receiver.layer(i.RID)
	x := &InboundRTPStreamStats{
		RTPStreamStats: r.stream("I", StatsTypeInboundRTP, ssrc, m, transport, ""), receiver: receiver,
		PacketsReceived: i.PacketsReceived, PacketsLost: i.PacketsLost, Jitter: i.Jitter.Seconds(), TrackIdentifier: track.id, MID: i.MID, RID: i.RID,
		BytesReceived: i.BytesReceived, HeaderBytesReceived: i.HeaderBytesReceived, LastPacketReceivedTimestamp: r.at(i.LastPacketReceived),
		RetransmittedPacketsReceived: i.RetransmittedPacketsReceived, RetransmittedBytesReceived: i.RetransmittedBytesReceived, RTXSSRC: uint32(i.RTXSSRC),
		NACKCount: i.NACKCount, PLICount: i.PLICount, FIRCount: i.FIRCount, PacketsReceivedWithECT1: i.PacketsECT1, PacketsReceivedWithCE: i.PacketsCE,
		PacketsReportedAsLost: i.Told.Lost, PacketsReportedAsLostButRecovered: i.Told.Recovered,
		FECPacketsReceived: i.FECPacketsReceived, FECPacketsDiscarded: i.FECPacketsDiscarded,
		FECBytesReceived: i.FECBytesReceived, FECSSRC: uint32(i.FECSSRC), PacketsRepaired: i.PacketsRepaired, PacketsDuplicated: i.PacketsDuplicated,
	}
	if m.Kind == "video" {
		x.FrameWidth, x.FrameHeight, x.FramesPerSecond = i.FrameWidth, i.FrameHeight, float64(i.FramesPerSecond.At(r.now))
	}
	for _, h := range receiver.sources {
		if h.id == ssrc && !h.contributing && h.leveled {
			x.AudioLevel = new(linear(h.level.Level))
		}
	}
	if track.ssrc.Load() == ssrc {
		x.CodecID = r.codec(m, transport, m.Receive, uint8(track.payloadType))
		x.PacketsDiscarded = track.dropped.Load()
		if p := track.playout.Load(); p != nil {
			p.mu.Lock()
			j, played := p.statistics, p.played
			p.mu.Unlock()
			x.PacketsDiscarded += j.PacketsDiscarded
			x.TotalProcessingDelay = j.JitterBufferDelay // what is decoded is what comes out of it
			if played.captured != 0 {
				x.EstimatedPlayoutTimestamp = float64(played.captured)/(1<<32)*1000 + 1000*r.now.Sub(played.at).Seconds()
			}
			x.TotalSamplesReceived, x.TotalSamplesDuration, x.TotalAudioEnergy = played.samples, played.duration.Seconds(), played.energy
			x.JitterBufferDelay, x.JitterBufferTargetDelay, x.JitterBufferMinimumDelay = j.JitterBufferDelay, j.JitterBufferTargetDelay, j.JitterBufferMinimumDelay
			x.JitterBufferEmittedCount = j.JitterBufferEmittedCount
			x.ConcealedSamples, x.ConcealmentEvents = j.ConcealedSamples, j.ConcealmentEvents
			if m.Kind == "video" {
				x.FramesReceived, x.FramesDecoded, x.KeyFramesDecoded, x.FramesDropped = j.FramesReceived, j.FramesGiven, j.KeyFrames, j.FramesDropped
				x.FramesAssembledFromMultiplePackets, x.TotalAssemblyTime = j.FramesAssembledFromMultiplePackets, j.TotalAssemblyTime
				x.TotalInterFrameDelay, x.TotalSquaredInterFrameDelay = j.TotalInterFrameDelay, j.TotalSquaredInterFrameDelay
				x.FreezeCount, x.TotalFreezesDuration, x.PauseCount, x.TotalPausesDuration = j.FreezeCount, j.TotalFreezesDuration, j.PauseCount, j.TotalPausesDuration
			}
		}
	}
	if p := &i.Remote; p.Reports > 0 {
		remote := &RemoteOutboundRTPStreamStats{
			RTPStreamStats: r.stream("RO", StatsTypeRemoteOutboundRTP, ssrc, m, transport, x.CodecID), PacketsSent: p.PacketsSent, BytesSent: p.BytesSent,
			LocalID: x.ID, RemoteTimestamp: milliseconds(p.RemoteTimestamp.Time()), ReportsSent: p.Reports,
			RoundTripTime: p.RoundTripTime.Seconds(), TotalRoundTripTime: p.TotalRoundTripTime.Seconds(), RoundTripTimeMeasurements: p.RoundTripTimeMeasurements,
		}
		x.RemoteID = remote.ID
		r.add(remote)
	}
	r.add(x)
}

func repairs(codecs []jsep.Codec) bool {
	for _, c := range codecs {
		if c.RTX != 0 {
			return true
		}
	}
	return false
}

// codec reports a codec that is in use, and returns its id.
func (r *reporter) codec(m *mediaSection, transport string, codecs []jsep.Codec, pt uint8) string {
	for _, c := range codecs {
		if c.Payload != pt {
			continue
		}
		w := codecOf(m.Kind, &c)
		id := fmt.Sprint("C", transport, "-", pt, "-", w.SDPFmtpLine)
		r.add(&CodecStats{r.base(id, StatsTypeCodec), pt, transport, w.MimeType, w.ClockRate, w.Channels, w.SDPFmtpLine})
		return id
	}
	return ""
}

// source reports a track that is sent, by this stream among others, and returns its id.
func (r *reporter) source(t Track, o *OutboundRTPStreamStats) string {
	s := t.source()
	id := "S" + s.id
	x, known := r.StatsReport[id].(*MediaSourceStats)
	if !known {
		x = &MediaSourceStats{StatsBase: r.base(id, StatsTypeMediaSource), TrackIdentifier: s.id, Kind: t.Kind()}
		r.add(x)
	}
	if x.Kind == "video" {
		x.Frames, x.FramesPerSecond = s.frames.Load(), max(x.FramesPerSecond, o.FramesPerSecond)
		if o.FrameWidth > x.Width {
			x.Width, x.Height = o.FrameWidth, o.FrameHeight
		}
		return id
	}
	x.TotalSamplesDuration, x.TotalAudioEnergy = time.Duration(s.written.Load()).Seconds(), time.Duration(s.energy.Load()).Seconds()
	if level := s.level.Load(); level != 0 {
		x.AudioLevel = new(linear(uint8(level - 1)))
	}
	return id
}
