package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// kind is which of the two streams a packet belongs to.
type kind uint8

const (
	audio kind = iota
	video
)

const (
	frameInterval = time.Second / 30
	audioInterval = 20 * time.Millisecond
	audioPayload  = 80   // Opus, 32 kbit/s
	videoPayload  = 1160 // the most that a packet carries
	rtpHeader     = 12 + 8
	ipUDP         = 20 + 8

	leastVideo    = 30_000
	keyFrameEvery = 600 // frames
	keyFrameSize  = 4.0 // of the mean size of a frame
	sizeDeviation = 0.25
)

// A source is a camera with its encoder and a microphone: it makes video that follows the rate it is told, as well as encoders
// do, and audio of one rate. An encoder misses the size of each single frame (here by a log-normal factor) and makes up for
// it in the next ones, and a key frame, at the start and each 20 s, costs four times a frame's share.
type source struct {
	net  *simnet.Network
	rng  *rand.Rand
	out  stack
	ends mono.Time
	most func(now mono.Time) int64 // of video, bits a second; what the encoder makes of the picture if it may

	frames int
	debt   float64 // bytes that were made beyond the rate
	buffer [videoPayload]byte
}

// run begins to make media now.
func (s *source) run() {
	s.net.After(0, s.sound)
	s.net.After(time.Duration(s.rng.Int64N(int64(frameInterval))), s.picture)
}

func (s *source) sound(now mono.Time) {
	if now >= s.ends {
		return
	}
	stamp(s.buffer[:], now)
	s.out.send(now, audio, s.buffer[:audioPayload], true)
	s.net.After(audioInterval, s.sound)
}

func (s *source) picture(now mono.Time) {
	if now >= s.ends {
		return
	}
	s.net.After(frameInterval, s.picture)
	rate := s.rate(now)
	if rate == 0 {
		return
	}
	mean := float64(rate) / 8 * frameInterval.Seconds()
	size := mean*math.Exp(sizeDeviation*s.rng.NormFloat64()-sizeDeviation*sizeDeviation/2) - s.debt/8
	if s.frames%keyFrameEvery == 0 {
		size = keyFrameSize * mean
	}
	size = min(max(size, mean/5, 60), 1.2*keyFrameSize*mean+60)
	s.debt = min(max(s.debt+size-mean, -mean), 15*mean)
	s.frames++
	stamp(s.buffer[:], now)
	// All packets of a frame are of the same size, as libwebrtc cuts them.
	packets := int(math.Ceil(size / videoPayload))
	each := int(math.Ceil(size / float64(packets)))
	for i := range packets {
		s.out.send(now, video, s.buffer[:each], i == packets-1)
	}
}

// rate is the bitrate of the encoder; 0: it is paused.
func (s *source) rate(now mono.Time) int64 {
	target := s.out.video()
	if target == 0 {
		return 0
	}
	return min(max(target, leastVideo), s.most(now))
}

// videoOf is what is left of a target for the encoder's bits: less the audio, and the headers that the target counts.
func videoOf(target int64, headers int) int64 {
	rest := float64(target) - 8*float64(audioPayload+headers)/audioInterval.Seconds()
	packets := math.Ceil(rest / 8 * frameInterval.Seconds() / float64(videoPayload+headers))
	return int64(rest - 8*packets*float64(headers)/frameInterval.Seconds())
}
