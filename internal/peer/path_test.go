package peer_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// Whatever the path loses, repeats and reorders, connections come about and say what they have to say, in order.
func TestBadPaths(t *testing.T) {
	seeds := uint64(2)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 100
	}
	for _, loss := range []float64{0, 0.05, 0.1, 0.2} {
		for _, v := range versions {
			var took []time.Duration
			for seed := range seeds {
				t.Run(fmt.Sprintf("%v loss=%v seed=%d", v, loss, seed), func(t *testing.T) {
					o := options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}}
					path := simnet.Path{Loss: 1 - math.Sqrt(1-loss) /* on each of two links */, Duplicate: 0.2, Reorder: 0.2, ReorderBy: 30 * time.Millisecond, Jitter: 10 * time.Millisecond}
					w := newWorld(t, seed, path, o, o)
					took = append(took, w.connect())
					w.chat(func() { w.Run(2 * time.Second) })
					w.a.Close(w.Now())
					w.a.poll()
					w.Run(time.Minute)
					if w.a.NextTimeout() != mono.Never || w.a.events[len(w.a.events)-1].Kind != peer.Closed {
						t.Errorf("not closed: %v", w.a)
					}
				})
			}
			slices.Sort(took)
			t.Logf("%v, loss %v: open after %v in the median, %v at most", v, loss, took[len(took)/2], took[len(took)-1])
		}
	}
}

// A certificate that does not fit into one datagram, nor its signature into another.
func TestLargeCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := dtls.SelfSign(entropy(1), key, time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for range 6 { // a chain that means nothing and must arrive nevertheless
		cert.Chain = append(cert.Chain, cert.Chain[0])
	}
	for _, v := range versions {
		o := options{dtls: dtls.Config{MinVersion: v, MaxVersion: v, Certificate: cert}}
		w := newWorld(t, 15, simnet.Path{Loss: 0.05}, o, o)
		w.connect()
		if got := w.a.Transport(1).Stats().Certificates; len(got) != 7 {
			t.Errorf("%v: %d certificates came", v, len(got))
		}
	}
}

// RFC 8831 section 5: "The initial Path MTU at the IP layer SHOULD NOT exceed 1200 bytes for IPv4 and 1280 bytes for IPv6."
// Of DTLS it is 1200 bytes within UDP, as elsewhere, which IPv6 carries everywhere.
func TestSmallMTU(t *testing.T) {
	for _, v := range versions {
		o := options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}}
		w := newWorld(t, 16, simnet.Path{MTU: 1280}, o, o)
		w.connect()
		w.a.say(strings.Repeat("0123456789abcdef", 8<<10))
		w.until("a long message", 10*time.Second, func() bool { return len(w.b.messages) == 1 })
		if up := w.a.host.Link().Up(); up.TooBig > 0 {
			t.Errorf("%v: %d packets were too big", v, up.TooBig)
		}
	}
}

// RFC 8261 section 4: "The path MTU discovery is performed by SCTP when SCTP over DTLS is used for data channels". Section
// 6.1: "If the SCTP layer is notified about a path change by its lower layers, SCTP SHOULD retest the path MTU".
func TestPathMTU(t *testing.T) {
	for _, mtu := range []int{1280, 1400, 1500} {
		o := options{sctp: sctp.Config{MaxPacket: 1412}}
		w := newWorld(t, 22, simnet.Path{MTU: mtu}, o, o)
		w.a.host.Attach(w.Internet(), simnet.Path{Delay: oneWay / 2, MTU: 1280}, "192.0.2.11")
		w.connect()
		long := strings.Repeat("0123456789abcdef", 16<<10)
		transfer := func() {
			w.b.messages = nil
			for range 8 {
				w.a.say(long)
			}
			w.until("the transfer", 20*time.Second, func() bool { return len(w.b.messages) == 8 })
		}
		transfer()
		transfer()
		// IPv4 and UDP take 28 bytes, DTLS 1.3 at most 22; the search ends within some tens of bytes.
		if got := w.a.Association().Stats().MTU; got > mtu-28-20 || got < min(1400, max(1160, mtu-28-22-70)) {
			t.Errorf("a path of %d bytes carries packets of %d", mtu, got)
		}
		pair, _ := w.a.Agent(1).Selected()
		if pair.Path.Local.Addr().String() == "192.0.2.1" {
			w.a.RemoveSocket(w.Now(), pair.Path.Socket)
			w.a.poll()
			transfer()
			if got := w.a.Association().Stats().MTU; got > 1280-28-20 {
				t.Errorf("after the change packets are of %d bytes", got)
			}
		}
	}
}

// The selected pair changes in the middle of a transfer, because its interface goes and comes: nothing is lost.
func TestPathChangesInATransfer(t *testing.T) {
	w := newWorld(t, 17, simnet.Path{}, options{}, options{})
	w.a.host.Attach(w.Internet(), simnet.Path{Delay: oneWay / 2}, "192.0.2.11")
	w.connect()
	w.Run(100 * time.Millisecond)
	was, _ := w.a.Agent(1).Selected()
	long := strings.Repeat("0123456789abcdef", 16<<10)
	w.a.messages, w.b.messages = nil, nil
	for range 8 {
		w.a.say(long)
		w.b.say(long)
	}
	w.Run(60 * time.Millisecond)
	w.a.RemoveSocket(w.Now(), was.Path.Socket)
	w.a.poll()
	w.until("the transfer", 10*time.Second, func() bool { return len(w.a.messages) == 8 && len(w.b.messages) == 8 })
	for _, s := range []*side{w.a, w.b} {
		if slices.ContainsFunc(s.messages, func(m string) bool { return m != long }) {
			t.Error("not what was said")
		}
		now, ok := s.Agent(1).Selected()
		if !ok || now.Path == was.Path {
			t.Errorf("the selected pair is %v, %t", now.Path, ok)
		}
		if got := s.dtlsStates(1); got[len(got)-1] != peer.DTLSConnected {
			t.Errorf("DTLS was %v", got)
		}
	}
	paths := w.a.Transport(1).Paths()
	if len(paths) < 2 || paths[0].PacketsSent == 0 || paths[1].PacketsSent == 0 || paths[1].PacketsReceived == 0 {
		t.Errorf("the traffic by path is %+v", paths)
	}
	sum := peer.Traffic{}
	for _, p := range paths {
		sum.PacketsSent, sum.BytesReceived = sum.PacketsSent+p.PacketsSent, sum.BytesReceived+p.BytesReceived
	}
	if all := w.a.Transport(1).Stats().Traffic; all.PacketsSent != sum.PacketsSent || all.BytesReceived != sum.BytesReceived {
		t.Errorf("the sum of %+v is not %+v", paths, all)
	}
	if changes := w.a.Transport(1).Stats().SelectedPairChanges; changes < 2 {
		t.Errorf("the selected pair changed %d times", changes)
	}
}

// A path that dies without a word is left long before consent ends, since what is sent along it is not answered.
func TestPathDiesInATransfer(t *testing.T) {
	w := newWorld(t, 23, simnet.Path{}, options{}, options{})
	other := w.a.host.Attach(w.Internet(), simnet.Path{Delay: oneWay / 2}, "192.0.2.11")
	w.connect()
	w.Run(100 * time.Millisecond)
	was, _ := w.a.Agent(1).Selected()
	w.chat(func() {
		w.Run(10 * time.Second)
		if was.Path.Local.Addr().String() == "192.0.2.1" {
			w.a.host.Link().Set(simnet.Path{Loss: 1})
		} else {
			other.Set(simnet.Path{Loss: 1})
		}
		began := w.Now()
		w.until("another path", 4*time.Second, func() bool {
			a, _ := w.a.Agent(1).Path()
			b, _ := w.b.Agent(1).Path()
			return a.Local != was.Path.Local && b.Remote != was.Path.Local
		})
		t.Logf("the path was left after %v", w.Now().Sub(began))
	})
}

// Everything that is sent is read by the other side, and counted alike.
func TestStatistics(t *testing.T) {
	w := newWorld(t, 18, simnet.Path{}, options{}, options{})
	w.connect()
	w.chat(func() { w.Run(time.Second) })
	w.Run(time.Second)
	a, b := w.a.Transport(1).Stats(), w.b.Transport(1).Stats()
	if a.PacketsSent != b.PacketsReceived || b.PacketsSent != a.PacketsReceived || a.BytesSent != b.BytesReceived || b.BytesSent != a.BytesReceived || a.PacketsSent < 200 {
		t.Errorf("a: %+v, b: %+v", a.Traffic, b.Traffic)
	}
	if a.Role != dtls.Server || b.Role != dtls.Client || a.ICERole != ice.Controlling || b.ICERole != ice.Controlled {
		t.Errorf("the offerer is %v and %v, the answerer %v and %v", a.Role, a.ICERole, b.Role, b.ICERole)
	}
	want := dtls.ConnectionState{Version: dtls.Version13, CipherSuite: dtls.AES128GCM, Group: dtls.X25519MLKEM768}
	if a.ConnectionState != want || b.ConnectionState != want || a.DTLS != peer.DTLSConnected {
		t.Errorf("negotiated %+v, %+v", a.ConnectionState, b.ConnectionState)
	}
	if !slices.EqualFunc(a.Certificates, w.b.cert.Chain, slices.Equal) || !slices.EqualFunc(b.Certificates, w.a.cert.Chain, slices.Equal) {
		t.Error("the certificates are not those of the other side")
	}
	pair, _ := w.a.Agent(1).Selected()
	paths := w.a.Transport(1).Paths()
	if len(paths) != 1 || paths[0].Path != pair.Path || paths[0].LastSent == 0 || paths[0].LastReceived == 0 {
		t.Errorf("the selected pair is %v, the paths %+v", pair.Path, paths)
	}
}

// What has no place on a path is dropped, and counted by why.
func TestDropped(t *testing.T) {
	w := newWorld(t, 19, simnet.Path{}, options{}, options{})
	w.negotiate()
	w.RunUntil(func() bool { return w.a.Agent(1).State() == ice.StateConnected }, time.Second)
	pair, ok := w.a.Agent(1).Selected()
	if !ok {
		t.Fatal("no pair")
	}
	stranger := pair.Path
	stranger.Remote = stranger.Local
	hear := func(path pkt.Path, b ...byte) {
		w.a.HandleDatagram(w.Now(), &pkt.Datagram{Path: path, Payload: b})
	}
	hear(pair.Path)
	hear(pair.Path, 64)
	hear(stranger, 22)
	hear(stranger, 128)
	hear(pair.Path, 128)
	w.a.Close(w.Now())
	hear(pair.Path, 22)
	if got, want := w.a.Dropped(), (peer.Dropped{Unknown: 2, Stranger: 2, Late: 1, Media: 1}); got != want {
		t.Errorf("dropped %+v, want %+v", got, want)
	}
	w = newWorld(t, 20, simnet.Path{}, options{}, options{})
	w.b.answer(w.a.offer())
	w.Run(25 * time.Millisecond)
	w.a.HandleDatagram(w.Now(), &pkt.Datagram{Path: pkt.Path{Local: w.a.driver.Local(0), Remote: w.b.driver.Local(0)}, Payload: []byte{22}})
	if got := w.a.Dropped(); got.Early != 1 {
		t.Errorf("dropped %+v", got)
	}
}

// Datagrams of data cost no memory on their way, in or out.
func TestDataDoesNotAllocate(t *testing.T) {
	w := newWorld(t, 21, simnet.Path{}, options{}, options{})
	w.connect()
	w.Run(time.Second)
	now, message := w.Now(), make([]byte, 1000)
	out := pkt.NewBatch(1<<18, 64)
	pass := func(from, to *side) {
		for more := true; more; {
			out.Reset()
			more = from.Peer.AppendTransmit(now, out)
			for _, tr := range out.Transmits() {
				size := max(int(tr.SegmentSize), 1)
				if tr.SegmentSize == 0 {
					size = len(tr.Payload)
				}
				for p := tr.Payload; len(p) > 0; p = p[min(size, len(p)):] {
					to.Peer.HandleDatagram(now, &pkt.Datagram{Path: pkt.Path{Socket: 0, Local: tr.Remote, Remote: tr.Local}, Payload: p[:min(size, len(p))]})
				}
			}
		}
		for e, ok := to.Peer.NextEvent(); ok; e, ok = to.Peer.NextEvent() {
			to.Association().Consume(len(e.SCTP.Data))
		}
	}
	round := func() {
		now = now.Add(time.Millisecond)
		for range 20 {
			if err := w.a.Association().Send(now, w.a.stream, false, message); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			pass(w.a, w.b)
			pass(w.b, w.a)
		}
		now = now.Add(oneWay)
		for _, s := range []*side{w.a, w.b} {
			s.Peer.HandleTimeout(now)
		}
		pass(w.b, w.a)
		pass(w.a, w.b)
	}
	for range 200 {
		round()
	}
	before := w.a.Transport(1).Stats().PacketsSent
	if n := testing.AllocsPerRun(500, round); n >= 1 {
		t.Errorf("%v allocations for 20 messages", n)
	}
	if sent := w.a.Transport(1).Stats().PacketsSent - before; sent < 500*15 {
		t.Errorf("%d packets were sent", sent)
	}
}
