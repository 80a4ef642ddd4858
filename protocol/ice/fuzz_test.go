package ice_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// calls bounds a script.
const calls = 500

// FuzzAgent reads the input as a list of calls: what an owner, a peer with our credentials and a stranger may do, in any
// order. After each the agent must be within its bounds, and its deadline must move on.
func FuzzAgent(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23})
	f.Add([]byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 1, 0, 0, 10, 2, 0, 0, 9, 1, 0, 0, 9, 255, 0, 0, 9, 255, 255, 0})
	f.Add([]byte{0x80, 0, 0, 0, 1, 1, 0, 0, 2, 1, 2, 0, 3, 1, 0, 0, 7, 2, 1, 0, 7, 3, 0, 0, 13, 0, 0, 0, 12, 0, 0, 0, 3, 1, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 4 || len(script) > 4*calls {
			return
		}
		z := newFuzzer(t, script[0])
		for script = script[1:]; len(script) >= 4; script = script[4:] {
			z.step(script[0], script[1], binary.BigEndian.Uint16(script[2:]))
			z.check()
		}
		z.agent.Close(z.now)
		z.check()
		if z.agent.NextTimeout() != mono.Never || z.agent.State() != ice.StateClosed {
			t.Error("a closed agent has plans")
		}
	})
}

type fuzzer struct {
	*forger
	now     mono.Time
	pending []sent // checks of the agent's that were not answered
	connect []ice.Connect
	closing int
}

func newFuzzer(t *testing.T, kind byte) *fuzzer {
	a, err := ice.New(ice.Config{Role: ice.Role(kind & 1), Lite: kind&2 != 0, RelayOnly: kind&4 != 0, Entropy: entropy(uint64(kind))})
	if err != nil {
		t.Fatal(err)
	}
	return &fuzzer{forger: &forger{t: t, agent: a, hash: stun.NewHasher(), own: ice.Credentials{Ufrag: "them", Password: "a password of the other's"},
		path: pkt.Path{Local: ourBase, Remote: theirBase}}}
}

// at is one of few addresses, so that calls meet.
func at(v uint16) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(v)})
	if v&0x8000 != 0 {
		ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(v)})
	}
	return netip.AddrPortFrom(ip, 1000+v>>12&7)
}

func (z *fuzzer) step(op, x byte, v uint16) {
	a := z.agent
	candidate := ice.Candidate{Type: ice.CandidateType(x & 3), Transport: ice.Transport(x >> 2 & 3), Address: at(v), Related: at(v >> 4), Priority: uint32(v),
		Socket: pkt.Socket(int8(v >> 8)), RelayProtocol: ice.RelayProtocol(x >> 4 & 3), Preference: x}
	z.path = pkt.Path{Socket: pkt.Socket(int8(v >> 8)), Local: at(v >> 4), Remote: at(v)}
	if x&0x80 != 0 {
		if p, ok := a.Path(); ok {
			z.path = p
		}
	}
	payload := []byte(nil)
	switch op % 20 {
	case 0:
		a.AddLocalCandidate(z.now, candidate)
	case 1:
		a.AddRemoteCandidate(z.now, candidate)
	case 2:
		z.own.Ufrag = string([]byte{'t', 'h', 'e', 'm' + x&1})
		if err := a.SetRemoteCredentials(z.now, ice.Remote{Credentials: z.own, Lite: x&2 != 0, Renomination: x&4 != 0}); err != nil && err != ice.ErrBothLite {
			z.t.Error(err)
		}
	case 3:
		if len(z.pending) > 0 {
			m := z.pending[int(x)%len(z.pending)]
			z.path = m.path
			codes := []stun.Code{0, 0, 0, 0, 487, 400, 420, 0}
			payload = z.respond(m.Message, answer{code: codes[v&7], mapped: at(v >> 3)})
		}
	case 4:
		payload = z.write(sheet{sha256: x&1 != 0, unsigned: x&2 != 0, unranked: x&4 != 0, add: func(b *stun.Builder) {
			attrs := []stun.AttrType{stun.AttrICEControlling, stun.AttrICEControlled, unknownRequired, unknownOptional}
			b.Uint64(attrs[x>>3&3], uint64(v)<<56)
			if x&0x20 != 0 {
				b.Flag(stun.AttrUseCandidate)
			}
			if x&0x40 != 0 {
				b.Uint32(0xC001, uint32(v))
			}
		}})
	case 5:
		payload = []byte{x, byte(v), 0, byte(v >> 8), 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	case 6:
		a.RemoveLocal(z.now, candidate.Socket)
	case 7:
		a.RemoveAddress(z.now, at(v).Addr())
	case 8, 9:
		z.now = z.now.Add(time.Duration(v) * time.Millisecond)
		a.HandleTimeout(z.now)
	case 10:
		for range x {
			if next := a.NextTimeout(); next != mono.Never {
				z.now = max(z.now, next)
				a.HandleTimeout(z.now)
				z.send()
			}
		}
	case 11:
		a.EndOfLocalCandidates(z.now)
		a.EndOfRemoteCandidates(z.now)
	case 12:
		a.Restart(z.now, ice.Credentials{})
	case 13:
		a.CancelRestart(z.now)
	case 14:
		a.SetRole(z.now, ice.Role(x&1))
	case 15:
		a.SetRelayOnly(x&1 != 0)
	case 16:
		if len(z.connect) > 0 {
			c := z.connect[int(x)%len(z.connect)]
			if v&1 == 0 {
				a.Connected(z.now, c.Number, candidate.Socket, at(v))
			} else {
				a.ConnectFailed(z.now, c.Number)
			}
		}
	case 17:
		a.Sent(z.now)
	case 18:
		a.Heard(z.path)
	case 19:
		if x == 0xff {
			a.Close(z.now)
		}
	}
	if payload != nil {
		a.HandleDatagram(z.now, &pkt.Datagram{Path: z.path, Payload: payload})
	}
	z.send()
}

func (z *fuzzer) send() {
	for _, m := range z.drain(z.now) {
		if m.Class() == stun.Request {
			z.pending = append(z.pending, m)
		}
	}
	if n := len(z.pending); n > 32 {
		z.pending = z.pending[n-32:]
	}
}

func (z *fuzzer) check() {
	a := z.agent
	for n := 0; ; n++ {
		e, ok := a.NextEvent()
		if !ok {
			break
		}
		if n > 1000 {
			z.t.Fatal("events without end")
		}
		if z.closing > 0 {
			z.t.Fatalf("%T after the last event", e)
		}
		switch e := e.(type) {
		case ice.Connect:
			z.connect = append(z.connect, e)
		case ice.StateChanged:
			if e.State == ice.StateClosed {
				z.closing++
			}
		}
	}
	if len(a.LocalCandidates()) > 64 || len(a.RemoteCandidates()) > 64 || len(a.Pairs()) > 101 {
		z.t.Fatalf("%d local, %d remote candidates, %d pairs", len(a.LocalCandidates()), len(a.RemoteCandidates()), len(a.Pairs()))
	}
	if _, ok := a.Path(); ok != (a.State() == ice.StateConnected || a.State() == ice.StateCompleted || a.State() == ice.StateDisconnected && ok) {
		z.t.Fatalf("%v, and a path: %v", a.State(), ok)
	}
	for range 3 {
		due := a.NextTimeout()
		if due == mono.Never || due > z.now {
			return
		}
		a.HandleTimeout(z.now)
		z.send()
	}
	if due := a.NextTimeout(); due <= z.now {
		z.t.Fatalf("the deadline stays at %v, and it is %v", due, z.now)
	}
}
