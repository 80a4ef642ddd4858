package sctp

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
)

func TestHandshake(t *testing.T) {
	path := simnet.Path{Delay: 20 * time.Millisecond}
	t.Run("one begins", func(t *testing.T) {
		d := newDuo(t, path)
		d.a.Connect(d.a.now())
		d.a.driver.Poll()
		start := d.net.Now()
		d.until("established", func() bool { return d.a.state == stateEstablished && d.b.state == stateEstablished })
		if took := d.net.Now().Sub(start); took != 80*time.Millisecond {
			t.Errorf("it took %v, want two round trips", took)
		}
		if d.a.kinds() != "Established" || d.b.kinds() != "Established" {
			t.Errorf("events: %s; %s", d.a.kinds(), d.b.kinds())
		}
	})
	t.Run("what waited at the one that did not begin", func(t *testing.T) {
		d := newDuo(t, path)
		id := d.b.opens(ChannelConfig{})
		d.b.sends(id, "patience")
		d.a.Connect(d.a.now())
		d.a.driver.Poll()
		d.until("delivered", func() bool { return len(d.a.got[id]) == 1 })
	})
	t.Run("both begin", func(t *testing.T) {
		d := newDuo(t, path).connect()
		d.net.Run(time.Second)
		if d.a.kinds() != "Established" || d.b.kinds() != "Established" {
			t.Errorf("events: %s; %s", d.a.kinds(), d.b.kinds())
		}
	})
}

// Any packet of the handshake may be lost, once or twice, whoever begins.
func TestHandshakeOverLoss(t *testing.T) {
	for _, both := range []bool{false, true} {
		for lost := range 64 {
			d := newDuo(t, simnet.Path{Delay: 20 * time.Millisecond})
			count := 0
			for _, e := range []*end{d.a, d.b} {
				e.mangle = func(p []byte) []byte {
					count++
					if count <= 6 && lost>>(count-1)&1 == 1 {
						return nil
					}
					return p
				}
			}
			id := d.a.opens(ChannelConfig{})
			d.a.sends(id, "hello")
			d.a.Connect(d.a.now())
			if both {
				d.b.Connect(d.b.now())
				d.b.driver.Poll()
			}
			d.a.driver.Poll()
			d.until("delivered", func() bool { return len(d.b.got[id]) == 1 })
			d.net.Run(time.Minute)
			for _, e := range []*end{d.a, d.b} {
				if n := strings.Count(e.kinds(), "Established"); n != 1 || e.state != stateEstablished {
					t.Errorf("both %v, lost %06b: events %s", both, lost, e.kinds())
				}
			}
		}
	}
}

// If COOKIE ACK was lost, data of the peer's tell so before T1 expires.
func TestDataInPlaceOfCookieAck(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 20 * time.Millisecond})
	lost := 0
	d.b.mangle = func(p []byte) []byte {
		if lost < 1 && chunkType(p[12]) == typeCookieAck {
			lost++
			return nil
		}
		return p
	}
	d.a.Connect(d.a.now())
	d.a.driver.Poll()
	start := d.net.Now()
	d.net.Run(100 * time.Millisecond)
	id := d.b.opens(ChannelConfig{})
	d.b.sends(id, "are you there?")
	d.until("established", func() bool { return d.a.state == stateEstablished })
	if took := d.net.Now().Sub(start); lost != 1 || took > 160*time.Millisecond {
		t.Errorf("it took %v, and %d were lost", took, lost)
	}
	d.until("delivered", func() bool { return len(d.a.got[id]) == 1 })
}

// RFC 9260 section 5.2.4: "If the endpoint is in the SHUTDOWN-ACK-SENT state and recognizes that the peer has restarted
// (Action A), it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and send an ERROR chunk
// with a "Cookie Received While Shutting Down" error cause to its peer." RFC 9260 section 5.2.4, action A, and its
// exception: "If the endpoint is in the SHUTDOWN-ACK-SENT state and recognizes that the peer has restarted (Action A),
// it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and send an ERROR chunk with a "Cookie
// Received While Shutting Down" error cause".
func TestRestartWhileShuttingDown(t *testing.T) {
	w := standing(t)
	w.hear(0, appendInit(nil, typeInit, &initChunk{tag: 77, tsn: 1, window: 1500, outgoing: 1, incoming: 1}))
	in, _ := parseInit(w.say()[0].value)
	w.hear(w.myTag, appendChunk(nil, typeShutdown, 0, binary.BigEndian.AppendUint32(nil, w.myTSN-1)))
	w.say()
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	if got := names(w.say()); got != "SHUTDOWN-ACK ERROR" || w.state != stateShutdownAckSent {
		t.Errorf("answered by %s", got)
	}
}

// RFC 9260 section 5.2.2: "If no new addresses are added, when responding to the INIT chunk in the outbound INIT ACK
// chunk, the endpoint MUST copy its current Tie-Tags to a reserved place within the State Cookie and the association's
// TCB."; RFC 9260 section 5.2.4: "All the congestion control parameters (e.g., cwnd, ssthresh) related to this peer
// MUST be reset to their initial values (see Section 6.2.1)."; RFC 9260 section 5.3.1: "A new Verification Tag value
// MUST be used each time the endpoint tears down and then reestablishes an association to the same peer." The same
// restart in an association that stands: new tags, new TSNs, all channels gone.
func TestRestart(t *testing.T) {
	w := withChannels(t, 4)
	w.Send(w.now, 4, false, []byte("never acknowledged"))
	w.say()
	w.told()
	old := w.myTag
	w.hear(0, appendInit(nil, typeInit, &initChunk{tag: 77, tsn: 100, window: 1500, outgoing: 1, incoming: 9}))
	in, _ := parseInit(w.say()[0].value)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	if got := names(w.say()); got != "COOKIE-ACK" {
		t.Errorf("answered by %s", got)
	}
	if got := w.told(); got != "ChannelClosed Restarted" {
		t.Errorf("events: %s", got)
	}
	if w.myTag == old || w.myTag != in.tag || w.peerTag != 77 || w.receive.cumulative != 99 || w.send.next != int64(in.tsn) || w.outStreams != 9 {
		t.Errorf("after the restart: %+v", w.Association)
	}
	if w.send.cc.window != newWireEnd(t).send.cc.window {
		t.Errorf("the window of congestion is %d", w.send.cc.window)
	}
	// The cookie of before the restart is worth nothing now.
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	if got := w.told(); got != "" {
		t.Errorf("the same cookie again: %s", got)
	}
}

func TestFirstMessage(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 20 * time.Millisecond})
	id := d.a.opens(ChannelConfig{Label: "chat", Protocol: "p"})
	d.a.sends(id, "hello")
	d.connect()
	d.until("delivered", func() bool { return len(d.b.got[id]) == 1 })
	if got := d.b.kinds(); got != "Established ChannelOpen:0" {
		t.Errorf("events: %s", got)
	}
	d.b.sends(id, "you too")
	d.until("delivered", func() bool { return len(d.a.got[id]) == 1 })
	d.a.closes(id)
	d.until("closed", func() bool { return len(d.a.channels) == 0 && len(d.b.channels) == 0 })
	d.a.Shutdown(d.a.now())
	d.a.driver.Poll()
	d.until("over", func() bool { return d.a.state == stateDone && d.b.state == stateDone })
	if got := d.a.kinds(); !strings.HasSuffix(got, "ChannelClosed:0 Closed") {
		t.Errorf("a's events: %s", got)
	}
}

// The handshake gives both ends a round trip, unless what it was measured with may have been sent twice.
func TestHandshakeMeasuresTheRoundTrip(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		d := newDuo(t, simnet.Path{Delay: 40 * time.Millisecond})
		if lossy {
			first := true
			d.a.mangle = func(p []byte) []byte {
				if kind := chunkType(p[headerSize]); kind == typeCookieEcho && first {
					first = false
					return nil
				}
				return p
			}
		}
		d.a.Connect(d.a.now())
		d.a.driver.Poll()
		d.until("established", func() bool { return d.a.state == stateEstablished && d.b.state == stateEstablished })
		for _, e := range []*end{d.a, d.b} {
			if rtt := e.Stats().RTT; rtt != 80*time.Millisecond && !lossy || rtt > 800*time.Millisecond {
				t.Errorf("lossy %v: the round trip is %v", lossy, rtt)
			}
		}
	}
}

// RFC 9260 section 8.4 has a peer that is not ready yet answer INIT by an ABORT, without a cause. It says nothing about an
// association that never was, so the tries of RFC 9260 section 5.1 go on; a cause says that the peer does not want one.
func TestAbortOfAPeerThatIsNotReady(t *testing.T) {
	for _, patient := range []bool{false, true} {
		w := newWireEnd(t, func(cfg *Config) { cfg.Patient = patient })
		w.Connect(w.now)
		for i := range 3 {
			if got := names(w.say()); got != "INIT" {
				t.Fatalf("try %d: %s", i, got)
			}
			w.hear(w.myTag, appendChunk(nil, typeAbort, 0, nil))
			if got := names(w.say()) + w.told(); got != "" {
				t.Fatalf("try %d: ABORT is answered by %s", i, got)
			}
			w.wait()
		}
		w.say()
		w.hear(w.myTag, appendInit(nil, typeInitAck, &initChunk{tag: peersTag, tsn: peersTSN, window: 1500, outgoing: 9, incoming: 9, cookie: []byte("biscuit")}))
		w.hear(w.myTag, appendChunk(nil, typeCookieAck, 0, nil))
		if got := w.told(); got != "Established" {
			t.Errorf("patient %v: the events are %q", patient, got)
		}
	}
	for name, c := range map[string][]byte{
		"in COOKIE-WAIT, with a cause": appendParam(nil, causeUserAbort, []byte("no")),
		"in COOKIE-ECHOED":             nil,
	} {
		w := newWireEnd(t)
		w.Connect(w.now)
		w.say()
		if c == nil {
			w.hear(w.myTag, appendInit(nil, typeInitAck, &initChunk{tag: peersTag, tsn: peersTSN, window: 1500, outgoing: 9, incoming: 9, cookie: []byte("biscuit")}))
		}
		w.hear(w.myTag, appendChunk(nil, typeAbort, 0, c))
		if got := w.told(); got != "Closed" {
			t.Errorf("%s: the events are %q", name, got)
		}
	}
	// Nobody waits for ever but who is patient.
	w := newWireEnd(t)
	w.Connect(w.now)
	for range maxInitRetransmits + 1 {
		w.say()
		w.hear(w.myTag, appendChunk(nil, typeAbort, 0, nil))
		w.wait()
	}
	if got := w.told(); got != "Closed" {
		t.Errorf("after the last try the events are %q", got)
	}
}
