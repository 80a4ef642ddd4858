package dtls

import (
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
)

// A talker is a Conn with a caller who accepts each certificate, says something when connected, and again until an answer
// came: application data may be lost.
type talker struct {
	*Conn
	line    string
	heard   int
	mute    bool // until retryAt
	retryAt mono.Time
	now     mono.Time
}

func newTalker(t testing.TB, r Role, v Version, seed uint64) *talker {
	cfg := configOf(t, r.String(), seed)
	cfg.ConnectionID = []byte(r.String())
	if v != 0 {
		only(cfg, v)
	}
	return &talker{Conn: mustNew(t, r, cfg), line: r.String() + " speaking", mute: true, retryAt: mono.Never}
}

func (k *talker) engine() laws.Engine {
	return &laws.Nested{
		Handle: func(now mono.Time, packet []byte) {
			k.now = now
			k.HandleDatagram(now, packet)
			k.RunJobs(now)
		},
		Timeout: func(now mono.Time) {
			k.now = now
			k.HandleTimeout(now)
			if k.retryAt <= now {
				k.retryAt, k.mute = mono.Never, false
			}
		},
		Next: func() mono.Time { return mono.Min(k.NextTimeout(), k.retryAt) },
		Append: func(dst []byte, now mono.Time) []byte {
			k.RunJobs(now)
			if out := k.AppendDatagram(dst, now); len(out) > len(dst) {
				return out
			}
			if !k.mute {
				if out, err := k.AppendRecord(dst, []byte(k.line)); err == nil {
					k.mute = true
					if k.heard < 2 {
						k.retryAt = now.Add(DefaultRetransmit)
					}
					return out
				}
			}
			return dst
		},
		Event: func() (laws.Event, bool) {
			ev, ok := k.NextEvent()
			if !ok {
				return laws.Event{}, false
			}
			text := fmt.Sprintf("%d %x %v", ev.Kind, ev.Data, ev.Err)
			switch ev.Kind {
			case PeerCertificate:
				k.Accept(k.now)
			case Connected:
				k.retryAt = k.now.Add(1) // the line is a step of its own
			case Data:
				k.heard++
			case Closed:
				k.retryAt = mono.Never
			}
			return laws.Event{Text: text, Closing: ev.Kind == Closed}, true
		},
		MaxPacket: 1500,
	}
}

func TestLaws(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, r := range []Role{Client, Server} {
			t.Run(fmt.Sprintf("%v %v", v, r), func(t *testing.T) {
				other := map[Role]Role{Client: Server, Server: Client}[r]
				laws.Run(t, laws.Subject{
					New: func(seed uint64) *laws.Specimen {
						a, b := newTalker(t, r, v, seed), newTalker(t, other, v, seed)
						return &laws.Specimen{
							Engine: a.engine(), Peer: b.engine(),
							Steps: []func(mono.Time){func(now mono.Time) { a.SetRTT(0); b.SetRTT(0) }},
							Done: func() error {
								if a.heard == 0 || b.heard == 0 {
									return fmt.Errorf("%v heard %d lines, %v %d", r, a.heard, other, b.heard)
								}
								return nil
							},
							Fatal: []func(mono.Time){func(now mono.Time) { a.Refuse(now) }},
						}
					},
				})
			})
		}
	}
}
