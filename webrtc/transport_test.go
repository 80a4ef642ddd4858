package webrtc

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/turn"
)

const turnAddress = "198.51.100.1"

// turnServer runs a STUN and TURN server in the middle of the world, and returns the roots of its certificate.
func (w *world) turnServer() *tls.Config {
	w.Helper()
	host := simloop.New(w.net.Internet().Host("turn", simnet.Path{}, turnAddress))
	addr := netip.MustParseAddr(turnAddress)
	s, err := simloop.ServeTURN(host, turn.Config{
		Entropy: rand.Reader, Public: true, Users: []turn.User{{Name: "alice", Password: "wonderland"}},
		Relay: []netip.Addr{addr}, Own: []netip.Addr{addr},
	})
	w.check(err)
	w.Cleanup(s.Close)
	now := time.Now()
	c, err := dtls.GenerateCertificate(rand.Reader, now.Add(-time.Hour), now.Add(24*time.Hour))
	w.check(err)
	leaf, err := x509.ParseCertificate(c.Chain[0])
	w.check(err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	w.check(s.UDP(netip.AddrPortFrom(addr, 3478)))
	w.check(s.TCP(netip.AddrPortFrom(addr, 3478), nil))
	w.check(s.TCP(netip.AddrPortFrom(addr, 5349), &tls.Config{Certificates: []tls.Certificate{{Certificate: c.Chain, PrivateKey: c.PrivateKey}}}))
	// A self-signed certificate without a name: only this test's verification takes it.
	return &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
		peer, err := x509.ParseCertificate(raw[0])
		if err == nil && !peer.Equal(leaf) {
			err = x509.UnknownAuthorityError{Cert: peer}
		}
		return err
	}}
}

// iceTransportPolicy "relay": nothing but relayed candidates is told or used, over each way to the server.
func TestRelayOnly(t *testing.T) {
	for url, protocol := range map[string]string{
		"turn:" + turnAddress: "udp", "turn:" + turnAddress + "?transport=tcp": "tcp", "turns:" + turnAddress: "tls",
	} {
		t.Run(protocol, func(t *testing.T) {
			inWorld(t, func(w *world) {
				trust := w.turnServer()
				n, m := w.network(w.a, NetworkConfig{TLS: trust, Proxy: "none"}), w.network(w.b, NetworkConfig{TLS: trust, Proxy: "none"})
				cfg := Configuration{ICETransportPolicy: ICETransportPolicyRelay, ICEServers: []ICEServer{{URLs: []string{url}, Username: "alice", Credential: "wonderland"}}}
				a, b := w.connection(n, cfg), w.connection(m, cfg)
				x, err := a.CreateDataChannel("x", nil)
				w.check(err)
				open, remote := make(chan struct{}), make(chan *DataChannel, 1)
				x.OnOpen(func() { close(open) })
				b.OnDataChannel(func(ch *DataChannel) { remote <- ch })
				start := time.Now()
				w.negotiate(a, b)
				await(w, open, "the channel opening")
				y := await(w, remote, "the channel at the peer")
				t.Logf("open after %v", time.Since(start))
				pair := a.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
				if pair == nil || pair.Local.Type() != "relay" || pair.Local.Address() != turnAddress || pair.Local.RelayProtocol() != protocol || pair.Local.URL() == "" {
					t.Fatalf("the selected pair is %+v", pair.Local)
				}
				for l := range strings.SplitSeq(a.LocalDescription().SDP, "\r\n") {
					if strings.HasPrefix(l, "a=candidate:") && !strings.Contains(l, " typ relay raddr 0.0.0.0 ") {
						t.Errorf("the description has %q", l)
					}
				}
				go func() {
					for range 15 {
						w.check(x.SendContext(context.Background(), make([]byte, 60_000)))
					}
				}()
				for range 15 {
					m, err := y.Receive(context.Background())
					if w.check(err); len(m.Data) != 60_000 {
						t.Errorf("%d bytes came", len(m.Data))
					}
				}
			})
		})
	}
}

// icecandidateerror: a server that does not answer, and credentials that it does not take.
func TestEventICECandidateError(t *testing.T) {
	inWorld(t, func(w *world) {
		w.turnServer()
		a := w.connection(w.a, Configuration{ICEServers: []ICEServer{
			{URLs: []string{"stun:198.51.100.77:3478"}}, {URLs: []string{"turn:" + turnAddress}, Username: "alice", Credential: "wrong"},
		}})
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		errs := make(chan *ICECandidateError, 10)
		a.OnICECandidateError(func(e *ICECandidateError) { errs <- e })
		w.check(a.SetLocalDescription(nil))
		w.check(a.GatheringComplete(context.Background()))
		synctest.Wait()
		seen := map[int]*ICECandidateError{}
		for len(errs) > 0 {
			e := <-errs
			seen[e.ErrorCode] = e
		}
		if e := seen[701]; e == nil || e.URL != "stun:198.51.100.77:3478" || e.ErrorText == "" {
			t.Errorf("of the server that does not answer it is said %+v", e)
		}
		if e := seen[401]; e == nil || e.URL != "turn:"+turnAddress || e.Address != "203.0.113.1" || e.Port == 0 {
			t.Errorf("of the wrong credentials it is said %+v", e)
		}
	})
}

// "RTCIceConnectionState", "RTCPeerConnectionState", "RTCIceGatheringState": which states of transports make which state of
// the connection.
func TestStateTables(t *testing.T) {
	type transport struct {
		ice  ICETransportState
		dtls DTLSTransportState
	}
	for _, c := range []struct {
		transports []transport
		ice        ICEConnectionState
		connection PeerConnectionState
	}{
		{nil, "new", "new"},
		{[]transport{{"new", "new"}}, "new", "new"},
		{[]transport{{"new", "new"}, {"closed", "closed"}}, "new", "new"},
		{[]transport{{"checking", "new"}}, "checking", "connecting"},
		{[]transport{{"new", "new"}, {"connected", "connected"}}, "checking", "connecting"},
		{[]transport{{"connected", "new"}}, "connected", "connecting"},
		{[]transport{{"connected", "connecting"}}, "connected", "connecting"},
		{[]transport{{"connected", "connected"}}, "connected", "connected"},
		{[]transport{{"connected", "connected"}, {"completed", "connected"}}, "connected", "connected"},
		{[]transport{{"completed", "connected"}, {"closed", "closed"}}, "completed", "connected"},
		{[]transport{{"completed", "closed"}}, "completed", "connected"},
		{[]transport{{"disconnected", "connected"}, {"completed", "connected"}}, "disconnected", "disconnected"},
		{[]transport{{"disconnected", "connected"}, {"failed", "connected"}}, "failed", "failed"},
		{[]transport{{"connected", "failed"}}, "connected", "failed"},
	} {
		var list []*DTLSTransport
		for _, s := range c.transports {
			x := &DTLSTransport{}
			x.ice.state.Store(&iceState{state: s.ice, gathering: ICEGathererStateNew})
			x.state.Store(&dtlsState{state: s.dtls})
			list = append(list, x)
		}
		if _, i, p := aggregate(list); i != c.ice || p != c.connection {
			t.Errorf("%v make %s and %s, not %s and %s", c.transports, i, p, c.ice, c.connection)
		}
	}
	for _, c := range []struct {
		transports []ICEGathererState
		want       ICEGatheringState
	}{
		{[]ICEGathererState{"new"}, "new"}, {[]ICEGathererState{"new", "complete"}, "new"}, {[]ICEGathererState{"complete", "complete"}, "complete"},
		{[]ICEGathererState{"complete", "gathering"}, "gathering"}, {[]ICEGathererState{"new", "gathering"}, "gathering"},
	} {
		var list []*DTLSTransport
		for _, s := range c.transports {
			x := &DTLSTransport{}
			x.ice.state.Store(&iceState{state: ICETransportStateNew, gathering: s})
			x.state.Store(&dtlsState{state: DTLSTransportStateNew})
			list = append(list, x)
		}
		if g, _, _ := aggregate(list); g != c.want {
			t.Errorf("%v make %s, not %s", c.transports, g, c.want)
		}
	}
}

// A path that dies is disconnected and then failed; an ICE restart brings the connection back, with everything that was sent
// meanwhile.
func TestLostConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		states := make(chan PeerConnectionState, 10)
		a.OnConnectionStateChange(func(s PeerConnectionState) { states <- s })
		synctest.Wait()
		for len(states) > 0 {
			<-states
		}
		w.hostA.Link().Set(simnet.Path{Loss: 1})
		if s := await(w, states, "disconnected"); s != PeerConnectionStateDisconnected {
			t.Errorf("the state is %s", s)
		}
		if s := await(w, states, "failed"); s != PeerConnectionStateFailed || a.ICEConnectionState() != ICEConnectionStateFailed {
			t.Errorf("the state is %s", s)
		}
		w.check(x.SendText("late"))
		w.hostA.Link().Set(simnet.Path{Delay: 10 * time.Millisecond})
		a.RestartICE()
		w.negotiate(a, b)
		m, err := y.Receive(context.Background())
		if w.check(err); m.Text() != "late" {
			t.Errorf("%q came", m.Text())
		}
		if a.ConnectionState() != PeerConnectionStateConnected || x.ReadyState() != DataChannelStateOpen {
			t.Errorf("the states are %s and %s", a.ConnectionState(), x.ReadyState())
		}
	})
}

// An interface that goes takes its path with it, and the connection moves to another one without an offer.
func TestLostInterface(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hostA.Attach(w.net.Internet(), simnet.Path{Delay: 10 * time.Millisecond}, "203.0.113.11")
		a, _, x, y := w.connect(Configuration{}, nil)
		transport := a.SCTP().Transport().ICETransport()
		time.Sleep(6 * time.Second)
		used := transport.GetSelectedCandidatePair().Local.Address()
		w.hostA.Lose(used)
		w.check(x.SendText("still here"))
		m, err := y.Receive(context.Background())
		if w.check(err); m.Text() != "still here" {
			t.Errorf("%q came", m.Text())
		}
		if now := transport.GetSelectedCandidatePair(); now == nil || now.Local.Address() == used {
			t.Errorf("the pair is %+v", now)
		}
		if a.SignalingState() != SignalingStateStable {
			t.Error("an offer was made")
		}
	})
}

// gatheringstatechange of the transport goes along with that of the connection, again after a restart.
func TestTransportGatheringState(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, _, _ := w.connect(Configuration{}, nil)
		var states []ICEGathererState
		transport := a.SCTP().Transport().ICETransport()
		transport.OnGatheringStateChange(func(s ICEGathererState) { states = append(states, s) })
		a.RestartICE()
		w.negotiate(a, b)
		w.check(a.GatheringComplete(context.Background()))
		synctest.Wait()
		if want := []ICEGathererState{"gathering", "complete", "gathering", "complete"}; !slices.Equal(states, want) {
			t.Errorf("the states were %q, not %q", states, want)
		}
	})
}

// A peer that is not who its description promised: DTLS fails with fingerprint-failure, and nothing gets through.
func TestFingerprintMismatch(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		x.OnOpen(func() { t.Error("the channel was opened") })
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		forged := *b.LocalDescription()
		ours := strings.ToUpper(a.GetConfiguration().Certificates[0].GetFingerprints()[0].Value)
		theirs := strings.ToUpper(b.GetConfiguration().Certificates[0].GetFingerprints()[0].Value)
		forged.SDP = strings.ReplaceAll(forged.SDP, theirs, ours)
		w.check(a.SetRemoteDescription(forged))
		w.trickle(a, b)
		failed := make(chan *Error, 1)
		a.SCTP().Transport().OnError(func(e *Error) { failed <- e })
		if e := await(w, failed, "the error"); e.Name != OperationError || e.Detail != FingerprintFailure {
			t.Errorf("the error is %+v", e)
		}
		synctest.Wait()
		if a.ConnectionState() != PeerConnectionStateFailed || a.SCTP().Transport().State() != DTLSTransportStateFailed || x.ReadyState() == DataChannelStateOpen {
			t.Errorf("the states are %s, %s and %s", a.ConnectionState(), a.SCTP().Transport().State(), x.ReadyState())
		}

		// With a restart both ask for a new association of DTLS by their tls-ids (RFC 8842 section 3.1), and "an SCTP association has
		// not yet been established" (RFC 8841 sections 10.3 and 10.4), so one is now.
		was := [...]string{tlsID(t, a.LocalDescription()), tlsID(t, a.RemoteDescription())}
		y, err := a.CreateDataChannel("y", nil)
		w.check(err)
		open := make(chan struct{})
		y.OnOpen(func() { close(open) })
		a.RestartICE()
		w.negotiate(a, b)
		if now := [...]string{tlsID(t, a.LocalDescription()), tlsID(t, a.RemoteDescription())}; now[0] == was[0] || now[1] == was[1] {
			t.Errorf("the tls-ids are %q, and were %q", now, was)
		}
		await(w, open, "a channel on a new association")
		if a.ConnectionState() != PeerConnectionStateConnected || a.SCTP().State() != SCTPTransportStateConnected {
			t.Errorf("the states are %s and %s", a.ConnectionState(), a.SCTP().State())
		}
	})
}

func tlsID(t *testing.T, d *SessionDescription) string {
	t.Helper()
	_, after, ok := strings.Cut(d.SDP, "a=tls-id:")
	id, _, _ := strings.Cut(after, "\r\n")
	if !ok || len(id) < 20 { // "20*255(tls-id-char)"
		t.Fatalf("no tls-id in %s", d.SDP)
	}
	return id
}

// An association that was established and has ended is not established anew with the same ports: "New (different than the ones currently
// used) SCTP ports MUST be used by both endpoints" (RFC 8841 section 9.3).
func TestNoSecondAssociation(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, _ := w.connect(Configuration{}, nil)
		closed := make(chan struct{})
		x.OnClose(func() { close(closed) })
		w.check(b.loop.Do(func(mono.Time) {
			b.peer.Association().Abort("for the test")
			b.lease.Touch()
		}))
		await(w, closed, "the channel's close")
		was := a.SCTP()
		a.RestartICE()
		w.negotiate(a, b)
		time.Sleep(10 * time.Second)
		for _, pc := range []*PeerConnection{a, b} {
			if pc.SCTP().State() != SCTPTransportStateClosed || pc.ConnectionState() != PeerConnectionStateConnected {
				t.Errorf("the states are %s and %s", pc.SCTP().State(), pc.ConnectionState())
			}
		}
		if a.SCTP() != was {
			t.Error("there is another SCTPTransport")
		}
	})
}

// maxMessageSize is what the peer announces: 65536 if it says nothing, and what can be buffered if it says 0.
func TestMaxMessageSize(t *testing.T) {
	for line, want := range map[string]uint64{"a=max-message-size:1000": 1000, "a=max-message-size:0": maxBuffered, "": 65536} {
		inWorld(t, func(w *world) {
			a, b := w.pair(Configuration{})
			_, err := a.CreateDataChannel("x", nil)
			w.check(err)
			w.check(a.SetLocalDescription(nil))
			w.check(b.SetRemoteDescription(*a.LocalDescription()))
			w.check(b.SetLocalDescription(nil))
			d := *b.LocalDescription()
			d.SDP = without(d.SDP, "a=max-message-size")
			if line != "" {
				d.SDP += line + "\r\n"
			}
			w.check(a.SetRemoteDescription(d))
			if n := a.SCTP().MaxMessageSize(); n != want {
				t.Errorf("with %q the limit is %d, not %d", line, n, want)
			}
		})
	}
}

// How long it takes from the moment that both sides have both descriptions until a channel is open on both, where each host
// is 10 ms from the middle: 250 ms at most directly, 350 ms over a relay.
func TestTimeToOpen(t *testing.T) {
	for _, c := range []struct {
		name  string
		url   string
		limit time.Duration
	}{
		{"direct", "", 250 * time.Millisecond},
		{"relayed over udp", "turn:" + turnAddress, 350 * time.Millisecond},
		{"relayed over tls", "turns:" + turnAddress, 400 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				cfg, trust := Configuration{}, w.turnServer()
				if c.url != "" {
					cfg = Configuration{ICETransportPolicy: ICETransportPolicyRelay, ICEServers: []ICEServer{{URLs: []string{c.url}, Username: "alice", Credential: "wonderland"}}}
				}
				w.a, w.b = w.network(w.a, NetworkConfig{TLS: trust, Proxy: "none"}), w.network(w.b, NetworkConfig{TLS: trust, Proxy: "none"})
				start := time.Now() // no virtual time passes while descriptions are exchanged
				w.connect(cfg, nil)
				took := time.Since(start)
				t.Logf("open on both sides after %v", took)
				if took > c.limit {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
