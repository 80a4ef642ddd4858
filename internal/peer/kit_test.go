package peer_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

var path = pkt.Path{Local: netip.MustParseAddrPort("192.0.2.1:1"), Remote: netip.MustParseAddrPort("192.0.2.2:2")}

func entropy(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// end is one end with a program that keeps its events.
type end struct {
	*peer.Secure
	cert     *dtls.Certificate
	states   []peer.DTLSState
	messages []string
	opened   []sctp.StreamID
	err      error
}

func newEnd(t testing.TB, role dtls.Role, seed uint64, version dtls.Version) *end {
	t.Helper()
	random := entropy(seed)
	cert, err := dtls.GenerateCertificate(random, time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	s, err := peer.NewSecure(role, &dtls.Config{
		Entropy: random, Certificate: cert, MinVersion: version, MaxVersion: version,
		Groups: []dtls.Group{dtls.X25519}, // whose handshake is the same for the same entropy
	}, peer.NewScratch())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Associate(0, sctp.Config{Rand: random, SendBuffer: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return &end{Secure: s, cert: cert}
}

func (e *end) promise() []dtls.Fingerprint { return []dtls.Fingerprint{e.cert.Fingerprint()} }

// react runs jobs and takes events, as a program would.
func (e *end) react(now mono.Time) {
	for {
		j, ok := e.NextJob()
		if !ok {
			break
		}
		j.Run()
		e.JobDone(now, j)
	}
	for {
		ev, ok := e.NextEvent()
		if !ok {
			return
		}
		if ev.Kind != peer.OfSCTP {
			if ev.DTLS != peer.DTLSConnecting {
				e.states = append(e.states, ev.DTLS)
			}
			e.err = ev.Err
			continue
		}
		switch ev.SCTP.Kind {
		case sctp.ChannelOpen:
			e.opened = append(e.opened, ev.SCTP.Stream)
		case sctp.Message:
			e.messages = append(e.messages, string(ev.SCTP.Data))
			e.Association().Consume(len(ev.SCTP.Data))
		}
	}
}

// wire carries datagrams between two ends without delay.
type wire struct {
	a, b  *end
	now   mono.Time
	batch *pkt.Batch
	sent  []pkt.Transmit // of the last drain, without payloads
}

func newWire(a, b *end) *wire { return &wire{a: a, b: b, batch: pkt.NewBatch(64<<10, 8)} }

// settle moves datagrams until neither end has more to say.
func (w *wire) settle() {
	for moved := true; moved; {
		moved = w.move(w.a, w.b)
		moved = w.move(w.b, w.a) || moved
	}
}

func (w *wire) move(from, to *end) (moved bool) {
	from.react(w.now)
	for more := true; more; {
		w.batch.Reset()
		more = from.AppendTransmit(w.now, path, w.batch)
		for _, t := range w.batch.Transmits() {
			moved = true
			size := len(t.Payload)
			if t.SegmentSize > 0 {
				size = int(t.SegmentSize)
			}
			for p := t.Payload; len(p) > 0; {
				n := min(size, len(p))
				to.HandlePayload(w.now, p[:n:n])
				to.react(w.now)
				p = p[n:]
			}
			t.Payload = nil
			w.sent = append(w.sent, t)
		}
	}
	from.react(w.now)
	return moved
}

// pass lets virtual time pass.
func (w *wire) pass(d time.Duration) {
	for until := w.now.Add(d); ; {
		w.settle()
		next := mono.Min(w.a.NextTimeout(), w.b.NextTimeout())
		if next > until {
			w.now = until
			return
		}
		w.now = max(w.now, next)
		w.a.HandleTimeout(w.now)
		w.b.HandleTimeout(w.now)
	}
}

// connect makes two ends that stand.
func connect(t testing.TB, version dtls.Version) *wire {
	t.Helper()
	w := newWire(newEnd(t, dtls.Client, 1, version), newEnd(t, dtls.Server, 2, version))
	w.a.SetFingerprints(0, w.b.promise())
	w.b.SetFingerprints(0, w.a.promise())
	w.pass(time.Second)
	if len(w.a.states) != 1 || len(w.b.states) != 1 || w.a.states[0] != peer.DTLSConnected || w.b.states[0] != peer.DTLSConnected {
		t.Fatalf("not connected: %v %v, %v %v", w.a.states, w.a.err, w.b.states, w.b.err)
	}
	return w
}
