package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// nested fits an end to the laws.
func nested(e *end) laws.Engine {
	return &laws.Nested{
		Handle: func(now mono.Time, b []byte) {
			if rtp.IsRTCP(b) {
				e.HandleRTCP(now, b)
			} else {
				e.HandleRTP(now, b, 0)
			}
			for r, ok := e.NextPacket(); ok; r, ok = e.NextPacket() {
				if i := strings.Index(string(r.Packet.Payload), "law"); i >= 0 {
					e.got = append(e.got, got{payload: string(r.Packet.Payload[i:])})
				}
			}
		},
		Timeout: e.HandleTimeout,
		Next:    e.NextTimeout,
		Append: func(dst []byte, now mono.Time) []byte {
			dst, _ = e.AppendPacket(dst, now)
			return dst
		},
		Event: func() (laws.Event, bool) {
			ev, ok := e.NextEvent()
			if !ok {
				return laws.Event{}, false
			}
			text := fmt.Sprint(ev.Kind, ev.MID, ev.Encoding, ev.NTP, ev.RTPTime, ev.At)
			if ev.Stream != nil {
				text += fmt.Sprint(ev.Stream.SSRC(), ev.Stream.RID())
			}
			return laws.Event{Text: text}, true
		},
		MaxPacket: MaxAppend,
	}
}

func TestLaws(t *testing.T) {
	laws.Run(t, laws.Subject{
		New: func(seed uint64) *laws.Specimen {
			m := mediaOf("v", "video", vp8)
			a, b := newEnd(t, 2*seed, Config{}, m), newEnd(t, 2*seed+1, Config{}, m)
			var steps []func(mono.Time)
			const n = 40
			for i := range n {
				steps = append(steps, func(now mono.Time) {
					p := packet(i)
					p.Payload = fmt.Appendf(nil, "law %d", i)
					a.send(now, "v", 0, p)
					b.send(now, "v", 0, p)
				})
			}
			return &laws.Specimen{
				Engine: nested(a), Peer: nested(b), Steps: steps, MaxPacket: MaxAppend,
				Done: func() error {
					for _, e := range [...]*end{a, b} {
						if len(e.got) < n*8/10 {
							return errors.New("packets are missing")
						}
					}
					return nil
				},
				Flood: func(now mono.Time, i int) {
					_ = a.Sender("v").Send(now, 0, &Packet{PayloadType: 96, Payload: make([]byte, 1000)})
				},
				Bound: 6 << 20,
			}
		},
		Crowd: func(n int) (laws.Engine, mono.Time) {
			e := newEnd(t, 1, Config{}, mediaOf("a", "audio", opus))
			for i := range n {
				e.handle(began, raw(rtp.SSRC(i+1), 111, 1, nil, "x"))
			}
			now := began
			for e.NextTimeout() <= now || now.Sub(began) < 5*time.Second {
				now = max(now, e.NextTimeout())
				e.HandleTimeout(now)
				e.drain(now)
				e.take(now)
			}
			return nested(e), now
		},
	})
}

// FuzzSession lets the input decide what a peer sends, and when: nothing may panic, spin or grow without end.
func FuzzSession(f *testing.F) {
	f.Add(append([]byte{0, 30}, raw(7, 96, 1, map[uint8]string{idMID: "v", idRID: "a"}, "some payload")...))
	f.Add([]byte{1, 32, 0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 200, 3, 4})
	f.Fuzz(func(t *testing.T, input []byte) {
		m := withECN()
		m.Send, m.Receive = append(m.Send, vp9), append(m.Receive, vp9)
		m.RIDs = []string{"a", "b"}
		m.ReceiveExtensions = append(m.ReceiveExtensions, sdp.ExtMap{ID: 5, URI: rtp.URIAbsCaptureTime})
		e := newEnd(t, 1, Config{}, mediaOf("a", "audio", opus), m)
		now := began
		for len(input) >= 2 {
			op, n := input[0], int(input[1])
			input = input[2:]
			switch op & 7 {
			case 0, 1, 2: // a packet
				b := append([]byte(nil), input[:min(n, len(input))]...)
				input = input[len(b):]
				if len(b) > 1 && op&8 != 0 {
					b[0] = b[0]&0x3f | 0x80
				}
				if rtp.IsRTCP(b) {
					e.HandleRTCP(now, b)
				} else {
					e.HandleRTP(now, b, pkt.ECN(op>>4&3))
				}
				e.take(now)
			case 3: // time passes
				now = now.Add(time.Duration(n) * 7 * time.Millisecond)
				if e.NextTimeout() <= now {
					e.HandleTimeout(now)
					if e.NextTimeout() <= now {
						t.Fatal("a timeout does not move on")
					}
				}
			case 4:
				_ = e.Sender("v").Send(now, n&1, &Packet{PayloadType: 96, Payload: make([]byte, n)})
			case 5: // feedback about what was sent
				b := append([]byte{0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0}, byte(n), 0, 0xff, 0xff)
				ssrc := e.AppendOutbound(nil)[1].SSRC
				b[8], b[9], b[10], b[11] = byte(ssrc>>24), byte(ssrc>>16), byte(ssrc>>8), byte(ssrc)
				e.HandleRTCP(now, b)
			case 7:
				e.DataSent(now, 100*n)
				_ = e.Sender("a").Send(now, 0, &Packet{PayloadType: 111, Payload: make([]byte, n), Captured: now})
			case 6:
				e.RequestKeyFrame(now, "v", []string{"", "a", "b"}[n%3])
			}
			for sent := 0; ; sent++ {
				b, _ := e.AppendPacket(nil, now)
				if len(b) == 0 {
					break
				}
				if sent > 10_000 {
					t.Fatal("it speaks without an end")
				}
			}
			if len(e.got) > 1000 {
				e.got, e.events = nil, nil
			}
		}
	})
}
