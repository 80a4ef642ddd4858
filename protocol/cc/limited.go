package cc

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	limitedShare  = 0.65 // of the target: a source that sends less for a while has no more to send
	limitedWindow = 500 * time.Millisecond
	limitedFrom   = 0.8 // of the window saved up
	limitedTo     = 0.5
)

// limited finds out whether the application, and not the path, limits what is sent: then what arrives says little of the path. It is
// a bucket that a share of the target fills and that is emptied by what is sent.
type limited struct {
	room  float64 // bytes
	last  mono.Time
	since mono.Time // when it began; if on
	on    bool
}

func (l *limited) update(now mono.Time, target Rate, sent int) {
	share := target.times(limitedShare)
	most := share.bytes(limitedWindow)
	l.room += share.bytes(min(now.Sub(l.last), limitedWindow)) - float64(sent)
	l.room = min(max(l.room, -most), most)
	l.last = now
	switch {
	case !l.on && l.room > limitedFrom*most:
		l.on, l.since = true, now
	case l.on && l.room < limitedTo*most:
		l.on = false
	}
}
