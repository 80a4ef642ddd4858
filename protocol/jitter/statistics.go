package jitter

import "time"

// Statistics are those members of an RTCInboundRtpStreamStats (webrtc-stats section 8.4) that a jitter buffer knows, and
// counts of what it did not take. Durations are in seconds, those named after the buffer summed over what came out of it: each
// sample of audio (of one channel), each frame of video.
type Statistics struct {
	JitterBufferDelay        float64
	JitterBufferTargetDelay  float64
	JitterBufferMinimumDelay float64 // what the target would be if the network alone decided
	JitterBufferEmittedCount uint64

	FramesReceived                     uint64 // complete ones
	FramesDropped                      uint64 // complete, but never given out
	FramesGiven                        uint64
	KeyFrames                          uint64 // of those given
	FramesAssembledFromMultiplePackets uint64
	TotalAssemblyTime                  float64

	FreezeCount                 uint64
	TotalFreezesDuration        float64
	PauseCount                  uint64
	TotalPausesDuration         float64
	TotalInterFrameDelay        float64
	TotalSquaredInterFrameDelay float64

	ConcealedSamples  uint64 // that were given out as lost
	ConcealmentEvents uint64

	PacketsLost      uint64 // given up
	PacketsDiscarded uint64 // came too late, or there was no room
	PacketsDuplicate uint64
	PacketsUnknown   uint64 // of payload types that were not set
	PacketsMalformed uint64
	PacketsRedundant uint64 // that filled a gap (RED)
}

const (
	freezeFrames = 30
	freezeExtra  = 150 * time.Millisecond
	pause        = 5 * time.Second
)

// A rhythm finds freezes in the times at which frames of video are given out.
type rhythm struct {
	last      time.Duration
	begun     bool
	intervals [freezeFrames]time.Duration
	count     int
	sum       time.Duration
}

func (r *rhythm) frame(now time.Duration, s *Statistics) {
	if !r.begun {
		r.begun, r.last = true, now
		return
	}
	d := now - r.last
	r.last = now
	s.TotalInterFrameDelay += d.Seconds()
	s.TotalSquaredInterFrameDelay += d.Seconds() * d.Seconds()
	// "It is a freeze if frame duration [...] is equal or exceeds Max(3 * avg_frame_duration_ms, avg_frame_duration_ms + 150)",
	// the average being that of the last 30 (webrtc-stats, freezeCount).
	if n := min(r.count, freezeFrames); n > 0 {
		average := r.sum / time.Duration(n)
		if d >= max(3*average, average+freezeExtra) {
			s.FreezeCount++
			s.TotalFreezesDuration += d.Seconds()
		}
	}
	if d > pause {
		s.PauseCount++
		s.TotalPausesDuration += d.Seconds()
	}
	at := r.count % freezeFrames
	r.sum += d - r.intervals[at]
	r.intervals[at] = d
	r.count++
}
