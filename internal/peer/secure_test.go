package peer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

var versions = []dtls.Version{dtls.Version12, dtls.Version13}

func open(t testing.TB, w *wire, e *end) sctp.StreamID {
	t.Helper()
	id, err := e.Association().Open(w.now, sctp.ChannelConfig{Label: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func send(t testing.TB, w *wire, e *end, id sctp.StreamID, data string) {
	t.Helper()
	if err := e.Association().Send(w.now, id, true, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// RFC 7983 section 7, figure 3.
func TestDemultiplex(t *testing.T) {
	if got := peer.Demultiplex(nil); got != peer.Unknown {
		t.Errorf("nothing is %v", got)
	}
	for b := range 256 {
		want := peer.Unknown
		switch {
		case b <= 3:
			want = peer.STUN
		case b >= 20 && b <= 63:
			want = peer.DTLS
		case b >= 128 && b <= 191:
			want = peer.RTP
		}
		if got := peer.Demultiplex([]byte{byte(b)}); got != want {
			t.Errorf("a first byte of %d is %v, want %v", b, got, want)
		}
	}
}

func TestMessagesBothWays(t *testing.T) {
	for _, v := range versions {
		w := connect(t, v)
		client, server := open(t, w, w.a), open(t, w, w.b)
		// RFC 8832 section 6: the DTLS client's streams are even, the server's odd.
		if client%2 != 0 || server%2 != 1 {
			t.Errorf("the client's stream is %d, the server's %d", client, server)
		}
		send(t, w, w.a, client, "from the client")
		send(t, w, w.b, server, "from the server")
		w.pass(time.Second)
		if !slices.Equal(w.b.messages, []string{"from the client"}) || !slices.Equal(w.a.messages, []string{"from the server"}) {
			t.Errorf("%v: heard %q and %q", v, w.a.messages, w.b.messages)
		}
		if got := w.a.Negotiated().Version; got != v {
			t.Errorf("negotiated %v, want %v", got, v)
		}
	}
}

// Before the answer has come the handshake runs, and nothing of the application passes: the fingerprint that decides is in
// the answer.
func TestFingerprintAfterTheHandshake(t *testing.T) {
	for _, v := range versions {
		w := newWire(newEnd(t, dtls.Client, 1, v), newEnd(t, dtls.Server, 2, v))
		w.a.SetFingerprints(0, w.b.promise())
		id := open(t, w, w.a)
		send(t, w, w.a, id, "early")
		w.pass(3 * time.Second)
		if w.b.PeerCertificates() == nil {
			t.Fatalf("%v: the handshake did not run before the answer", v)
		}
		if len(w.b.states) != 0 || len(w.b.opened) != 0 || len(w.b.messages) != 0 {
			t.Fatalf("%v: before the answer there were %v, %v, %q", v, w.b.states, w.b.opened, w.b.messages)
		}
		w.b.SetFingerprints(w.now, w.a.promise())
		w.pass(10 * time.Second)
		if !slices.Equal(w.b.messages, []string{"early"}) {
			t.Errorf("%v: after the answer came %q", v, w.b.messages)
		}
	}
}

// A certificate that the description did not promise ends the connection, whichever of the two came first.
func TestWrongFingerprintEndsIt(t *testing.T) {
	for _, v := range versions {
		for _, late := range []bool{false, true} {
			w := newWire(newEnd(t, dtls.Client, 1, v), newEnd(t, dtls.Server, 2, v))
			w.a.SetFingerprints(0, w.b.promise())
			if late {
				w.pass(time.Second)
			}
			w.b.SetFingerprints(w.now, w.b.promise()) // its own, not the peer's
			id := open(t, w, w.a)
			send(t, w, w.a, id, "secret")
			w.pass(10 * time.Second)
			if !slices.Equal(w.b.states, []peer.DTLSState{peer.DTLSFailed}) || w.b.err == nil || len(w.b.messages) != 0 {
				t.Errorf("%v, late %t: %v, %v, %q", v, late, w.b.states, w.b.err, w.b.messages)
			}
			if w.b.NextTimeout() != mono.Never {
				t.Errorf("%v, late %t: a timer is left", v, late)
			}
		}
	}
}

func TestClose(t *testing.T) {
	w := connect(t, dtls.Version13)
	open(t, w, w.a)
	w.pass(time.Second)
	w.a.Close(w.now)
	w.a.Close(w.now)
	w.pass(10 * time.Second)
	want := []peer.DTLSState{peer.DTLSConnected, peer.DTLSClosed}
	if !slices.Equal(w.a.states, want) || !slices.Equal(w.b.states, want) || w.a.err != nil || w.b.err != nil {
		t.Errorf("%v %v, %v %v", w.a.states, w.a.err, w.b.states, w.b.err)
	}
	if w.a.NextTimeout() != mono.Never || w.b.NextTimeout() != mono.Never {
		t.Error("a timer is left")
	}
	if err := w.a.Associate(w.now, sctp.Config{Rand: entropy(1)}); !errors.Is(err, peer.ErrAssociation) {
		t.Errorf("Associate after the end: %v", err)
	}
}

// A bulk transfer leaves in runs of equal datagrams, so that a system call sends many.
func TestBulkLeavesInRuns(t *testing.T) {
	for _, v := range versions {
		w := connect(t, v)
		id := open(t, w, w.a)
		w.pass(time.Second)
		w.sent = nil
		data := strings.Repeat("0123456789abcdef", 4<<10)
		for range 12 {
			send(t, w, w.a, id, data)
		}
		w.pass(10 * time.Second)
		if len(w.b.messages) != 12 || w.b.messages[11] != data {
			t.Fatalf("%v: %d messages arrived", v, len(w.b.messages))
		}
		longest := 0
		for _, s := range w.sent {
			if s.SegmentSize > dtls.DefaultMTU {
				t.Errorf("%v: segments of %d bytes", v, s.SegmentSize)
			}
			if s.SegmentSize > 0 {
				longest++
			}
		}
		if longest == 0 {
			t.Errorf("%v: none of %d transmits is a run", v, len(w.sent))
		}
	}
}

// A batch too small for all of it loses nothing, and what waits is sent first.
func TestFullBatchKeepsThePacket(t *testing.T) {
	w := connect(t, dtls.Version13)
	id := open(t, w, w.a)
	w.pass(time.Second)
	w.batch = pkt.NewBatch(1500, 1)
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("%d %s", i, strings.Repeat("x", 700)))
		send(t, w, w.a, id, want[i])
	}
	w.pass(10 * time.Second)
	if !slices.Equal(w.b.messages, want) {
		t.Errorf("%d of 50 messages arrived in order", len(w.b.messages))
	}
	if n := w.a.Association().Stats().ChunksRetransmitted; n != 0 {
		t.Errorf("%d chunks were sent again on a path that loses nothing", n)
	}
}

// talker fits an end to the laws.
type talker struct{ *end }

func (k talker) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	k.HandlePayload(now, d.Payload)
	k.jobs(now)
}

func (k talker) jobs(now mono.Time) {
	for j, ok := k.NextJob(); ok; j, ok = k.NextJob() {
		j.Run()
		k.JobDone(now, j)
	}
}

func (k talker) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	k.jobs(now)
	return k.end.AppendTransmit(now, path, b)
}

func (k talker) NextEvent() (laws.Event, bool) {
	e, ok := k.end.NextEvent()
	if !ok {
		return laws.Event{}, false
	}
	text := fmt.Sprintf("%d %v %v %d %.20q %v %v", e.Kind, e.DTLS, e.SCTP.Kind, e.SCTP.Stream, e.SCTP.Data, e.SCTP.Err, e.Err)
	if e.Kind == peer.OfSCTP && e.SCTP.Kind == sctp.Message {
		k.messages = append(k.messages, string(e.SCTP.Data))
		k.Association().Consume(len(e.SCTP.Data))
	}
	return laws.Event{Text: text, Closing: e.DTLS >= peer.DTLSClosed}, true
}

func TestLaws(t *testing.T) {
	for _, role := range []dtls.Role{dtls.Client, dtls.Server} {
		t.Run(role.String(), func(t *testing.T) {
			other := map[dtls.Role]dtls.Role{dtls.Client: dtls.Server, dtls.Server: dtls.Client}[role]
			laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
				a, b := newEnd(t, role, 2*seed, 0), newEnd(t, other, 2*seed+1, 0)
				return &laws.Specimen{
					Engine: talker{a}, Peer: talker{b},
					Steps: []func(mono.Time){
						func(now mono.Time) { a.SetFingerprints(now, b.promise()) },
						func(now mono.Time) { b.SetFingerprints(now, a.promise()) },
						func(now mono.Time) {
							id, err := a.Association().Open(now, sctp.ChannelConfig{Label: "law"})
							if err == nil {
								err = a.Association().Send(now, id, true, []byte("lawful"))
							}
							if err != nil {
								t.Error(err)
							}
						},
					},
					Done: func() error {
						if !slices.Contains(b.messages, "lawful") {
							return errors.New("the message has not arrived")
						}
						return nil
					},
					Fatal: []func(mono.Time){func(now mono.Time) { a.Close(now) }},
					Bound: 4 << 20,
				}
			}})
		})
	}
}
