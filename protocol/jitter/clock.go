package jitter

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A reference is one point at which the sender's time of day and the stream's timestamps are known together: from a sender
// report, or from a packet that says when it was captured. Between two of them the rates of clocks differ too little to count.
type reference struct {
	ntp   rtp.NTP
	ts    uint32
	known bool
}

// ntpAt is the sender's time of day of a timestamp; 0 if it is not known.
func (r *reference) ntpAt(ts uint32, rate int64) rtp.NTP {
	if !r.known {
		return 0
	}
	d := seqnum.Diff(ts, r.ts)
	return r.ntp.Add(time.Duration(d) * time.Second / time.Duration(rate))
}

// sinceEra is a time of day as a duration since the era of NTP began.
func sinceEra(n rtp.NTP) time.Duration {
	return time.Duration(n>>32)*time.Second + time.Duration((uint64(n)&0xffffffff)*uint64(time.Second)>>32)
}
