package peer_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// FuzzPeer lets the input decide what happens to two peers that connect: what is delivered, lost, repeated, changed or
// made up, when time passes, and what their programs do. Nothing may panic, spin or speak after its end.
func FuzzPeer(f *testing.F) {
	connect := []byte{8, 8, 8}
	for range 60 {
		connect = append(connect, 0, 1, 0, 1, 6)
	}
	f.Add(connect)
	f.Add(append(connect, 9, 10, 0, 1, 0, 1, 11, 0, 1, 0, 1, 0, 1, 0, 1, 7, 7, 12))
	f.Add([]byte{8, 8, 0, 1, 0, 1, 6, 0, 1, 0, 1, 0, 1, 0, 1, 2, 20, 0xff, 3, 4, 22, 254, 253, 5, 8, 0, 1, 0, 1})
	f.Add(append(connect[:100:100], 11, 2, 30, 1, 0, 1, 13, 0, 1, 0, 1, 14, 12))
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 2000 {
			return
		}
		a, b, steps := meet(t, 1, media())
		sides := [2]*side{a, b}
		for _, s := range sides {
			s.transceive("video")
		}
		var queues [2][][]byte // to a, to b
		now := mono.Time(time.Hour)
		path := [2]pkt.Path{{Local: a.address, Remote: b.address}, {Local: b.address, Remote: a.address}}
		next := func() byte {
			if len(input) == 0 {
				return 0
			}
			c := input[0]
			input = input[1:]
			return c
		}
		ends := [2]int{}
		batch := pkt.NewBatch(1<<16, 64)
		drain := func(i int) {
			s := sides[i]
			for more, n := true, 0; more; n++ {
				if n > 1000 {
					t.Fatal("it speaks without an end")
				}
				batch.Reset()
				more = s.AppendTransmit(now, batch)
				for _, tr := range batch.Transmits() {
					size := len(tr.Payload)
					if tr.SegmentSize > 0 {
						size = int(tr.SegmentSize)
					}
					for p := tr.Payload; len(p) > 0 && len(queues[1-i]) < 256; p = p[min(size, len(p)):] {
						queues[1-i] = append(queues[1-i], append([]byte(nil), p[:min(size, len(p))]...))
					}
				}
			}
			for e, ok := s.NextEvent(); ok; e, ok = s.NextEvent() {
				if ends[i] > 0 {
					t.Fatalf("after the end comes %+v", e)
				}
				if e.Kind == peer.Closed {
					ends[i]++
				}
				if e.SCTP.Kind == sctp.Message {
					s.Association().Consume(len(e.SCTP.Data))
				}
			}
		}
		for i := 0; len(input) > 0; {
			op := next()
			i = int(op>>7) & 1
			s := sides[i]
			switch op & 15 {
			case 0, 1: // deliver
				i = int(op & 1)
				if q := queues[i]; len(q) > 0 {
					queues[i] = q[1:]
					sides[i].HandleDatagram(now, &pkt.Datagram{Path: path[i], Payload: q[0]})
				}
			case 2: // change, and deliver
				if q := queues[i]; len(q) > 0 && len(q[0]) > 0 {
					at, x := int(next()), next()
					q[0][at*7%len(q[0])] ^= x
					queues[i] = q[1:]
					s.HandleDatagram(now, &pkt.Datagram{Path: path[i], Payload: q[0]})
				}
			case 3: // repeat, or swap
				if q := queues[i]; len(q) > 1 {
					q[0], q[1] = q[1], q[0]
				} else if len(q) == 1 {
					queues[i] = append(q, append([]byte(nil), q[0]...))
				}
			case 4: // make something up
				n := min(int(next()), len(input))
				made := append([]byte(nil), input[:n]...)
				input = input[n:]
				s.HandleDatagram(now, &pkt.Datagram{Path: path[i], Payload: made})
			case 5: // lose
				if q := queues[i]; len(q) > 0 {
					queues[i] = q[1:]
				}
			case 6, 7: // let time pass
				now = now.Add(time.Duration(op>>4&7) * 20 * time.Millisecond)
				for _, s := range sides {
					if s.NextTimeout() > now && op&1 == 1 {
						now = max(now, mono.Min(s.NextTimeout(), now.Add(time.Minute)))
					}
					if s.NextTimeout() <= now {
						s.HandleTimeout(now)
						if s.NextTimeout() <= now {
							t.Fatal("a timeout does not move on")
						}
					}
				}
			case 8: // negotiate
				if len(steps) > 0 && ends == [2]int{} {
					steps[0](now)
					steps = steps[1:]
				}
			case 9:
				if as := s.Association(); as != nil {
					_, _ = as.Open(now, sctp.ChannelConfig{Label: "fuzz"})
				}
			case 10:
				if as := s.Association(); as != nil {
					_ = as.Send(now, sctp.StreamID(next()), true, make([]byte, int(next())*8))
				}
				if x := s.Sender("0"); x != nil {
					_ = x.Send(now, 0, &session.Packet{PayloadType: 96, Payload: make([]byte, int(next())*4)})
				}
			case 11: // a new association of DTLS
				if ts := s.session.Transports(); len(ts) > 0 && ts[0].Answered {
					ts[0].Association += int(next())
					ts[0].Role = jsep.Role(1 + next()&1)
					d, _ := s.session.Data()
					_ = s.Apply(now, ts, s.session.Media(), &d)
				}
			case 12:
				s.Close(now)
			case 13:
				s.RemoveSocket(now, 0)
				s.AddLocalCandidate(now, 1, candidateOf(s.address))
			case 14:
				d, _ := s.session.Data()
				d.LocalPort, d.RemotePort = uint16(next()), uint16(next())
				_ = s.Apply(now, s.session.Transports(), nil, &d)
			case 15:
				_ = s.Apply(now, nil, nil, nil)
			}
			drain(0)
			drain(1)
		}
	})
}
