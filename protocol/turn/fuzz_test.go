package turn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// script takes a fuzzer's bytes apart.
type script struct{ rest []byte }

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

// bytes takes a length and as many bytes.
func (s *script) bytes() []byte {
	n := min(int(s.byte()), len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// FuzzServer lets a fuzzer be the clients, the peers and the driver: requests with a right signature over any attributes,
// any bytes from anywhere, any answer to OpenRelay, time, revocations and new addresses. Whatever happens, the books must
// agree, and once time has passed nothing may be left: no allocation, no socket, no timer.
func FuzzServer(f *testing.F) {
	attributes := func(build func(b *stun.Builder)) []byte {
		b := stun.NewBuilder(nil, stun.Request, stun.Allocate, stun.TransactionID{})
		build(&b)
		raw, _ := b.Message()
		return raw[stun.HeaderLen:]
	}
	op := func(kind byte, who byte, data []byte) []byte {
		return append([]byte{kind, who, byte(len(data))}, data...)
	}
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	even := attributes(func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrEvenPort, []byte{0x80}) })
	bind := attributes(binding(0x4000, peer4))
	f.Add(op(0, 0, attributes(udp)))
	f.Add(join(op(0, 0, attributes(dual)), op(3, 0, attributes(peers(peer4, peer6))), op(5, 0, []byte("x")), op(1, 0, attributes(living(0)))))
	f.Add(join(op(0, 0, even), op(0, 1, attributes(udp)), op(4, 0, bind), op(6, 0, channelData(0x4000, "x")), op(10, 200, nil)))
	f.Add(join(op(0, 2, attributes(udp)), op(4, 2, bind), op(7, 2, []byte{3, 3}), op(8, 0, nil), op(9, 0, []byte("ada")), op(11, 3, nil)))
	f.Add(join(op(12, 1, nil), op(0, 0, attributes(dual)), op(12, 2, nil), op(0, 1, even), op(13, 0, nil), op(10, 20, nil)))
	methods := [...]stun.Method{stun.Allocate, stun.Refresh, stun.Binding, stun.CreatePermission, stun.ChannelBind}
	f.Fuzz(func(t *testing.T, input []byte) {
		r := newRig(t, func(c *turn.Config) {
			c.MinPort, c.MaxPort, c.Limits.Allocations, c.Shards = 50000, 50007, 6, true
		})
		clients := []*client{r.client("5.9.0.1:1", "ada"), r.client("[2a01:4f8::1]:1", "bea"), r.stream("5.9.0.3:1", "ada")}
		for _, c := range clients {
			m := c.exchange(c.build(stun.Allocate, udp))
			if err := c.credential.Challenge(c.hasher, &m); err != nil {
				t.Fatal(err)
			}
		}
		s := script{input}
		answer := byte(0)
		r.open = func(e turn.OpenRelay) error {
			switch answer {
			case 1:
				return turn.ErrPortTaken
			case 2:
				return turn.ErrQuota
			case 3:
				return errors.New("no more")
			case 4:
				return errAnswered // never, or late
			case 5: // on another port than asked for
				r.next++
				a := netip.AddrPortFrom(relay4, 50000+uint16(r.next)%8)
				r.s.RelayOpened(r.now, e.Request, r.next, a)
				return errAnswered
			}
			if e.Token != 0 {
				return errors.New("unknown token")
			}
			return nil
		}
		for steps := 0; len(s.rest) > 0 && steps < 200; steps++ {
			kind, who, data := s.byte()%14, s.byte(), s.bytes()
			c := clients[int(who)%len(clients)]
			switch kind {
			case 0, 1, 2, 3, 4: // a request with these attributes, rightly signed
				c.deliver(c.path, c.build(methods[kind], func(b *stun.Builder) {
					for len(data) >= 4 {
						n := min(int(binary.BigEndian.Uint16(data[2:])), len(data)-4)
						b.Bytes(stun.AttrType(binary.BigEndian.Uint16(data)), data[4:4+n])
						data = data[min(4+(n+3)&^3, len(data)):]
					}
				}))
			case 5: // from a peer
				for _, n := range r.relays {
					r.deliver(pkt.Path{Socket: n, Remote: peer4}, data)
				}
			case 6: // anything from a client
				c.deliver(c.path, data)
			case 7:
				if len(data) >= 2 {
					r.s.HandleICMP(r.now, &pkt.ICMP{Path: pkt.Path{Socket: pkt.Socket(who), Remote: peer4}, Type: data[0], Code: data[1]})
				}
			case 8: // anything on any socket
				r.deliver(pkt.Path{Socket: pkt.Socket(int8(who)), Local: server4, Remote: peer4}, data)
			case 9:
				r.s.Revoke(r.now, string(data), epoch.Add(2*time.Hour))
			case 10:
				r.wait(time.Duration(who) * 4 * time.Second)
			case 11:
				if err := r.s.SetAddresses([]netip.Addr{relay4, relay6}[:who%3], []netip.Addr{peer4.Addr()}[:who/128]); err != nil {
					t.Fatal(err)
				}
			case 12:
				answer = who % 6
			case 13:
				r.s.RelayFailed(r.now, uint32(who), turn.ErrPortTaken)
				r.s.RelayOpened(r.now, uint32(who), pkt.Socket(100+int(who)), netip.AddrPortFrom(relay4, 50000+uint16(who)))
			}
			r.take()
			if n := r.s.Counters().Allocations; n < 0 || n > len(clients) {
				t.Fatalf("%d allocations on %d 5-tuples", n, len(clients))
			}
		}
		answer = 0
		for _, c := range clients {
			r.s.RemoveSocket(r.now, c.path.Socket)
		}
		r.settle()
		r.wait(time.Hour)
		if n := r.s.Counters().Allocations; n != 0 {
			t.Fatalf("%d allocations are left", n)
		}
		if len(r.relays) != 0 {
			t.Fatalf("sockets are left: %v", r.relays)
		}
		if next := r.s.NextTimeout(); next <= r.now.Add(1000*time.Hour) {
			t.Fatalf("a timer is left: %v", next.Sub(r.now))
		}
	})
}

// FuzzStream reads what a fuzzer sends on a stream, frame by frame, and in return what the server sends there: whatever
// goes down arrives as it was, however long, and whatever comes up on the bound channel goes on as it came.
func FuzzStream(f *testing.F) {
	f.Add([]byte("a"), channelData(0x4000, "abcd"))
	f.Add([]byte{}, append(channelData(0x4000, ""), channelData(0x4001, "x\x00\x00\x00")...))
	f.Add(make([]byte, 1201), bare(stun.Binding, rand.New(rand.NewPCG(1, 1)), nil))
	f.Add([]byte("xyz"), []byte{0x40, 0, 0xFF, 0xFF, 1, 2, 3})
	f.Fuzz(func(t *testing.T, data, up []byte) {
		r := newRig(t)
		c := r.stream("5.9.0.1:1", "ada")
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		other := netip.AddrPortFrom(peer4.Addr(), 1) // a peer without a channel
		var down []byte
		for _, from := range []netip.AddrPort{peer4, other, peer4} {
			r.fromPeer(c.relayed, from, data)
			for _, out := range r.take() {
				down = append(down, out.Payload...)
			}
		}
		seen := 0
		for len(down) >= 4 {
			n, ok := turn.FrameLen([4]byte(down))
			if !ok || n > len(down) {
				t.Fatalf("frame %d of what the server sends cannot be read: %x", seen, down)
			}
			frame := down[:n]
			down = down[n:]
			got := frame[4:]
			if m, err := stun.Parse(frame); err == nil {
				got, _ = m.Get(stun.AttrData)
			} else if size := int(binary.BigEndian.Uint16(frame[2:])); size <= len(got) {
				got = got[:size]
			}
			if !bytes.Equal(got, data) {
				t.Fatalf("frame %d brings %x, the peer sent %x", seen, got, data)
			}
			seen++
		}
		if want := 3; len(down) != 0 || seen != want && len(data) < 60000 {
			t.Fatalf("%d frames and %d bytes arrive", seen, len(down))
		}

		for len(up) >= 4 {
			n, ok := turn.FrameLen([4]byte(up))
			if !ok || n > len(up) {
				break // the driver closes the connection, or waits for the rest
			}
			frame := up[:n]
			up = up[n:]
			c.deliver(c.path, frame)
			out := r.take()
			if binary.BigEndian.Uint16(frame) == 0x4000 {
				want := frame[4 : 4+int(binary.BigEndian.Uint16(frame[2:]))]
				if len(out) != 1 || out[0].Remote != peer4 || !bytes.Equal(out[0].Payload, want) {
					t.Fatalf("ChannelData %x goes on as %v", frame, out)
				}
			}
		}
	})
}
