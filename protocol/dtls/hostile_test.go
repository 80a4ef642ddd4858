package dtls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Somebody on the path changes one byte of one handshake message, each time it comes by. Whatever the byte, the two sides
// never both believe that they are connected with different views; and nothing panics.
func TestAlteredHandshake(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, side := range []string{"client", "server"} {
			for typ := range handshakeNames {
				seen := 0
				for at := 0; at < 600; at = next(at) {
					p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
					altered := false
					p.filter = func(from *end, b []byte) [][]byte {
						if from.name != side {
							return [][]byte{b}
						}
						for _, r := range recordsOf(b) {
							if contentType(r[0]) == typeHandshake && r[4] == 0 && handshakeType(r[plainHeader]) == typ &&
								plainHeader+messageHeader+at < len(r) {
								r[plainHeader+messageHeader+at] ^= 0x10
								altered = true
							}
						}
						return [][]byte{b}
					}
					connected := p.runUntil(40*time.Second, func() bool { return p.bothConnected() || p.client.closed+p.server.closed > 0 })
					if altered {
						seen++
						if connected && p.bothConnected() {
							t.Errorf("%v: %s's %v altered at byte %d: both connected", v, side, typ, at)
						}
					}
					if !altered {
						break
					}
				}
				if typ == clientHelloType && side == "client" && seen < 20 {
					t.Errorf("%v: only %d bytes of the ClientHello were altered", v, seen)
				}
			}
		}
	}
}

// next visits every byte at the beginning of a message, and a few of the rest.
func next(at int) int {
	if at < 48 {
		return at + 1
	}
	return at + 37
}

// One protected record of each flight is altered once: it is dropped as forged, and retransmission repairs it (RFC 9147
// section 4.5.2).
func TestAlteredRecordIsRepaired(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, side := range []string{"client", "server"} {
			p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
			done := 0
			p.filter = func(from *end, b []byte) [][]byte {
				for _, r := range recordsOf(b) {
					if from.name == side && done < 3 && (r[0]&unifiedMask == unifiedBits || r[4] > 0) {
						r[len(r)-1] ^= 1
						done++
					}
				}
				return [][]byte{b}
			}
			p.connect()
			p.exchange(1)
			if forged := p.other(map[string]*end{"client": p.client, "server": p.server}[side]).Stats().Forged; done == 0 || forged == 0 {
				t.Errorf("%v, %s: %d altered, %d forged", v, side, done, forged)
			}
		}
	}
}

// RFC 8446 section 4.1.3: a client that offers 1.3 and gets 1.2 from a server that speaks 1.3 was tampered with.
func TestDowngradeIsNoticed(t *testing.T) {
	p := newPair(t, configOf(t, "client", 1), configOf(t, "server", 1))
	p.filter = func(from *end, b []byte) [][]byte {
		if from == p.client {
			// 1.3 becomes a version that nobody knows.
			b = bytes.ReplaceAll(b, []byte{0, byte(extSupportedVersions), 0, 5, 4, 0xfe, 0xfc}, []byte{0, byte(extSupportedVersions), 0, 5, 4, 0xfe, 0xf0})
		}
		return [][]byte{b}
	}
	p.runUntil(time.Minute, p.bothClosed)
	if e, ok := p.client.err.(*Error); !ok || e.Alert != AlertIllegalParameter || !strings.Contains(e.Reason, "1.3") {
		t.Errorf("the client: %v", p.client.err)
	}

	// And so the other way round: what speaks 1.2 only is no downgrade.
	for _, c := range [][2]bool{{true, false}, {false, true}} {
		client, server := configOf(t, "client", 1), configOf(t, "server", 1)
		if c[0] {
			only(client, Version12)
		}
		if c[1] {
			only(server, Version12)
		}
		p := newPair(t, client, server)
		p.connect()
		p.checkAgreement()
		if s := p.client.State(); s.Version != Version12 {
			t.Errorf("negotiated %+v", s)
		}
	}
}

// Where nothing is in common both sides end, and say so: the one that noticed by its alert, the other by the peer's.
func TestNothingInCommon(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(client, server *Config)
		want   Alert
	}{
		{"version", func(c, s *Config) { only(c, Version13); only(s, Version12) }, AlertProtocolVersion},
		{"version, the other way", func(c, s *Config) { only(c, Version12); only(s, Version13) }, AlertProtocolVersion},
		{"suite of 1.3", func(c, s *Config) {
			only(c, Version13).CipherSuites = []CipherSuite{AES128GCM}
			only(s, Version13).CipherSuites = []CipherSuite{ChaCha20Poly1305}
		}, AlertHandshakeFailure},
		{"suite of 1.2", func(c, s *Config) {
			only(c, Version12).CipherSuites = []CipherSuite{ECDHE_ECDSA_AES128GCM}
			only(s, Version12).CipherSuites = []CipherSuite{ECDHE_ECDSA_AES256GCM}
		}, AlertHandshakeFailure},
		{"certificate's kind in 1.2", func(c, s *Config) {
			only(c, Version12).CipherSuites = []CipherSuite{ECDHE_RSA_AES128GCM}
			only(s, Version12)
		}, AlertHandshakeFailure},
		{"group of 1.3", func(c, s *Config) {
			only(c, Version13).Groups = []Group{P256}
			only(s, Version13).Groups = []Group{P384}
		}, AlertHandshakeFailure},
		{"group of 1.2", func(c, s *Config) {
			only(c, Version12).Groups = []Group{P256}
			only(s, Version12).Groups = []Group{P384}
		}, AlertHandshakeFailure},
		{"application protocol in 1.3", func(c, s *Config) {
			only(c, Version13).ALPN = []string{"webrtc"}
			only(s, Version13).ALPN = []string{"c-webrtc"}
		}, AlertNoApplicationProtocol},
		{"application protocol in 1.2", func(c, s *Config) {
			only(c, Version12).ALPN = []string{"webrtc"}
			only(s, Version12).ALPN = []string{"c-webrtc"}
		}, AlertNoApplicationProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := configOf(t, "client", 1), configOf(t, "server", 1)
			c.change(client, server)
			p := newPair(t, client, server)
			if !p.runUntil(time.Minute, p.bothClosed) {
				t.Fatal("not closed")
			}
			s, ok := p.server.err.(*Error)
			if !ok || s.Alert != c.want || s.Fault != FaultPeer || s.Received {
				t.Errorf("the server: %v", p.server.err)
			}
			if e, ok := p.client.err.(*Error); !ok || e.Alert != c.want || !e.Received {
				t.Errorf("the client: %v", p.client.err)
			}
		})
	}
}

// No SRTP profile in common is no failure of the handshake (RFC 5764 section 4.1.1); the caller sees it in the State.
func TestNoSRTPProfileInCommon(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newConnected(t, v, func(client, server *Config) {
			client.SRTPProfiles = []SRTPProfile{SRTP_AEAD_AES_128_GCM}
			server.SRTPProfiles = []SRTPProfile{SRTP_AES128_CM_HMAC_SHA1_80}
		})
		if p.client.State().SRTPProfile != 0 || p.server.State().SRTPProfile != 0 {
			t.Errorf("%v: %v", v, p.client.State())
		}
		p = newConnected(t, v, func(client, server *Config) { // the server's order decides
			server.SRTPProfiles = []SRTPProfile{SRTP_AES128_CM_HMAC_SHA1_80, SRTP_AEAD_AES_128_GCM}
		})
		if p.client.State().SRTPProfile != SRTP_AES128_CM_HMAC_SHA1_80 {
			t.Errorf("%v: %v", v, p.client.State())
		}
	}
}

// The caller refuses the certificate: at once or later, nothing but the handshake was handed up, and the peer is told.
func TestRefusedCertificate(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, side := range []string{"client", "server"} {
			p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
			e := map[string]*end{"client": p.client, "server": p.server}[side]
			o := p.other(e)
			e.hold = true
			p.runUntil(2*time.Second, func() bool { return o.connected == 1 })
			if o.connected == 1 {
				p.sendData(o, "too early")
			}
			p.idle(40 * time.Second) // later than any handshake's timeout
			if len(e.certs) == 0 || e.connected > 0 || len(e.data) > 0 {
				t.Fatalf("%v %s: before the verdict: certificates %d, connected %d, data %q", v, side, len(e.certs), e.connected, e.data)
			}
			if _, err := e.AppendRecord(nil, []byte("x")); err != ErrNotConnected {
				t.Errorf("AppendRecord before the verdict: %v", err)
			}
			if _, err := e.Export("x", nil, 1); err != ErrNotConnected {
				t.Errorf("Export before the verdict: %v", err)
			}
			wrong := Fingerprint{"sha-256", strings.Repeat("00:", 31) + "00"}
			if MatchFingerprint(e.certs[0], []Fingerprint{wrong}) {
				t.Fatal("a wrong fingerprint matches")
			}
			e.Refuse(p.now)
			p.idle(5 * time.Second)
			if x, ok := e.err.(*Error); !ok || x.Fault != FaultLocal || x.Alert != AlertBadCertificate {
				t.Errorf("%v %s: %v", v, side, e.err)
			}
			if x, ok := o.err.(*Error); !ok || !x.Received || x.Alert != AlertBadCertificate {
				t.Errorf("%v the other: %v", v, o.err)
			}
			if e.connected > 0 || len(e.data) > 0 {
				t.Errorf("%v %s: connected %d, data %q after the refusal", v, side, e.connected, e.data)
			}
		}
	}
}

// And accepts it later: what came meanwhile is handed up then.
func TestLateAcceptance(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
		p.server.hold = true
		p.server.Accept(p.now) // before there is a certificate: of no effect
		p.runUntil(2*time.Second, func() bool { return p.client.connected == 1 && len(p.server.certs) > 0 })
		p.sendData(p.client, "early bird")
		p.idle(time.Minute)
		if p.server.connected != 0 {
			t.Fatalf("%v: connected without acceptance", v)
		}
		p.server.Accept(p.now)
		p.idle(time.Second)
		if p.server.connected != 1 || !slices.Equal(p.server.data, []string{"early bird"}) {
			t.Errorf("%v: connected %d, data %q", v, p.server.connected, p.server.data)
		}
		p.exchange(2)
	}
}

// Each record of a connection is delivered at most once (RFC 9147 section 4.5.1).
func TestReplay(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newConnected(t, v, nil)
		var records [][]byte
		for i := range 1000 {
			b, err := p.client.AppendRecord(nil, []byte(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, b)
		}
		deliver := func(i int) {
			p.server.HandleDatagram(p.now, slices.Clone(records[i]))
			p.events(p.server)
		}
		deliver(999)
		for i := 998; i >= 0; i-- { // backwards: the window ends somewhere
			deliver(i)
			deliver(i)
		}
		got := len(p.server.data)
		if got < 449 || got > 513 {
			t.Errorf("%v: %d records within the window", v, got)
		}
		seen := map[string]bool{}
		for _, d := range p.server.data {
			if seen[d] {
				t.Errorf("%v: %q delivered twice", v, d)
			}
			seen[d] = true
		}
		if s := p.server.Stats(); s.Replayed != uint64(2*999-(got-1)) {
			t.Errorf("%v: %d replays counted, want %d", v, s.Replayed, 2*999-(got-1))
		}
	}
}

// Rubbish before, between and after records changes nothing.
func TestRubbish(t *testing.T) {
	random := entropy("rubbish")
	rubbish := func(n int, first byte) []byte {
		b := make([]byte, n)
		random.Read(b)
		b[0] = first
		return b
	}
	for _, v := range []Version{Version12, Version13} {
		p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
		p.filter = func(from *end, b []byte) [][]byte {
			out := [][]byte{}
			for first := 0; first < 256; first += 3 {
				out = append(out, rubbish(1+first%90, byte(first)))
			}
			// Well-formed records of epochs that do not exist, alerts and ACKs that anybody can send.
			out = append(out, plainRecord(typeAlert, 9, []byte{1, 0}), plainRecord(typeAlert, 9, []byte{2, 40}),
				plainRecord(typeACK, 9, []byte{0, 0}), plainRecord(typeChangeCipherSpec, 9, []byte{1}),
				plainRecord(typeHandshake, 9, rubbish(40, 77)), plainRecord(typeData, 9, []byte("not secret")), []byte{})
			for first := byte(0x20); first < 0x40; first++ {
				out = append(out, rubbish(60, first))
			}
			fake := rubbish(80, byte(typeData))
			copy(fake[1:], []byte{0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 3, 0, 67})
			return append(out, fake, append(slices.Clone(b), rubbish(50, 0xff)...))
		}
		p.connect()
		p.checkAgreement()
		p.exchange(3)
		p.runUntil(20*time.Second, func() bool { return false })
		if p.client.closed+p.server.closed > 0 || len(p.client.data) != 3 || len(p.server.data) != 3 {
			t.Errorf("%v: %v %v %q %q", v, p.client.err, p.server.err, p.client.data, p.server.data)
		}
	}
}

// Fragments that lie about their length, overlap, or have no end.
func TestHostileFragments(t *testing.T) {
	hello := firstFlight(t, only(configOf(t, "client", 1), Version12))
	m := recordsOf(hello[0])[0][plainHeader:]
	piece := func(lo, hi int) []byte {
		b := slices.Clone(m[:messageHeader])
		putMessageHeader(b, clientHelloType, 0, len(m)-messageHeader, span{lo, hi})
		return plainRecord(typeHandshake, 1, append(b, m[messageHeader+lo:messageHeader+hi]...))
	}
	body := len(m) - messageHeader
	answered := func(pieces ...[]byte) (*Conn, bool) {
		c := mustNew(t, Server, configOf(t, "server", 1))
		for _, b := range pieces {
			c.HandleDatagram(1, slices.Clone(b))
		}
		c.RunJobs(1)
		return c, len(c.AppendDatagram(nil, 1)) > 0
	}
	if _, ok := answered(piece(0, 50), piece(30, 90), piece(20, 70), piece(80, body), piece(0, 0)); !ok {
		t.Error("overlapping pieces were not put together")
	}
	if _, ok := answered(piece(90, body), piece(0, 50), piece(51, 90)); ok {
		t.Error("a message with a hole was taken")
	}
	truncated := piece(0, body)
	for n := range len(truncated) {
		if _, ok := answered(truncated[:n]); ok {
			t.Fatalf("a record cut to %d bytes was taken", n)
		}
	}
	lie := slices.Clone(piece(0, 50))
	putUint24(lie[plainHeader+1:], 1<<24-1)
	beyond := slices.Clone(piece(0, 50))
	putUint24(beyond[plainHeader+6:], body-10)
	if c, ok := answered(lie, beyond, piece(0, body)); !ok {
		t.Errorf("after lies the true message was not taken: %+v", c.Stats())
	}
	// One that forges a piece of another length does not keep the true one out.
	forged := slices.Clone(piece(0, 50))
	putUint24(forged[plainHeader+1:], 60)
	if c, ok := answered(forged, piece(0, body)); !ok {
		t.Errorf("after a forged piece: %+v", c.Stats())
	}
	// Whatever comes, what is kept has a bound.
	c := mustNew(t, Server, configOf(t, "server", 1))
	for i := range 5000 {
		b := make([]byte, messageHeader+10)
		putMessageHeader(b, clientHelloType, uint16(i%40), 20000+i%3, span{2 * i % 19000, 2*i%19000 + 10})
		c.HandleDatagram(1, plainRecord(typeHandshake, uint64(i), b))
		if c.in.size > inboxBytes || len(c.in.waiting) > inboxAhead {
			t.Fatalf("%d bytes in %d messages are kept", c.in.size, len(c.in.waiting))
		}
	}
}

// RFC 9147 section 5.10: an alert that came protected ends the connection; the order of receipt does not matter.
func TestClose(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newConnected(t, v, nil)
		p.idle(time.Second)
		p.client.Close(p.now)
		p.client.Close(p.now)
		p.idle(time.Second)
		if p.client.closed != 1 || p.server.closed != 1 || p.client.err != nil || p.server.err != nil {
			t.Errorf("%v: client %d %v, server %d %v", v, p.client.closed, p.client.err, p.server.closed, p.server.err)
		}
		if p.client.NextTimeout() != mono.Never || p.server.NextTimeout() != mono.Never {
			t.Errorf("%v: timers run after the end", v)
		}
		if _, err := p.client.AppendRecord(nil, []byte("x")); err != ErrClosed {
			t.Error(err)
		}
		if _, err := p.server.Export("x", nil, 1); err != ErrClosed {
			t.Error(err)
		}
		if s := p.client.secrets; s.read != nil || s.write != nil || s.exporter != nil || len(p.client.reads) > 0 {
			t.Errorf("%v: secrets are kept", v)
		}
		p.server.HandleDatagram(p.now, []byte{22, 0xfe, 0xfd})
		p.server.HandleTimeout(p.now)
		p.events(p.server)
	}
}

// Nobody is told of the end of what nobody knew.
func TestCloseBeforeTheFirstFlight(t *testing.T) {
	for _, r := range []Role{Client, Server} {
		c := mustNew(t, r, configOf(t, "a", 1))
		c.Close(1)
		if b := c.AppendDatagram(nil, 1); len(b) > 0 {
			t.Errorf("%v: %d bytes", r, len(b))
		}
	}
}

// Nothing answers: the handshake ends by itself, and says how.
func TestHandshakeTimeout(t *testing.T) {
	p := newPair(t, configOf(t, "client", 1), configOf(t, "server", 1))
	p.filter = func(*end, []byte) [][]byte { return nil }
	start := p.now
	p.runUntil(time.Minute, func() bool { return p.client.closed > 0 })
	e, ok := p.client.err.(*Error)
	if took := p.now.Sub(start); !ok || e.Fault != FaultNetwork || took != DefaultHandshakeTimeout {
		t.Errorf("%v after %v", p.client.err, took)
	}
	// Without an answer the path is taken to be narrower.
	if p.client.sent < 20 || p.client.largest > DefaultMTU {
		t.Errorf("%d datagrams of up to %d bytes", p.client.sent, p.client.largest)
	}
}

// A forged alert ends a handshake only if nothing else comes.
func TestForgedAlert(t *testing.T) {
	p := newPair(t, configOf(t, "client", 1), configOf(t, "server", 1))
	p.link.delay = 300 * time.Millisecond
	p.settle()
	p.client.HandleDatagram(p.now, plainRecord(typeAlert, 0, []byte{2, byte(AlertHandshakeFailure)}))
	p.connect()

	p = newPair(t, configOf(t, "client", 1), configOf(t, "server", 1))
	p.filter = func(*end, []byte) [][]byte { return nil }
	p.settle()
	p.client.HandleDatagram(p.now, plainRecord(typeAlert, 0, []byte{2, byte(AlertHandshakeFailure)}))
	start := p.now
	p.runUntil(time.Minute, func() bool { return p.client.closed > 0 })
	if e, ok := p.client.err.(*Error); !ok || !e.Received || p.now.Sub(start) != hintPatience {
		t.Errorf("%v after %v", p.client.err, p.now.Sub(start))
	}
}

// A record that claims more than there is ends the reading of its datagram, without harm.
func TestOversizedLengths(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newConnected(t, v, nil)
		b, _ := p.client.AppendRecord(nil, []byte("abc"))
		at := plainHeader - 2
		if v == Version13 {
			at = 3
		}
		binary.BigEndian.PutUint16(b[at:], 0xffff)
		before := p.server.Stats()
		p.server.HandleDatagram(p.now, b)
		if after := p.server.Stats(); after.Malformed != before.Malformed+1 || len(p.server.data) > 0 {
			t.Errorf("%v: %+v", v, after)
		}
		if _, err := p.client.AppendRecord(nil, make([]byte, maxPlaintext+1)); err != ErrTooLong {
			t.Errorf("%v: %v", v, err)
		}
		big := make([]byte, maxPlaintext)
		p.sendData(p.client, string(big))
		p.idle(time.Second)
		if len(p.server.data) != 1 || len(p.server.data[0]) != maxPlaintext {
			t.Errorf("%v: the largest record did not arrive", v)
		}
	}
}
