package cc

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

const (
	unknownRTT   = 100 * time.Millisecond
	rembEvery    = time.Second
	rembSoon     = 0.97            // of what was told: if it is less, that is told at once
	rembTalkers  = 32              // that are named
	rembSilent   = 2 * time.Second // of a source that is no longer named
	rembLook     = 50 * time.Millisecond
	absSendRange = 64 * time.Second // after which abs-send-time comes round
)

// Receiver is the estimator at the receiver's end, for senders that know no better: it measures the delay by abs-send-time and tells
// the rate that the path bears by REMB (draft-alvestrand-rmcat-remb-03). Its zero value is ready for use; it is not safe for
// concurrent use.
type Receiver struct {
	groups  grouper
	trend   trendline
	acked   acked
	aimd    aimd
	sent    clock
	talkers []talker
	looked  mono.Time
	last    mono.Time
	next    mono.Time // when REMB is due
	told    Rate
	started bool
}

type talker struct {
	ssrc rtp.SSRC
	last mono.Time
}

// HandlePacket takes a packet as it arrives, with its abs-send-time and its size on the wire.
func (r *Receiver) HandlePacket(now mono.Time, ssrc rtp.SSRC, at rtp.AbsSendTime, size int) {
	if !r.started {
		r.started, r.looked = true, now
		r.aimd.rate = DefaultStart
		r.next = now.Add(rembEvery)
	} else if r.next == mono.Never {
		r.next = now
	}
	r.last = now
	r.name(now, ssrc)
	arrived := time.Duration(now)
	sent := r.sent.unwrap(time.Duration(at)*time.Second>>18, absSendRange)
	r.acked.add(arrived, size)
	if s, a, ok := r.groups.add(sent, arrived, size); ok {
		r.trend.update(s, a, r.groups.previous.lastArrived)
	}
	if r.trend.state == overusing || now.Sub(r.looked) >= rembLook {
		r.look(now)
	}
}

// look brings the rate up to date.
func (r *Receiver) look(now mono.Time) {
	r.looked = now
	arrives := r.acked.rate()
	u := r.trend.state
	if u == overusing && !r.aimd.mayDecrease(now.Add(-unknownRTT), arrives) {
		u = underusing
	}
	r.aimd.update(now, u, arrives, unknownRTT)
	r.aimd.rate = max(r.aimd.rate, DefaultMin)
	if r.aimd.rate < r.told.times(rembSoon) {
		r.next = now
	}
}

func (r *Receiver) name(now mono.Time, ssrc rtp.SSRC) {
	i := slices.IndexFunc(r.talkers, func(s talker) bool { return s.ssrc == ssrc })
	if i < 0 {
		if len(r.talkers) == rembTalkers {
			return
		}
		i = len(r.talkers)
		r.talkers = append(r.talkers, talker{ssrc: ssrc})
	}
	r.talkers[i].last = now
}

// Rate is what the path bears.
func (r *Receiver) Rate() Rate { return r.aimd.rate }

// NextTimeout returns when AppendREMB has something to say.
func (r *Receiver) NextTimeout() mono.Time {
	if !r.started {
		return mono.Never
	}
	return r.next
}

// AppendREMB appends an RTCP packet if one is due, else it returns dst as it is.
func (r *Receiver) AppendREMB(dst []byte, now mono.Time, sender rtp.SSRC) []byte {
	if !r.started || now < r.next {
		return dst
	}
	if now.Sub(r.last) > rembSilent { // nobody sends
		r.next = mono.Never
		return dst
	}
	r.talkers = slices.DeleteFunc(r.talkers, func(s talker) bool { return now.Sub(s.last) > rembSilent })
	var names [rembTalkers]rtp.SSRC
	for i, s := range r.talkers {
		names[i] = s.ssrc
	}
	r.next = now.Add(rembEvery)
	r.told = r.aimd.rate
	return rtcp.AppendREMB(dst, sender, uint64(r.told), names[:len(r.talkers)]...)
}
