package turn_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// hostility is one way to be a nuisance without a credential.
type hostility struct {
	name    string
	rubbish bool // deserves no answer at all
	make    func(rng *rand.Rand) []byte
}

// bare builds a request without credentials.
func bare(m stun.Method, rng *rand.Rand, attributes func(b *stun.Builder)) []byte {
	var id stun.TransactionID
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	b := stun.NewBuilder(nil, stun.Request, m, id)
	if attributes != nil {
		attributes(&b)
	}
	raw, _ := b.Message()
	return raw
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// hostilities are the kinds; replay is a request of a client who is authenticated, seen on the way.
func hostilities(replay []byte) []hostility {
	filler := make([]byte, 65000)
	methods := []stun.Method{stun.Allocate, stun.Refresh, stun.CreatePermission, stun.ChannelBind}
	credentials := func(rng *rand.Rand, b *stun.Builder) {
		udp(b)
		b.Bytes(stun.AttrUsername, fmt.Appendf(nil, "%d:%x", 1800000000+rng.IntN(1e6), noise(rng, 8)))
		b.Text(stun.AttrRealm, "parley")
		b.Bytes(stun.AttrNonce, append(stun.AppendNonceCookie(nil, stun.FeaturePasswordAlgorithms), fmt.Appendf(nil, "%x", noise(rng, 10))...))
		b.Integrity(stun.NewHasher(), noise(rng, 16))
	}
	return []hostility{
		{"random bytes", true, func(rng *rand.Rand) []byte { return noise(rng, rng.IntN(1500)) }},
		{"random bytes behind a STUN header", true, func(rng *rand.Rand) []byte {
			raw := append(bare(stun.Allocate, rng, nil), noise(rng, 4+rng.IntN(300))...)
			binary.BigEndian.PutUint16(raw[2:], uint16(rng.Uint32()|1)) // never a length
			return raw
		}},
		{"RTP and DTLS", true, func(rng *rand.Rand) []byte {
			return append([]byte{[]byte{0x80, 0x90, 20, 22, 23, 63, 4, 16, 80, 255}[rng.IntN(10)]}, noise(rng, 40)...)
		}},
		{"truncated requests", true, func(rng *rand.Rand) []byte {
			raw := bare(stun.Allocate, rng, udp)
			return raw[:rng.IntN(len(raw))]
		}},
		{"oversized attributes", true, func(rng *rand.Rand) []byte {
			raw := bare(stun.Allocate, rng, udp)
			raw[22] = byte(1 + rng.IntN(255))
			return raw
		}},
		{"wrong cookies", true, func(rng *rand.Rand) []byte {
			raw := bare(stun.Binding, rng, nil)
			raw[4+rng.IntN(4)] ^= byte(1 + rng.IntN(255))
			return raw
		}},
		{"wrong fingerprints", true, func(rng *rand.Rand) []byte {
			raw := bare(stun.Binding, rng, func(b *stun.Builder) { b.Fingerprint() })
			raw[len(raw)-1-rng.IntN(4)] ^= byte(1 + rng.IntN(255))
			return raw
		}},
		{"responses", true, func(rng *rand.Rand) []byte {
			b := stun.NewBuilder(nil, []stun.Class{stun.Success, stun.Error}[rng.IntN(2)], stun.Allocate, stun.TransactionID(noise(rng, 12)))
			b.Error(401, "reflected")
			raw, _ := b.Message()
			return raw
		}},
		{"unknown methods", true, func(rng *rand.Rand) []byte { return bare(stun.Method(10+rng.IntN(4000)), rng, nil) }},
		{"ChannelData", true, func(rng *rand.Rand) []byte {
			return channelData(0x4000+uint16(rng.IntN(0x1000)), string(noise(rng, rng.IntN(1200))))
		}},
		{"Send indications", true, func(rng *rand.Rand) []byte {
			b := stun.NewBuilder(nil, stun.Indication, stun.Send, stun.TransactionID(noise(rng, 12)))
			b.XORAddress(stun.AttrXORPeerAddress, peer4)
			b.Bytes(stun.AttrData, noise(rng, rng.IntN(1200)))
			raw, _ := b.Message()
			return raw
		}},
		{"Binding", false, func(rng *rand.Rand) []byte { return bare(stun.Binding, rng, nil) }},
		{"Binding with a thousand unknown attributes", false, func(rng *rand.Rand) []byte {
			return bare(stun.Binding, rng, func(b *stun.Builder) {
				for i := range 1000 {
					b.Flag(stun.AttrType(0x4000 + i))
				}
			})
		}},
		{"requests without credentials", false, func(rng *rand.Rand) []byte { return bare(methods[rng.IntN(4)], rng, udp) }},
		{"requests with made-up credentials", false, func(rng *rand.Rand) []byte {
			return bare(methods[rng.IntN(4)], rng, func(b *stun.Builder) { credentials(rng, b) })
		}},
		{"requests with half a credential", false, func(rng *rand.Rand) []byte {
			return bare(methods[rng.IntN(4)], rng, func(b *stun.Builder) {
				b.Bytes(stun.AttrUsername, noise(rng, rng.IntN(700)))
				b.IntegritySHA256(stun.NewHasher(), []byte("x"))
			})
		}},
		{"requests of 64 KiB", true, func(rng *rand.Rand) []byte {
			return bare(stun.Allocate, rng, func(b *stun.Builder) { b.Bytes(stun.AttrSoftware, filler); b.Fingerprint() })
		}},
		{"replayed requests", false, func(*rand.Rand) []byte { return replay }},
		{"replayed requests, changed", false, func(rng *rand.Rand) []byte {
			raw := bytes.Clone(replay)
			raw[stun.HeaderLen+rng.IntN(len(raw)-stun.HeaderLen)] ^= 1 << rng.IntN(8)
			return raw
		}},
	}
}

const hostilePackets = 10_000

// Ten thousand packets of each kind, from one /24 and one /56 in turn and, in a second round, each from a prefix of its
// own: no reply is longer than 128 bytes, no prefix gets more than 50 in any second, rubbish gets none, memory stays
// bounded, and a client in a call notices nothing.
func TestHostilePackets(t *testing.T) {
	sources := map[string]func(i int) netip.AddrPort{
		"from two prefixes": func(i int) netip.AddrPort {
			if i%2 == 0 {
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{5, 10, 0, byte(i)}), uint16(1000+i))
			}
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x2a, 1: 1, 2: 4, 3: 0xf8, 6: 1, 7: byte(i), 15: byte(i >> 8)}), uint16(1000+i))
		},
		"each from its own prefix": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{6, byte(i >> 8), byte(i), 1}), 1000)
		},
	}
	template := newRig(t)
	victim := template.client("5.9.0.1:1000", "ada")
	victim.allocate()
	replay := victim.build(stun.Refresh, nil)
	for where, source := range sources {
		for k, kind := range hostilities(replay) {
			if kind.rubbish && where == "each from its own prefix" {
				continue // nothing is counted for what gets no reply
			}
			t.Run(kind.name+" "+where, func(t *testing.T) { bombard(t, kind, source, uint64(k)) })
		}
	}
}

func bombard(t *testing.T, kind hostility, source func(i int) netip.AddrPort, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	heap := heapInUse()
	replies := map[netip.Prefix][]mono.Time{}
	for i := range hostilePackets {
		from := source(i)
		local := server4
		if from.Addr().Is6() {
			local = server6
		}
		r.deliver(pkt.Path{Socket: listening, Local: local, Remote: from}, kind.make(rng))
		for _, reply := range r.take() {
			if reply.Remote != from || len(reply.Payload) > 128 {
				t.Fatalf("packet %d from %v: %d bytes to %v", i, from, len(reply.Payload), reply.Remote)
			}
			bits := 24
			if from.Addr().Is6() {
				bits = 56
			}
			prefix, _ := from.Addr().Prefix(bits)
			times := append(replies[prefix], r.now)
			replies[prefix] = times
			if n := len(times); n > 50 && r.now.Sub(times[n-51]) < time.Second {
				t.Fatalf("packet %d: 51 replies to %v within %v", i, prefix, r.now.Sub(times[n-51]))
			}
		}
		r.wait(time.Millisecond)
		if i%1000 == 0 { // the client in a call
			c.sendOn(0x4000, "up")
			r.wantSent(r.one(), c.relayed, peer4, "up")
			r.fromPeer(c.relayed, peer4, []byte("down"))
			if got := r.one(); got.Path != c.path || !bytes.Equal(got.Payload, channelData(0x4000, "down")) {
				t.Fatalf("packet %d: the client gets %x", i, got.Payload)
			}
			c.expect(0, stun.Refresh, nil)
		}
	}
	if kind.rubbish && len(replies) > 0 {
		t.Errorf("rubbish was answered: %d prefixes", len(replies))
	}
	if !kind.rubbish && len(replies) == 0 {
		t.Error("nothing was answered: the packets are not what they are called")
	}
	counters := r.s.Counters()
	if counters.Allocations != 1 || len(r.opened) != 1 {
		t.Errorf("%d allocations, %d sockets asked for", counters.Allocations, len(r.opened))
	}
	answered := 0
	for _, times := range replies {
		answered += len(times)
	}
	dropped := uint64(0)
	for _, n := range counters.Dropped {
		dropped += n
	}
	if dropped+uint64(answered) < hostilePackets {
		t.Errorf("%d packets were dropped and %d answered, of %d", dropped, answered, hostilePackets)
	}
	clear(replies)
	if grown := heapInUse() - heap; grown > 4<<20 {
		t.Errorf("the server holds %d bytes more than before", grown)
	}
	runtime.KeepAlive(r)
}

// heapInUse returns the bytes that are reachable.
func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// More prefixes than are counted at a time get no answer, until others fall silent; those that are counted go on.
func TestReplyLimitIsBounded(t *testing.T) {
	r := newRig(t)
	ask := func(from netip.Addr) int {
		r.deliver(pkt.Path{Socket: listening, Local: server4, Remote: netip.AddrPortFrom(from, 1)}, bare(stun.Binding, rand.New(rand.NewPCG(1, 1)), nil))
		return len(r.take())
	}
	first := netip.AddrFrom4([4]byte{6, 0, 0, 1})
	for i := range 1 << 15 {
		if ask(netip.AddrFrom4([4]byte{6, byte(i >> 8), byte(i), 1})) != 1 {
			t.Fatalf("prefix %d gets no answer", i)
		}
	}
	if ask(netip.MustParseAddr("7.0.0.1")) != 0 {
		t.Error("one prefix too many gets an answer")
	}
	if ask(first) != 1 {
		t.Error("a prefix that is counted already gets no answer")
	}
	r.wait(1100 * time.Millisecond)
	if ask(netip.MustParseAddr("7.0.0.1")) != 1 {
		t.Error("when the others have fallen silent there is no room")
	}
}

// A peer without permission is nobody, whatever it sends and how much.
func TestHostilePeers(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range hostilePackets {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}), uint16(i))
		r.fromPeer(c.relayed, from, noise(rng, rng.IntN(1500)))
	}
	r.none("peers without permission")
	if n := r.s.Counters().Dropped[turn.DropNoPermission]; n != hostilePackets {
		t.Errorf("%d packets counted", n)
	}
	// One with a permission cannot make the server send more than the datagram's size and a header.
	for _, n := range []int{0, 1, 1472, 65507} {
		r.fromPeer(c.relayed, netip.AddrPortFrom(peer4.Addr(), 1), make([]byte, n))
		out := r.take()
		if n == 65507 {
			if len(out) != 0 || r.s.Counters().Dropped[turn.DropTooLong] != 1 {
				t.Errorf("a datagram that becomes too long for one is sent on")
			}
			continue
		}
		if len(out) != 1 || len(out[0].Payload) > n+39 {
			t.Errorf("%d bytes become %d datagrams", n, len(out))
		}
	}
}
