package turn

import (
	"time"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// The refusal of a permission is nothing that a client waits for: the pair of candidates is lost either way, and data for
// that peer is dropped from the beginning. But it can end a call. Chromium gives the pair up at once, and if no other is
// there yet, because the peer's public or relayed candidate is still on its way, reports that ICE has failed, though an
// agent "MUST NOT update a checklist state from Running to Failed, even if there are no pairs left in the checklist to
// check", for 39.5 s (RFC 8863 section 4). So a refusal is held back for a while.
const (
	// refusalDelay is well within a request's life: Chromium sends the last time after 7.75 s, RFC 8489 after 31.5 s.
	refusalDelay = 5 * time.Second
	// maxRefusals is how many are held back; more are sent at once.
	maxRefusals = 256
)

// refusal is the answer to one request.
type refusal struct {
	path        pkt.Path
	allocation  uint64 // its serial number
	transaction stun.TransactionID
	fingerprint bool
	due         mono.Time
}

// refusals are those that are held back, in the order of their requests.
type refusals struct {
	held  []refusal
	timer timerq.Timer[timed]
}

// holdRefusal answers a CreatePermission request with 403, later.
func (s *Server) holdRefusal(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) {
	q := &s.refusals
	for i := range q.held {
		if q.held[i].transaction == m.ID() && q.held[i].path == d.Path {
			return // it is sent again
		}
	}
	if len(q.held) == maxRefusals {
		s.refuse(d, m, stun.CodeForbidden)
		return
	}
	q.held = append(q.held, refusal{d.Path, a.serial, m.ID(), m.HasFingerprint(), now.Add(refusalDelay)})
	if len(q.held) == 1 {
		s.timers.Set(&q.timer, q.held[0].due)
	}
}

// expire sends those whose time has come, to clients that still have their allocation.
func (q *refusals) expire(s *Server, now mono.Time) {
	n := 0
	for ; n < len(q.held) && q.held[n].due <= now; n++ {
		r := &q.held[n]
		a := s.clients[r.path]
		if a == nil || a.serial != r.allocation {
			continue
		}
		s.actFor(a)
		s.drop(DropRequest)
		b := s.respond(stun.Error, stun.CreatePermission, r.transaction)
		b.Error(stun.CodeForbidden, stun.CodeForbidden.Reason())
		s.send(r.path, stun.CreatePermission, r.fingerprint, &b)
	}
	q.held = append(q.held[:0], q.held[n:]...)
	if len(q.held) > 0 {
		s.timers.Set(&q.timer, q.held[0].due)
	}
}
