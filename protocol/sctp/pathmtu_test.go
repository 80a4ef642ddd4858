package sctp

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// carrying has a send messages to b as fast as the buffer takes them, and returns the channel and what is sent so far.
func carrying(d *duo, messages, size int, cfg ChannelConfig) *feed {
	d.b.hash = true
	f := &feed{id: d.a.opens(cfg), size: func(int) int { return size }, left: messages}
	d.a.onEvent = func(now mono.Time, e Event) {
		if e.Kind == BufferedAmountLow {
			f.pump(d.a, now)
		}
	}
	f.pump(d.a, d.a.now())
	d.a.driver.Poll()
	return f
}

// carried waits until all has come and checks it.
func (d *duo) carried(f *feed) {
	d.a.t.Helper()
	d.until("delivered", func() bool { return f.left == 0 && len(d.b.hashed[f.id]) == len(f.sent) })
	if !slices.Equal(d.b.hashed[f.id], f.sent) {
		d.a.t.Error("what came is not what was sent")
	}
}

// ether is a path of which only the MTU matters. SCTP is in UDP and IPv4 here, without DTLS, so its packets may have 28
// bytes less.
func ether(mtu int) simnet.Path {
	return simnet.Path{Delay: 10 * time.Millisecond, Rate: 20e6, Queue: 100_000, MTU: mtu}
}

// isProbe reports whether a packet is a HEARTBEAT and a PAD and nothing else.
func isProbe(p []byte) bool {
	return chunkType(p[headerSize]) == typeHeartbeat && len(p) > headerSize+heartbeatSize &&
		chunkType(p[headerSize+heartbeatSize]) == typePad
}

// RFC 8899 section 5.3.1: "This confirms that the PROBED_SIZE is supported, and the PROBED_SIZE value is then assigned to the
// PLPMTU."; "If the value of the PROBE_COUNT reaches MAX_PROBES, probing will stop, and the PL sender enters the
// SEARCH_COMPLETE state."; section 3: "Loss of a probe packet SHOULD NOT be treated as an indication of congestion and SHOULD
// NOT trigger a congestion control reaction"; "In IPv4, a probe packet MUST be sent with the Don't Fragment (DF) bit set";
// "the interval between probe packets MUST be at least one RTT".
func TestPathMTUIsFound(t *testing.T) {
	t.Parallel()
	for mtu, want := range map[int]int{
		0:    1412,
		1500: 1412,
		1440: 1412, // 1412 just fits
		1439: 1388,
		1400: 1308,
		1188: 1160,
		1000: 1160, // what is no probe is cut on the way
	} {
		p := ether(mtu)
		p.Fragments = true
		d := newDuo(t, p).connect()
		var probes []mono.Time
		d.a.mangle = func(p []byte) []byte {
			if isProbe(p) {
				probes = append(probes, d.net.Now())
				if !d.a.Unfragmented() || d.a.send.outstanding > d.a.send.cc.window+d.a.send.cc.packet {
					t.Errorf("a probe may be fragmented")
				}
			} else if len(p) > d.a.Stats().MTU || d.a.Unfragmented() != (len(p) > 1160) {
				t.Errorf("a packet of %d bytes with an MTU of %d; unfragmented %v", len(p), d.a.Stats().MTU, d.a.Unfragmented())
			}
			return p
		}
		f := carrying(d, 150, 10_000, ChannelConfig{})
		d.net.Run(200 * time.Millisecond)
		if got := d.a.Stats().MTU; got != want {
			t.Errorf("MTU %d: packets of %d bytes after ten round trips, want %d", mtu, got, want)
		}
		d.carried(f)
		d.net.Run(time.Minute)
		s := d.a.Stats()
		if s.MTU != want || d.a.mtu.state != mtuComplete || d.a.timer[timerPMTU] != mono.Never {
			t.Errorf("MTU %d: packets of %d bytes in the end, state %d", mtu, s.MTU, d.a.mtu.state)
		}
		if s.BlackHoles+s.Timeouts != 0 || int(s.ChunksRetransmitted) > int(d.link.Up().Overflowed)*2 {
			t.Errorf("MTU %d: %+v", mtu, s)
		}
		for i := 1; i < len(probes); i++ {
			if apart := probes[i].Sub(probes[i-1]); apart < 20*time.Millisecond {
				t.Errorf("MTU %d: two probes are %v apart", mtu, apart)
			}
		}
		if len(probes) > 5+maxProbes {
			t.Errorf("MTU %d: %d probes", mtu, len(probes))
		}
	}
}

// RFC 8899 section 5.1.1: "DPLPMTUD MAY inhibit sending probe packets when no application data has been sent since the
// previous probe packet."
func TestWhoSendsLittleDoesNotProbe(t *testing.T) {
	d := newDuo(t, ether(1500)).connect()
	id := d.a.opens(ChannelConfig{})
	for range 100 {
		d.a.sends(id, string(noise(1, 1000)))
		d.net.Run(50 * time.Millisecond)
	}
	if d.a.mtu.state != mtuDisabled || d.a.Stats().MTU != 1160 {
		t.Errorf("it was probed: state %d", d.a.mtu.state)
	}
}

// RFC 8899 section 5.2: "SEARCH_COMPLETE ... DPLPMTUD remains in this state until either the PMTU_RAISE_TIMER expires or a
// black hole is detected."
func TestSearchBeginsAgain(t *testing.T) {
	t.Parallel()
	d := newDuo(t, ether(1300)).connect()
	d.carried(carrying(d, 50, 10_000, ChannelConfig{}))
	d.net.Run(time.Minute)
	if got := d.a.Stats().MTU; got != 1232 || d.a.mtu.state != mtuComplete {
		t.Fatalf("packets of %d bytes, state %d", got, d.a.mtu.state)
	}
	d.link.Set(ether(1500))
	d.carried(carrying(d, 50, 10_000, ChannelConfig{}))
	if got := d.a.Stats().MTU; got != 1232 {
		t.Errorf("packets of %d bytes before the time", got)
	}
	d.net.Run(raiseTimer)
	d.carried(carrying(d, 50, 10_000, ChannelConfig{}))
	d.net.Run(time.Second)
	if got := d.a.Stats().MTU; got != 1412 {
		t.Errorf("packets of %d bytes", got)
	}
}

// A probe that is lost by chance is sent again.
func TestLostProbe(t *testing.T) {
	d := newDuo(t, ether(1500)).connect()
	lost := 0
	d.a.mangle = func(p []byte) []byte {
		if isProbe(p) && lost < 2 {
			lost++
			return nil
		}
		return p
	}
	d.carried(carrying(d, 50, 10_000, ChannelConfig{}))
	d.net.Run(2*probeTimer + time.Second)
	if got := d.a.Stats().MTU; got != 1412 || lost != 2 {
		t.Errorf("packets of %d bytes after %d losses", got, lost)
	}
}

// Some peers throw away packets with a PAD, in spite of RFC 4820 section 3: "The receiver of the PAD chunk MUST discard this
// chunk and continue processing the rest of the chunks in the packet."; others answer no HEARTBEAT. The packets of BASE get
// there all the same, and nobody is taken for dead.
func TestPeerDoesNotAnswerProbes(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} {
		d := newDuo(t, ether(1500)).connect()
		probes := 0
		d.a.mangle = func(p []byte) []byte {
			if isProbe(p) {
				probes++
				if !deaf {
					return nil
				}
				p[headerSize] = 0xbf // what nobody knows and nobody reports
				putChecksum(p)
			}
			return p
		}
		d.carried(carrying(d, 100, 10_000, ChannelConfig{}))
		d.net.Run(4 * probeTimer)
		s := d.a.Stats()
		if s.MTU != 1160 || d.a.mtu.state != mtuComplete || probes != maxProbes || s.BlackHoles != 0 || d.a.errors != 0 {
			t.Errorf("deaf %v: %d probes, %d errors, state %d, %+v", deaf, probes, d.a.errors, d.a.mtu.state, s)
		}
	}
}

// RFC 8899 section 4.3: "When the method detects that the current PLPMTU is not supported, DPLPMTUD sets a lower PLPMTU";
// RFC 9260 section 6.9: "Once a user message is fragmented, it cannot be re-fragmented. Instead, if the PMTU has been reduced,
// then IP fragmentation MUST be used."
func TestPathMTUDropsInTransfer(t *testing.T) {
	t.Parallel()
	for _, small := range []bool{false, true} { // whether small messages go on arriving beside what is lost
		d := newDuo(t, ether(1500)).connect()
		f := carrying(d, 600, 10_000, ChannelConfig{})
		chat := d.a.opens(ChannelConfig{Priority: 1024})
		d.net.Run(time.Second)
		if got := d.a.Stats().MTU; got != 1412 {
			t.Fatalf("packets of %d bytes", got)
		}
		narrow := ether(1300)
		narrow.Fragments = true
		d.link.Set(narrow)
		fragmented := 0
		d.a.mangle = func(p []byte) []byte {
			if len(p) > 1272 && !d.a.Unfragmented() {
				fragmented++
			}
			return p
		}
		dropped := d.net.Now()
		for range 200 {
			if small {
				d.a.sends(chat, "small")
			}
			d.net.Run(10 * time.Millisecond)
			if d.a.Stats().BlackHoles > 0 {
				break
			}
		}
		if took := d.net.Now().Sub(dropped); d.a.Stats().BlackHoles != 1 || took > 1500*time.Millisecond {
			t.Errorf("small %v: after %v the black hole was not seen", small, took)
		}
		d.carried(f)
		d.net.Run(time.Minute)
		if s := d.a.Stats(); s.MTU != 1232 || s.BlackHoles != 1 || fragmented == 0 {
			t.Errorf("small %v: %d packets were fragmented, %+v", small, fragmented, s)
		}
		over(t, d)
	}
}

// The path carries less than BASE, and nothing is fragmented: RFC 8899 section 5.2, the state ERROR. What was cut before is
// lost, if the program allows it; smaller chunks arrive.
func TestPathCarriesLessThanBase(t *testing.T) {
	t.Parallel()
	d := newDuo(t, ether(600)).connect()
	d.b.hash = true
	id := d.a.opens(ChannelConfig{Unordered: true, Reliability: MaxRetransmits, Limit: 2})
	chat := d.a.opens(ChannelConfig{})
	data := noise(1, 3000)
	for range 600 {
		if err := d.a.Send(d.a.now(), id, false, data); err != nil {
			t.Fatal(err)
		}
		d.a.sends(chat, "small")
		d.net.Run(100 * time.Millisecond)
	}
	if s := d.a.Stats(); s.MTU != minPacket || d.a.mtu.state != mtuError || len(d.b.hashed[id]) < 400 || len(d.b.hashed[chat]) != 600 {
		t.Errorf("%d of 600 came, %d small ones, state %d: %+v", len(d.b.hashed[id]), len(d.b.hashed[chat]), d.a.mtu.state, s)
	}
	d.link.Set(ether(1500))
	d.net.Run(raiseTimer)
	d.carried(carrying(d, 100, 10_000, ChannelConfig{}))
	d.net.Run(time.Second)
	if s := d.a.Stats(); s.MTU != 1412 || d.a.mtu.state != mtuComplete {
		t.Errorf("when the path is better: state %d, %+v", d.a.mtu.state, s)
	}
}

// A path that carries nothing for a while is no black hole, which would carry something: the size does not fall below BASE,
// and is searched for again at once.
func TestBlackOutIsNoBlackHole(t *testing.T) {
	t.Parallel()
	d := newDuo(t, ether(1500)).connect()
	f := carrying(d, 500, 10_000, ChannelConfig{})
	d.net.Run(time.Second)
	dark := ether(1500)
	dark.Loss = 1
	d.link.Set(dark)
	least := 1 << 16
	for range 100 {
		d.net.Run(100 * time.Millisecond)
		least = min(least, d.a.Stats().MTU)
	}
	d.link.Set(ether(1500))
	d.carried(f)
	d.net.Run(time.Minute)
	if s := d.a.Stats(); least != 1160 || s.MTU < 1388 {
		t.Errorf("packets of %d bytes at least, and %d in the end", least, s.MTU)
	}
}

// RFC 8261 section 6.1: "If the SCTP layer is notified about a path change by its lower layers, SCTP SHOULD retest the path MTU
// and reset the congestion state to the initial state."
func TestPathChanged(t *testing.T) {
	t.Parallel()
	d := newDuo(t, ether(1500)).connect()
	f := carrying(d, 500, 10_000, ChannelConfig{})
	d.net.Run(time.Second)
	if s := d.a.Stats(); s.MTU != 1412 || s.CongestionWindow < 30_000 {
		t.Fatalf("%+v", s)
	}
	narrow := ether(1280)
	narrow.Fragments = true
	d.link.Set(narrow)
	d.a.PathChanged(d.a.now())
	if s := d.a.Stats(); s.MTU != 1160 || s.CongestionWindow != initialPackets*(1160-headerSize) || s.RTT != 0 {
		t.Errorf("just after the change: %+v", s)
	}
	d.carried(f)
	if s := d.a.Stats(); s.MTU != 1232 || s.BlackHoles != 0 {
		t.Errorf("in the end: %+v", s)
	}
	over(t, d)
}

// An answer to no probe changes nothing.
func TestForeignAnswerToAProbe(t *testing.T) {
	w := standing(t, func(cfg *Config) { cfg.MaxPacket = 1400 })
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 5})
	w.Send(w.now, 5, false, make([]byte, 5000))
	said := names(w.say())
	if said != "DATA HEARTBEAT PAD DATA DATA DATA DATA" {
		t.Fatalf("sent %s", said)
	}
	w.hear(w.myTag, appendHeartbeat(nil, 77, w.now)) // echoed
	w.hear(w.myTag, appendChunk(nil, typeHeartbeatAck, 0, appendHeartbeat(nil, w.mtu.nonce^2, w.now)[4:]))
	if w.mtu.state != mtuBase {
		t.Errorf("state %d", w.mtu.state)
	}
	w.hear(w.myTag, appendChunk(nil, typeHeartbeatAck, 0, appendHeartbeat(nil, w.mtu.nonce, w.now)[4:]))
	if w.mtu.state != mtuSearching {
		t.Errorf("after the answer: state %d", w.mtu.state)
	}
}

func TestPacketSizesInConfig(t *testing.T) {
	for _, c := range []struct{ base, most, wantBase, wantMost int }{
		{0, 0, 1160, 1412}, {0, 1000, 1000, 1000}, {0, 9000, 1160, 9000}, {2000, 0, 2000, 2000}, {1400, 1200, 0, 0}, {400, 0, 0, 0},
	} {
		cfg := Config{Rand: entropy(1), BasePacket: c.base, MaxPacket: c.most}
		if err := cfg.Validate(); (err != nil) != (c.wantBase == 0) {
			t.Errorf("%+v: %v", c, err)
		} else if err == nil && (cfg.BasePacket != c.wantBase || cfg.MaxPacket != c.wantMost) {
			t.Errorf("%+v: %d to %d", c, cfg.BasePacket, cfg.MaxPacket)
		}
	}
}
