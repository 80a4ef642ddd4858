//go:build unix

package media_test

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/interceptor/pkg/gcc"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	pionrtcp "github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	pionsrtp "github.com/pion/srtp/v3"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A mediaPair is two ends of one video, of which one sends. flow sends n packets of 1200 bytes, and returns once all of them were
// read at the other end; what the ends tell each other goes both ways meanwhile.
type mediaPair interface {
	flow(tb testing.TB, n int)
	close()
}

// parleyPair is two whole peers, whose datagrams are handed over.
type parleyPair struct {
	ends  [2]*parleyEnd
	now   mono.Time
	batch *pkt.Batch
	p     session.Packet
}

type parleyEnd struct {
	*peer.Peer
	session *jsep.Session
	address netip.AddrPort
	got     int
}

func newParleyPair(tb testing.TB) *parleyPair {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	r := &parleyPair{now: mono.Time(time.Hour), batch: pkt.NewBatch(1<<20, 512)}
	for i := range r.ends {
		cert, err := dtls.GenerateCertificate(rand.Reader, time.Now(), time.Now().AddDate(0, 1, 0))
		must(err)
		f := cert.Fingerprint()
		s, err := jsep.New(jsep.Config{Entropy: rand.Reader, Fingerprints: []sdp.Fingerprint{{Hash: f.Algorithm, Value: f.Value}}})
		must(err)
		p, err := peer.New(peer.Config{DTLS: &dtls.Config{Entropy: rand.Reader, Certificate: cert, SRTPProfiles: dtls.DefaultSRTPProfiles()}, Entropy: rand.Reader})
		must(err)
		r.ends[i] = &parleyEnd{p, s, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(5000+i)), 0}
	}
	_, err := r.ends[0].session.AddTransceiver("video", jsep.TransceiverInit{Track: "v", AddTrack: true})
	must(err)
	apply := func(e *parleyEnd, c jsep.Changes, err error) {
		must(err)
		must(e.Apply(r.now, c.Transports, c.Media, c.Data))
		for _, t := range e.session.RemoteCandidates() {
			e.AddRemote(r.now, t)
		}
	}
	setLocal := func(e *parleyEnd, kind jsep.Type) jsep.Description {
		c, err := e.session.SetLocal(jsep.Description{Type: kind})
		apply(e, c, err)
		for _, t := range c.Transports {
			if c, ok := e.AddLocalCandidate(r.now, t.ID, ice.Candidate{Type: ice.Host, Address: e.address}); ok {
				e.session.AddLocalCandidate(t.ID, t.Local.Ufrag, c.SDP())
			}
			e.EndOfLocalCandidates(r.now, t.ID)
		}
		return e.session.Local()
	}
	offer := setLocal(r.ends[0], jsep.Offer)
	c, err := r.ends[1].session.SetRemote(offer)
	apply(r.ends[1], c, err)
	answer := setLocal(r.ends[1], jsep.Answer)
	c, err = r.ends[0].session.SetRemote(answer)
	apply(r.ends[0], c, err)
	for range 200 {
		r.turn(0)
		r.turn(1)
		r.now = r.now.Add(time.Millisecond)
	}
	x := r.ends[0].Sender("0")
	if x == nil {
		tb.Fatal("there is no section that sends")
	}
	x.SetEncoding(r.now, 0, session.EncodingParameters{Active: true, MaxBitrate: 80_000_000})
	r.p = session.Packet{PayloadType: 96, Payload: make([]byte, x.MaxPayload(0))}
	for r.rate() < 70_000_000 { // until the estimate is up
		r.flow(tb, 1000)
	}
	return r
}

func (r *parleyPair) rate() int {
	b, _ := r.ends[0].Transport(1).Session().Bandwidth()
	return int(b.Target)
}

// turn hands over what an end has to send.
func (r *parleyPair) turn(from int) {
	e, to := r.ends[from], r.ends[1-from]
	if e.NextTimeout() <= r.now {
		e.HandleTimeout(r.now)
	}
	for j, ok := e.NextJob(); ok; j, ok = e.NextJob() {
		j.Run()
		e.JobDone(r.now, j)
	}
	for _, ok := e.NextEvent(); ok; _, ok = e.NextEvent() {
	}
	for more := true; more; {
		r.batch.Reset()
		more = e.AppendTransmit(r.now, r.batch)
		for _, t := range r.batch.Transmits() {
			size := len(t.Payload)
			if t.SegmentSize > 0 {
				size = int(t.SegmentSize)
			}
			for p := t.Payload; len(p) > 0; p = p[min(size, len(p)):] {
				to.HandleDatagram(r.now, &pkt.Datagram{Path: pkt.Path{Local: t.Remote, Remote: t.Local}, Payload: p[:min(size, len(p))]})
				for x, ok := to.NextPacket(); ok; x, ok = to.NextPacket() {
					if !x.Repaired {
						to.got++
					}
				}
			}
		}
	}
}

// perTurn packets go in one turn: at 64 Mbit/s these are 2.4 ms.
const perTurn = 16

func (r *parleyPair) flow(tb testing.TB, n int) {
	sender := r.ends[0].Sender("0")
	for sent, until := 0, r.ends[1].got+n; r.ends[1].got < until; {
		for i := 0; i < perTurn && sent < n; i++ {
			r.p.Timestamp += 13
			if err := sender.Send(r.now, 0, &r.p); errors.Is(err, session.ErrFull) {
				break
			} else if err != nil {
				tb.Fatal(err)
			}
			sent++
		}
		r.turn(0)
		r.turn(1)
		r.now = r.now.Add(perTurn * 150 * time.Microsecond)
	}
}

func (r *parleyPair) close() {}

// pionPair is SRTP sessions with the chain of interceptors that a PeerConnection of Pion's has by default, and the numbers that its
// feedback needs, over a wire in memory; and if so wished with what Pion has of congestion control, which is to be asked for.
type pionPair struct {
	write    interceptor.RTPWriter
	header   pionrtp.Header
	payload  []byte
	arrived  chan int // packets read since
	closers  []io.Closer
	sessions []*pionsrtp.SessionSRTP
}

func pionChain(tb testing.TB, control bool) interceptor.Interceptor {
	r := &interceptor.Registry{}
	add := func(f interceptor.Factory, err error) {
		if err != nil {
			tb.Fatal(err)
		}
		r.Add(f)
	}
	responder, err := nack.NewResponderInterceptor()
	add(responder, err)
	generator, err := nack.NewGeneratorInterceptor()
	add(generator, err)
	receiver, err := report.NewReceiverInterceptor()
	add(receiver, err)
	sender, err := report.NewSenderInterceptor()
	add(sender, err)
	feedback, err := twcc.NewSenderInterceptor()
	add(feedback, err)
	if control {
		control, err := cc.NewInterceptor(func() (cc.BandwidthEstimator, error) {
			return gcc.NewSendSideBWE(gcc.SendSideBWEInitialBitrate(400_000_000), gcc.SendSideBWEMinBitrate(400_000_000), gcc.SendSideBWEMaxBitrate(400_000_000))
		})
		add(control, err)
	}
	numbers, err := twcc.NewHeaderExtensionInterceptor()
	add(numbers, err)
	i, err := r.Build("")
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

func newPionPair(tb testing.TB, control bool) *pionPair {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	keys := pionsrtp.SessionKeys{LocalMasterKey: make([]byte, 16), LocalMasterSalt: make([]byte, 12), RemoteMasterKey: make([]byte, 16), RemoteMasterSalt: make([]byte, 12)}
	cfg := &pionsrtp.Config{Keys: keys, Profile: pionsrtp.ProtectionProfileAeadAes128Gcm}
	a, b := newMemory()
	ca, cb := newMemory()
	out, err := pionsrtp.NewSessionSRTP(a, cfg)
	must(err)
	in, err := pionsrtp.NewSessionSRTP(b, cfg)
	must(err)
	controlA, err := pionsrtp.NewSessionSRTCP(ca, cfg)
	must(err)
	controlB, err := pionsrtp.NewSessionSRTCP(cb, cfg)
	must(err)
	r := &pionPair{payload: make([]byte, 1170), arrived: make(chan int, 1024), sessions: []*pionsrtp.SessionSRTP{out, in}}
	r.header = pionrtp.Header{Version: 2, PayloadType: 96, SSRC: 7}
	const ssrc = 7
	info := &interceptor.StreamInfo{
		SSRC: ssrc, PayloadType: 96, ClockRate: 90000, MimeType: "video/VP8",
		RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{URI: rtp.URITransportSequence, ID: 3}},
		RTCPFeedback:        []interceptor.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "transport-cc"}},
	}

	// The sender.
	chain := pionChain(tb, control)
	r.closers = append(r.closers, chain)
	stream, err := out.OpenWriteStream()
	must(err)
	r.write = chain.BindLocalStream(info, interceptor.RTPWriterFunc(func(h *pionrtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		return stream.WriteRTP(h, payload)
	}))
	r.control(tb, chain, controlA, ssrc)

	// The receiver.
	chain = pionChain(tb, false)
	r.closers = append(r.closers, chain)
	r.control(tb, chain, controlB, ssrc)
	go func() {
		from, _, err := in.AcceptStream()
		if err != nil {
			return
		}
		reader := chain.BindRemoteStream(info, interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
			n, err := from.Read(b)
			return n, a, err
		}))
		buf, n := make([]byte, 1500), 0
		for {
			if _, _, err := reader.Read(buf, interceptor.Attributes{}); err != nil {
				return
			}
			if n++; n%perTurn == 0 {
				r.arrived <- perTurn
			}
		}
	}()
	return r
}

// control joins a chain with a session of SRTCP, both ways.
func (r *pionPair) control(tb testing.TB, chain interceptor.Interceptor, s *pionsrtp.SessionSRTCP, ssrc uint32) {
	r.closers = append(r.closers, s)
	out, err := s.OpenWriteStream()
	if err != nil {
		tb.Fatal(err)
	}
	chain.BindRTCPWriter(interceptor.RTCPWriterFunc(func(pkts []pionrtcp.Packet, _ interceptor.Attributes) (int, error) {
		b, err := pionrtcp.Marshal(pkts)
		if err != nil {
			return 0, err
		}
		return out.Write(b)
	}))
	in, err := s.OpenReadStream(ssrc)
	if err != nil {
		tb.Fatal(err)
	}
	reader := chain.BindRTCPReader(interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, err := in.Read(b)
		return n, a, err
	}))
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := reader.Read(buf, interceptor.Attributes{}); err != nil {
				return
			}
		}
	}()
}

// flow keeps at most 64 packets under way, as the buffers of Pion's streams drop what is more than they hold.
func (r *pionPair) flow(tb testing.TB, n int) {
	n = (n + perTurn - 1) / perTurn * perTurn
	for sent, got := 0, 0; got < n; {
		for ; sent < n && sent-got < 64; sent++ {
			r.header.SequenceNumber++
			r.header.Timestamp += 13
			h := r.header
			if _, err := r.write.Write(&h, r.payload, interceptor.Attributes{}); err != nil {
				tb.Fatal(err)
			}
		}
		select {
		case k := <-r.arrived:
			got += k
		case <-time.After(need.Patience):
			tb.Fatalf("%d of %d packets came", got, n)
		}
	}
}

func (r *pionPair) close() {
	for _, c := range r.closers {
		_ = c.Close()
	}
	for _, s := range r.sessions {
		_ = s.Close()
	}
}

// memory is one end of a wire that keeps datagrams in order: a queue of buffers that are used again.
type memory struct {
	mu     sync.Mutex
	come   sync.Cond
	queue  [][]byte
	free   [][]byte
	closed bool
	other  *memory
}

func newMemory() (a, b *memory) {
	a, b = &memory{}, &memory{}
	a.come.L, b.come.L = &a.mu, &b.mu
	a.other, b.other = b, a
	return a, b
}

func (m *memory) Write(b []byte) (int, error) {
	o := m.other
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, net.ErrClosed
	}
	var buf []byte
	if n := len(o.free); n > 0 {
		buf, o.free = o.free[n-1], o.free[:n-1]
	}
	o.queue = append(o.queue, append(buf[:0], b...))
	o.come.Signal()
	return len(b), nil
}

func (m *memory) Read(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) == 0 {
		if m.closed {
			return 0, io.EOF
		}
		m.come.Wait()
	}
	n := copy(b, m.queue[0])
	m.free = append(m.free, m.queue[0])
	m.queue = m.queue[:copy(m.queue, m.queue[1:])]
	return n, nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.come.Broadcast()
	return nil
}

func (m *memory) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (m *memory) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

func mediaPairs() map[string]func(tb testing.TB) mediaPair {
	return map[string]func(tb testing.TB) mediaPair{
		"Parley":                            func(tb testing.TB) mediaPair { return newParleyPair(tb) },
		"Pion":                              func(tb testing.TB) mediaPair { return newPionPair(tb, false) },
		"Pion, with its congestion control": func(tb testing.TB) mediaPair { return newPionPair(tb, true) },
	}
}

func TestMediaPairs(t *testing.T) {
	for name, start := range mediaPairs() {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			defer p.close()
			p.flow(t, 2000)
		})
	}
}

// BenchmarkPeer is what one packet of 1200 bytes costs both ends, from the one program that gives it to the other that takes it, without
// sockets: SRTP (AES-128-GCM), reports, NACK, feedback for congestion control, and with Parley congestion control itself, with pacing.
func BenchmarkPeer(b *testing.B) {
	for _, name := range []string{"Parley", "Pion", "Pion, with its congestion control"} {
		b.Run(name, func(b *testing.B) {
			p := mediaPairs()[name](b)
			defer p.close()
			p.flow(b, 20_000)
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu()
			p.flow(b, b.N)
			b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the time that the process has had, on all processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
