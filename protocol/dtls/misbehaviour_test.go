package dtls

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// greeted returns a client whose first flight is sent.
func greeted(t *testing.T, change func(*Config)) *Conn {
	t.Helper()
	cfg := configOf(t, "client", 1)
	if change != nil {
		change(cfg)
	}
	c := mustNew(t, Client, cfg)
	c.RunJobs(1)
	for len(c.AppendDatagram(nil, 1)) > 0 {
	}
	return c
}

// A ServerHello that chooses what was not offered, or forgets what must be there, ends the handshake by the alert that the
// RFCs name (RFC 8446 sections 4.1.3 and 4.2, RFC 7627 section 5.2, RFC 5746 section 3.4).
func TestServerHelloThatLies(t *testing.T) {
	share := []keyShare{{X25519, bytes.Repeat([]byte{9}, 32)}}
	hello13 := func() *serverHello {
		return &serverHello{suite: AES128GCM, ext: extensions{versions: []Version{Version13}, shares: share}}
	}
	hello12 := func() *serverHello {
		return &serverHello{suite: ECDHE_ECDSA_AES128GCM, ext: extensions{extendedMasterSecret: true, renegotiationInfo: true}}
	}
	for name, c := range map[string]struct {
		hello  *serverHello
		change func(*serverHello)
		want   Alert
	}{
		"a version unknown":        {hello13(), func(h *serverHello) { h.ext.versions[0] = 0xfefb }, AlertProtocolVersion},
		"1.2 as 1.3 would say it":  {hello12(), func(h *serverHello) { h.ext.versions = []Version{Version12} }, AlertIllegalParameter},
		"a suite unknown":          {hello13(), func(h *serverHello) { h.suite = 0x1304 }, AlertIllegalParameter},
		"a suite of the other one": {hello13(), func(h *serverHello) { h.suite = ECDHE_ECDSA_AES128GCM }, AlertIllegalParameter},
		"a session ID":             {hello13(), func(h *serverHello) { h.sessionID = []byte{1} }, AlertIllegalParameter},
		"no share":                 {hello13(), func(h *serverHello) { h.ext.shares = nil }, AlertMissingExtension},
		"a share of another group": {hello13(), func(h *serverHello) { h.ext.shares = []keyShare{{P384, []byte{4}}} }, AlertIllegalParameter},
		"a share that is none":     {hello13(), func(h *serverHello) { h.ext.shares = []keyShare{{X25519, []byte{4}}} }, AlertIllegalParameter},
		"a share of zeros":         {hello13(), func(h *serverHello) { h.ext.shares = []keyShare{{X25519, make([]byte, 32)}} }, AlertIllegalParameter},
		"an extension not offered": {hello13(), func(h *serverHello) { h.ext.connectionID = []byte("x") }, AlertUnsupportedExtension},
		"a profile":                {hello13(), func(h *serverHello) { h.ext.srtp = []SRTPProfile{7} }, AlertIllegalParameter},
		"groups":                   {hello13(), func(h *serverHello) { h.ext.groups = []Group{X25519} }, AlertIllegalParameter},
		"a retry with a profile": {retryRequest(AES128GCM, P256, nil), func(h *serverHello) { h.ext.srtp = []SRTPProfile{7} },
			AlertIllegalParameter},
		"1.2 without master secret":   {hello12(), func(h *serverHello) { h.ext.extendedMasterSecret = false }, AlertHandshakeFailure},
		"1.2 in a renegotiation":      {hello12(), func(h *serverHello) { h.ext.renegotiated = []byte("old") }, AlertHandshakeFailure},
		"1.2 and the sentinel":        {hello12(), func(h *serverHello) { copy(h.random[24:], downgraded) }, AlertIllegalParameter},
		"1.2 and another's profile":   {hello12(), func(h *serverHello) { h.ext.srtp = []SRTPProfile{5} }, AlertIllegalParameter},
		"1.2 and an MKI":              {hello12(), func(h *serverHello) { h.ext.srtp, h.ext.mki = []SRTPProfile{7}, []byte{1} }, AlertIllegalParameter},
		"1.2 and protocols unasked":   {hello12(), func(h *serverHello) { h.ext.alpn = []string{"h2"} }, AlertUnsupportedExtension},
		"a retry that changes naught": {retryRequest(AES128GCM, 0, nil), func(*serverHello) {}, AlertIllegalParameter},
		"a retry for what it has":     {retryRequest(AES128GCM, X25519, nil), func(*serverHello) {}, AlertIllegalParameter},
		"a retry for what is no one":  {retryRequest(AES128GCM, 99, nil), func(*serverHello) {}, AlertIllegalParameter},
	} {
		t.Run(name, func(t *testing.T) {
			c.change(c.hello)
			conn := greeted(t, nil)
			m := newMessage(serverHelloType, 0, c.hello.marshal())
			conn.HandleDatagram(1, plainRecord(typeHandshake, 0, m.full))
			conn.RunJobs(1)
			wantClosed(t, conn, c.want)
		})
	}
}

// A ClientHello that lacks what it needs (RFC 8446 section 9.2), or offers nothing that we do.
func TestClientHelloThatLacks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*clientHello)
		want   Alert
	}{
		"nothing above DTLS 1.0":    {func(h *clientHello) { h.version = 0xfeff; h.ext = extensions{} }, AlertProtocolVersion},
		"compression too":           {func(h *clientHello) { h.compression = []byte{1, 0} }, AlertIllegalParameter},
		"1.2 with compression only": {func(h *clientHello) { h.ext.versions, h.compression = []Version{Version12}, []byte{1} }, AlertIllegalParameter},
		"no key share":              {func(h *clientHello) { h.ext.shares = nil }, AlertMissingExtension},
		"no groups":                 {func(h *clientHello) { h.ext.groups = nil }, AlertMissingExtension},
		"no signature algorithms":   {func(h *clientHello) { h.ext.schemes = nil }, AlertMissingExtension},
		"a cookie nobody gave":      {func(h *clientHello) { h.ext.cookie = []byte("x") }, AlertIllegalParameter},
		"a cookie of DTLS 1.2":      {func(h *clientHello) { h.cookie = []byte("x") }, AlertIllegalParameter},
		"signatures we cannot make": {func(h *clientHello) { h.ext.schemes = []signatureScheme{ed25519Pure} }, AlertHandshakeFailure},
		"1.2 without the extended master secret": {func(h *clientHello) {
			h.ext.versions, h.ext.extendedMasterSecret = []Version{Version12}, false
		}, AlertHandshakeFailure},
		"1.2 in a renegotiation": {func(h *clientHello) {
			h.ext.versions, h.ext.renegotiated = []Version{Version12}, []byte("old")
		}, AlertHandshakeFailure},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := greeted(t, func(cfg *Config) { cfg.Groups = []Group{X25519} })
			hello := c2.hs.hello
			c.change(hello)
			body := hello.marshal()
			if hello.version != 0 {
				body[1] = byte(hello.version)
			}
			conn := mustNew(t, Server, configOf(t, "server", 1))
			m := newMessage(clientHelloType, 0, body)
			conn.HandleDatagram(1, plainRecord(typeHandshake, 0, m.full))
			conn.RunJobs(1)
			wantClosed(t, conn, c.want)
		})
	}
}

// What a client offered changes behind its back, so that the honest server's encrypted answer becomes a lie.
func TestEncryptedExtensionsThatLie(t *testing.T) {
	for name, forget := range map[string]func(*Config, *Conn){
		"profile":              func(cfg *Config, _ *Conn) { cfg.SRTPProfiles = []SRTPProfile{SRTP_AEAD_AES_256_GCM} },
		"application protocol": func(cfg *Config, _ *Conn) { cfg.ALPN = []string{"c-webrtc"} },
		"extension":            func(_ *Config, c *Conn) { delete(c.hs.offered, extUseSRTP) },
	} {
		client, server := only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13)
		client.ALPN, server.ALPN = []string{"webrtc"}, []string{"webrtc"}
		p := newPair(t, client, server)
		p.settle()
		changed := *client
		forget(&changed, p.client.Conn)
		p.client.cfg = &changed
		p.runUntil(10*time.Second, p.bothClosed)
		if e, ok := p.client.err.(*Error); !ok || e.Fault != FaultPeer || e.Alert != AlertIllegalParameter && e.Alert != AlertUnsupportedExtension {
			t.Errorf("%s: %v", name, p.client.err)
		}
		if e, ok := p.server.err.(*Error); !ok || !e.Received {
			t.Errorf("%s: the server: %v", name, p.server.err)
		}
	}
}

// RFC 8446 section 4.2: "If an implementation receives an extension which it recognizes and which is not specified for the
// message in which it appears, it MUST abort the handshake with an "illegal_parameter" alert."
func TestMisplacedExtensions(t *testing.T) {
	for name, e := range map[string]extensions{
		"a key share":   {shares: []keyShare{{X25519, make([]byte, 32)}}},
		"a version":     {versions: []Version{Version13}},
		"signatures":    {schemes: acceptedSchemes},
		"a connection":  {connectionID: []byte("id")},
		"nothing wrong": {srtp: []SRTPProfile{SRTP_AEAD_AES_128_GCM}, groups: []Group{X25519}},
	} {
		conn := greeted(t, func(cfg *Config) { cfg.ConnectionID = []byte("c") })
		m := newMessage(encryptedExtensions, 1, e.marshal())
		m.epoch = 2
		err, _ := conn.hs.encryptedExtensions13(1, m).(*Error)
		if good := name == "nothing wrong"; good != (err == nil) || !good && err.Alert != AlertIllegalParameter {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// RFC 8446 section 4.4.2.4: "If the server supplies an empty Certificate message, the client MUST abort the handshake with a
// "decode_error" alert."
func TestServerWithoutACertificate(t *testing.T) {
	for v, want := range map[Version]Alert{Version12: AlertHandshakeFailure, Version13: AlertDecodeError} {
		p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
		bare := *p.server.cfg
		bare.Certificate = &Certificate{PrivateKey: p.server.cfg.Certificate.PrivateKey, made: true}
		p.server.cfg = &bare
		p.runUntil(10*time.Second, p.bothClosed)
		if e, ok := p.client.err.(*Error); !ok || e.Alert != want || e.Fault != FaultPeer {
			t.Errorf("%v: %v", v, p.client.err)
		}
	}
}

// A peer whose signature or Finished is wrong is refused, and neither certificate nor data is handed up.
func TestWrongProofs(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, side := range []string{"client", "server"} {
			p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
			liar := map[string]*end{"client": p.client, "server": p.server}[side]
			honest := p.other(liar)
			// The liar shows a certificate whose key it does not have.
			stolen := *liar.cfg
			stolen.Certificate = &Certificate{Chain: certificateOf(t, "victim").Chain, PrivateKey: liar.cfg.Certificate.PrivateKey}
			liar.cfg = &stolen
			p.runUntil(10*time.Second, p.bothClosed)
			if e, ok := honest.err.(*Error); !ok || e.Alert != AlertDecryptError || e.Fault != FaultPeer {
				t.Errorf("%v, a lying %s: %v", v, side, honest.err)
			}
			if honest.certs != nil || honest.connected > 0 {
				t.Errorf("%v, a lying %s: its certificate was handed up", v, side)
			}
		}
	}
	m := newMessage(finishedType, 1, []byte("wrong"))
	if err := checkFinished(m, []byte("right")); err == nil {
		t.Error("a wrong Finished passes")
	}
}

// After the handshake: what a peer must not send, and what it gets for it.
func TestMisbehaviourOfAConnectedPeer(t *testing.T) {
	for name, c := range map[string]struct {
		send func(p *pair)
		want Alert
	}{
		"a KeyUpdate of two":   {func(p *pair) { p.client.post(keyUpdate, []byte{2}) }, AlertIllegalParameter},
		"a KeyUpdate too long": {func(p *pair) { p.client.post(keyUpdate, []byte{0, 0}) }, AlertDecodeError},
		"a ClientHello":        {func(p *pair) { p.client.post(clientHelloType, []byte{0, 0}) }, AlertUnexpectedMessage},
		"a Finished":           {func(p *pair) { p.client.post(finishedType, make([]byte, 32)) }, AlertUnexpectedMessage},
		"data of the handshake": {func(p *pair) {
			w := p.client.writeEpoch(2)
			b, _ := p.client.seal(nil, w, typeData, nil, []byte("x"))
			p.send(p.client, b)
		}, AlertUnexpectedMessage},
	} {
		p := newPair(t, only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13))
		p.runUntil(time.Minute, func() bool { return p.client.connected == 1 })
		c.send(p)
		p.idle(time.Second)
		if e, ok := p.server.err.(*Error); !ok || e.Alert != c.want || e.Fault != FaultPeer {
			t.Errorf("%s: %v, want %v", name, p.server.err, c.want)
		}
	}
}

// RFC 5246 section 7.2.2: "no_renegotiation: Sent by the client in response to a hello request or by the server in
// response to a client hello after initial handshaking." The connection goes on.
func TestRenegotiationIsDeclined(t *testing.T) {
	p := newConnected(t, Version12, nil)
	p.idle(time.Second)
	for _, e := range []*end{p.client, p.server} {
		typ := map[string]handshakeType{"client": clientHelloType, "server": helloRequest}[e.name]
		m := newMessage(typ, 0, nil)
		b, _ := e.seal(nil, e.write(), typeHandshake, nil, m.full)
		before := p.other(e).sent
		p.send(e, b)
		p.idle(time.Second)
		if p.other(e).sent != before+1 {
			t.Errorf("the %s's renegotiation brought %d datagrams, want an alert", e.name, p.other(e).sent-before)
		}
	}
	p.exchange(2)
}

// What a caller does not fetch is kept up to a bound, the oldest first, though datagrams are overwritten.
func TestDataThatIsNotFetched(t *testing.T) {
	p := newConnected(t, Version13, nil)
	line := strings.Repeat("x", 1199)
	var last []byte
	for i := range 100 {
		b, err := p.client.AppendRecord(nil, append([]byte{byte(i)}, line...))
		if err != nil {
			t.Fatal(err)
		}
		p.server.HandleDatagram(p.now, b)
		clear(last) // the one before is the caller's again
		last = b
	}
	kept := maxDataBytes/1200 + 1 // the last lies in the datagram still
	for i := range kept - 1 {
		ev, ok := p.server.NextEvent()
		if !ok || ev.Kind != Data || len(ev.Data) != 1200 || ev.Data[0] != byte(i) {
			t.Fatalf("event %d: %v, %d bytes", i, ev.Kind, len(ev.Data))
		}
	}
	if n := p.server.Stats().DataDropped; n < uint64(100-kept) || n > uint64(100-kept+1) {
		t.Errorf("%d records dropped, %d kept", n, kept)
	}
	if ev, ok := p.server.NextEvent(); ok && ev.Kind != Data {
		t.Errorf("%+v", ev)
	}
	p.exchange(1)
}

// Entropy that ends is our fault, and told.
func TestEntropyFails(t *testing.T) {
	cfg := configOf(t, "client", 1)
	cfg.Entropy = strings.NewReader("")
	if _, err := New(Client, cfg); err == nil {
		t.Error("a client without entropy")
	}
	for n := range 3 {
		client, server := only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13)
		server.Entropy = io.LimitReader(entropy("short"), int64(n*64))
		p := newPair(t, client, server)
		p.runUntil(10*time.Second, p.bothClosed)
		var e *Error
		if !errors.As(p.server.err, &e) || e.Fault != FaultLocal || e.Alert != AlertInternalError {
			t.Errorf("%d bytes: %v", n*64, p.server.err)
		}
	}
}
