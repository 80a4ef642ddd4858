package main

import (
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const (
	patience = 10 * time.Second // for a handshake, and for a line to come back
	idle     = 5 * time.Minute  // after which an end is given up: its peer may have gone without a word
)

// An end is one connection on the loop.
type end struct {
	*dtls.Conn
	lease *loop.Lease
	path  pkt.Path
	until mono.Time // idle after the last datagram
}

// say sends application data: one record, and so one datagram.
func (e *end) say(text []byte) {
	if record, err := e.AppendRecord(nil, text); err == nil { // else it is not, or no longer, connected
		e.lease.Batch().Append(pkt.Transmit{Path: e.path, Payload: record})
	}
}

// transmit writes the datagrams of handshakes and alerts. Public-key work goes to the loop's pool, and its result comes
// back as a post.
func (e *end) transmit(now mono.Time, b *pkt.Batch) (more bool) {
	if job, ok := e.NextJob(); ok {
		done := func(now mono.Time) { e.JobDone(now, job) }
		if !e.lease.Submit(func() func(mono.Time) { job.Run(); return done }) {
			job.Run() // the pool is full
			done(now)
			e.lease.Touch()
		}
	}
	for {
		buf := b.Reserve(dtls.DefaultMTU)
		if buf == nil {
			return true
		}
		if buf = e.AppendDatagram(buf, now); len(buf) == 0 {
			return false
		}
		b.Commit(pkt.Transmit{Path: e.path, Payload: buf})
	}
}
