package peer_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// lawful fits a side to the laws.
type lawful struct{ *side }

func (l lawful) NextEvent() (laws.Event, bool) {
	e, ok := l.side.NextEvent()
	if !ok {
		return laws.Event{}, false
	}
	text := fmt.Sprintf("%d %v %v %T%+v %v %d %.20q %v %v", e.Transport, e.Kind, e.DTLS, e.ICE, e.ICE, e.SCTP.Kind, e.SCTP.Stream, e.SCTP.Data, e.SCTP.Err, e.Err)
	if e.Kind == peer.OfRTP {
		text += fmt.Sprint(e.RTP.Kind, e.RTP.MID, e.RTP.Encoding, e.RTP.NTP, e.RTP.RTPTime, e.RTP.At, e.RTP.Bitrate)
	}
	if e.SCTP.Kind == sctp.Message {
		l.messages = append(l.messages, string(e.SCTP.Data))
		l.Association().Consume(len(e.SCTP.Data))
	}
	return laws.Event{Text: text, Closing: e.Kind == peer.Closed}, true
}

// meet returns two sides and the steps in which they negotiate; the first one offers.
func meet(t testing.TB, seed uint64, o options) (a, b *side, steps []func(mono.Time)) {
	o.dtls.Groups = []dtls.Group{dtls.X25519} // whose handshake is the same for the same entropy
	a, b = makeSide(t, 2*seed, o), makeSide(t, 2*seed+1, o)
	a.address, b.address = netip.MustParseAddrPort("192.0.2.1:10001"), netip.MustParseAddrPort("192.0.2.2:10002")
	var now mono.Time
	a.clock = func() mono.Time { return now }
	b.clock = a.clock
	var d jsep.Description
	do := func(f func()) {
		steps = append(steps, func(at mono.Time) { now = at; f() })
	}
	do(func() { d = a.offer() })
	do(func() { d = b.answer(d) })
	do(func() { a.setRemote(d) })
	return a, b, steps
}

func TestLawsOfPeer(t *testing.T) {
	for _, offers := range []bool{true, false} {
		for _, v := range versions {
			if offers == (v == dtls.Version12) && os.Getenv("PARLEY_LONG") == "" {
				continue
			}
			t.Run(fmt.Sprintf("offers=%t %v", offers, v), func(t *testing.T) {
				laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
					a, b, steps := meet(t, seed, options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}})
					engine, other := a, b
					if !offers {
						engine, other = b, a
					}
					steps = append(steps, func(now mono.Time) {
						id, err := engine.Association().Open(now, sctp.ChannelConfig{Label: "law"})
						if err == nil {
							err = engine.Association().Send(now, id, true, []byte("lawful"))
						}
						if err != nil && engine.Transport(1).DTLSState() < peer.DTLSClosed { // a forged hello may end it
							t.Error(err)
						}
					})
					return &laws.Specimen{
						Engine: lawful{engine}, Peer: lawful{other}, Steps: steps,
						Done: func() error {
							if !slices.Contains(other.messages, "lawful") {
								return errors.New("the message has not arrived")
							}
							return nil
						},
						Fatal: []func(mono.Time){func(now mono.Time) { engine.Close(now) }},
						Bound: 4 << 20,
					}
				}})
			})
		}
	}
}

func TestLawsOfPeerWithMedia(t *testing.T) {
	laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
		a, b, steps := meet(t, seed, media())
		for _, s := range []*side{a, b} {
			s.transceive("audio")
			s.transceive("video")
		}
		const packets = 4
		for _, s := range []*side{a, b} {
			s.connected = func(now mono.Time) {
				for mid := range 2 { // so little that nothing is probed for
					s.Sender(strconv.Itoa(mid)).SetEncoding(now, 0, session.EncodingParameters{Active: true, MaxBitrate: 20_000})
				}
				for i := range packets {
					for mid, pt := range []rtp.PayloadType{111, 96} {
						p := session.Packet{PayloadType: pt, Timestamp: uint32(i), Payload: make([]byte, 500)}
						if err := s.Sender(strconv.Itoa(mid)).Send(now, 0, &p); err != nil {
							t.Error(err)
						}
					}
				}
			}
		}
		return &laws.Specimen{
			Engine: lawful{a}, Peer: lawful{b}, Steps: steps,
			Done: func() error {
				for _, s := range []*side{a, b} {
					if n := len(s.packets); n < packets+1 { // audio is not sent again
						return fmt.Errorf("%d packets of media have arrived", n)
					}
				}
				return nil
			},
			Fatal: []func(mono.Time){func(now mono.Time) { a.Close(now) }},
			Flood: func(now mono.Time, i int) {
				if x := a.Sender("1"); x != nil {
					_ = x.Send(now, 0, &session.Packet{PayloadType: 96, Payload: make([]byte, 1000)})
				}
			},
			Bound: 8 << 20,
		}
	}})
}
