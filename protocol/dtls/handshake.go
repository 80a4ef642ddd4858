package dtls

import (
	"crypto"
	"crypto/subtle"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A handshake is what a Conn knows until it is connected. Its states are functions: expect takes the next message of the
// peer, and sets expect anew. The hellos are here, because the versions part only there; what follows is in
// handshake13.go and handshake12.go.
type handshake struct {
	c          *Conn
	expect     func(now mono.Time, m message) error
	flights    int // that we began
	transcript transcript
	hint       Alert
	lastDrop   error
	validated  bool // the client has returned a cookie

	hello     *clientHello    // ours, or the peer's
	offered   map[uint16]bool // extensions of the client's hello
	random    [2 * randomLen]byte
	keys      []*privateKey // as many as the client has shares
	retry     *serverHello  // the HelloRetryRequest that came or went
	verified  bool          // a HelloVerifyRequest came
	peerKey   crypto.PublicKey
	peerChain [][]byte
	requested bool // the server asks for a certificate
	schemes   []signatureScheme

	v13 state13
	v12 state12
}

// startClient makes the key shares, and then the first flight.
func (h *handshake) startClient() error {
	cfg := h.c.cfg
	random, err := h.c.random(randomLen)
	if err != nil {
		return err
	}
	hello := &clientHello{compression: []byte{0}, suites: slices.DeleteFunc(slices.Clone(cfg.suites()), func(s CipherSuite) bool {
		return !cfg.speaks(s.suite().version)
	})}
	copy(hello.random[:], random)
	copy(h.random[:], random)
	versions := cfg.versions()
	groups := cfg.groupsOf(versions[0])
	hello.ext = extensions{
		groups:       groups,
		schemes:      acceptedSchemes,
		alpn:         cfg.ALPN,
		srtp:         cfg.SRTPProfiles,
		connectionID: cfg.ConnectionID,
		serverName:   cfg.ServerName,
	}
	if cfg.speaks(Version13) {
		hello.ext.versions = versions
	}
	if cfg.speaks(Version12) {
		hello.ext.extendedMasterSecret = true
		hello.ext.renegotiationInfo = true
		hello.ext.pointFormats = true
	}
	h.hello = hello
	// One share of the best group, and if that is a hybrid one of the best plain group too, as a server may not know it.
	shares := groups[:1]
	if groups[0] == X25519MLKEM768 {
		if i := slices.IndexFunc(groups, func(g Group) bool { return g != X25519MLKEM768 }); i > 0 {
			shares = []Group{groups[0], groups[i]}
		}
	}
	return h.makeShares(shares)
}

// makeShares generates a key for each group, and sends the hello with them.
func (h *handshake) makeShares(groups []Group) error {
	entropy, err := h.c.random(entropySize)
	if err != nil {
		return err
	}
	var keys []*privateKey
	return h.start(func() error {
		for _, g := range groups {
			if g == X25519 && len(keys) == 1 && keys[0].group == X25519MLKEM768 {
				keys = append(keys, &privateKey{group: g, ecdh: keys[0].ecdh}) // the same scalar gives the same key
				continue
			}
			k, err := g.generate(entropy)
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
		return nil
	}, func(now mono.Time, err error) error {
		if err != nil {
			return err
		}
		h.keys = keys
		if h.c.cfg.speaks(Version13) {
			h.hello.ext.shares = nil
			for _, k := range keys {
				h.hello.ext.shares = append(h.hello.ext.shares, keyShare{k.group, k.share()})
			}
		}
		return h.sendClientHello(now)
	})
}

func (h *handshake) sendClientHello(now mono.Time) error {
	body := h.hello.marshal()
	sent, err := parseClientHello(body)
	if err != nil {
		return localError("our own hello: %v", err)
	}
	h.offered = sent.ext.has
	h.beginFlight(now)
	h.send(0, clientHelloType, body)
	h.endFlight()
	h.expect = h.serverHello
	return nil
}

// serverHello is a client's first state.
func (h *handshake) serverHello(now mono.Time, m message) error {
	if m.epoch != 0 || m.typ != serverHelloType && (m.typ != helloVerifyRequest || h.verified || h.retry != nil) {
		return errUnexpected(m.typ, "a ServerHello")
	}
	if m.typ == helloVerifyRequest {
		return h.helloVerify(now, m)
	}
	sh, err := parseServerHello(m.body())
	if err != nil {
		return err
	}
	version := sh.version
	if len(sh.ext.versions) == 1 {
		if version = sh.ext.versions[0]; version == Version12 {
			// RFC 8446 section 4.2.1: the extension must not choose a version prior to 1.3.
			return peerError(AlertIllegalParameter, "the server chose %s by an extension of DTLS 1.3", version)
		}
	}
	switch {
	case version != Version12 && version != Version13 || !h.c.cfg.speaks(version):
		return peerError(AlertProtocolVersion, "the server chose %s, which was not offered", version)
	case version == Version13 && h.verified:
		return peerError(AlertIllegalParameter, "the server chose DTLS 1.3 after a HelloVerifyRequest")
	case version == Version12 && h.retry != nil:
		return peerError(AlertIllegalParameter, "the server chose DTLS 1.2 after a HelloRetryRequest")
	case !slices.Contains(h.hello.suites, sh.suite) || sh.suite.suite().version != version:
		return peerError(AlertIllegalParameter, "the server chose %s, which was not offered for %s", sh.suite, version)
	case sh.compression != 0:
		return peerError(AlertIllegalParameter, "the server chose compression")
	}
	for id := range sh.ext.has {
		if !h.offered[id] && !(sh.isRetry() && id == extCookie) {
			return peerError(AlertUnsupportedExtension, "the server answers extension %d, which was not offered", id)
		}
	}
	if version == Version13 {
		if err := sh.ext.misplaced(serverHelloType, sh.form()); err != nil {
			return err
		}
		if len(sh.sessionID) > 0 {
			return peerError(AlertIllegalParameter, "the server echoes a session ID that was not sent")
		}
		if sh.isRetry() {
			return h.helloRetry13(now, m, sh)
		}
		copy(h.random[randomLen:], sh.random[:])
		return h.serverHello13(now, m, sh)
	}
	copy(h.random[randomLen:], sh.random[:])
	return h.serverHello12(now, m, sh)
}

// helloVerify repeats the hello with the server's cookie; neither this nor the first hello are of the transcript
// (RFC 6347 section 4.2.1).
func (h *handshake) helloVerify(now mono.Time, m message) error {
	cookie, err := parseHelloVerify(m.body())
	if err != nil {
		return err
	}
	if !h.c.cfg.speaks(Version12) {
		return peerError(AlertProtocolVersion, "the server speaks DTLS 1.2 only")
	}
	h.verified = true
	h.hello.cookie = cookie
	h.transcript = transcript{}
	return h.sendClientHello(now)
}

// skipAhead lets a server that keeps no state take a second hello for its first, and a client begin again.
func (h *handshake) skipAhead(f fragment) {
	c := h.c
	if c.role == Server && h.hello == nil && len(c.cfg.CookieSecret) > 0 && f.typ == clientHelloType && f.seq <= 1 && f.seq != c.in.next {
		c.in, c.sendSeq = inbox{next: f.seq}, f.seq
	}
}

// awaitsKeys reports whether an unreadable record may belong to an epoch that this handshake is about to reach.
func (h *handshake) awaitsKeys(rec *record) bool {
	if rec.unified {
		return h.c.version != Version12 && (rec.epoch == 3 || rec.epoch == 2 && h.c.role == Client)
	}
	return h.c.version != Version13 && rec.epoch == 1
}

// clientHello is a server's first state.
func (h *handshake) clientHello(now mono.Time, m message) error {
	if m.epoch != 0 || m.typ != clientHelloType {
		return errUnexpected(m.typ, "a ClientHello")
	}
	hello, err := parseClientHello(m.body())
	if err != nil {
		return err
	}
	version, err := h.c.chooseVersion(hello)
	if err != nil {
		return err
	}
	if version != Version13 && h.retry != nil {
		return peerError(AlertIllegalParameter, "the second hello offers other versions than the first")
	}
	// RFC 5246 section 7.4.1.2: the null method must be among them; RFC 8446 section 4.1.2: and be the only one.
	if !slices.Contains(hello.compression, 0) || version == Version13 && len(hello.compression) > 1 {
		return peerError(AlertIllegalParameter, "the client offers the compression methods %v", hello.compression)
	}
	if version == Version13 {
		return h.clientHello13(now, m, hello)
	}
	return h.clientHello12(now, m, hello)
}

func (c *Conn) chooseVersion(hello *clientHello) (Version, error) {
	offered := hello.ext.versions
	if !hello.ext.has[extSupportedVersions] {
		if hello.version > Version12 {
			return 0, peerError(AlertProtocolVersion, "the client speaks nothing above %s", hello.version)
		}
		offered = []Version{Version12}
	}
	for _, v := range c.cfg.versions() {
		if slices.Contains(offered, v) {
			return v, nil
		}
	}
	return 0, peerError(AlertProtocolVersion, "the client offers no version that we speak")
}

// acceptHello takes the client's hello for good: from here the server has state.
func (h *handshake) acceptHello(m message, hello *clientHello) {
	h.hello, h.offered = hello, hello.ext.has
	h.validated = true
	copy(h.random[:], hello.random[:])
	h.schemes = hello.ext.schemes
	if w := h.c.write(); len(h.c.cfg.CookieSecret) > 0 {
		// What we sent without state had the client's own record numbers; go on from there (RFC 6347 section 4.2.1).
		w.next = max(w.next, m.recordSeq)
	}
}

// chooseCertificate decides what a server shows.
func (h *handshake) chooseCertificate(hello *clientHello) error {
	c := h.c
	if c.cfg.CertificateFor != nil {
		if c.chosen = c.cfg.CertificateFor(hello.ext.serverName); c.chosen != nil {
			if err := c.chosen.validate(); err != nil {
				return localError("%v", err)
			}
		}
	}
	if c.certificate() == nil {
		return localError("there is no certificate for %q", hello.ext.serverName)
	}
	return nil
}

// certificate is ours.
func (c *Conn) certificate() *Certificate {
	if c.chosen != nil {
		return c.chosen
	}
	return c.cfg.Certificate
}

// chain is what our Certificate message holds: nothing, if a client that has none is asked (RFC 8446 section 4.4.2, RFC
// 5246 section 7.4.6).
func (h *handshake) chain() [][]byte {
	if h.c.role == Client && h.c.cfg.AnonymousClient {
		return nil
	}
	return h.c.certificate().Chain
}

// chooseCommon picks SRTP profile, ALPN and connection IDs, which are the same in both versions, and returns the server's
// answer to them.
func (h *handshake) chooseCommon() (answer extensions, err error) {
	c, offer := h.c, &h.hello.ext
	for _, p := range c.cfg.SRTPProfiles {
		if slices.Contains(offer.srtp, p) {
			c.state.SRTPProfile = p
			answer.srtp = []SRTPProfile{p} // and no MKI, whatever was offered (RFC 5764 section 4.1.3)
			break
		}
	}
	if len(offer.alpn) > 0 && len(c.cfg.ALPN) > 0 {
		i := slices.IndexFunc(c.cfg.ALPN, func(p string) bool { return slices.Contains(offer.alpn, p) })
		if i < 0 {
			return answer, peerError(AlertNoApplicationProtocol, "no application protocol in common: the client offers %q", offer.alpn)
		}
		c.state.ALPN = c.cfg.ALPN[i]
		answer.alpn = []string{c.state.ALPN}
	}
	if offer.connectionID != nil && c.cfg.ConnectionID != nil && len(offer.connectionID) <= maxCIDLen {
		c.writeCID = slices.Clone(offer.connectionID)
		answer.connectionID = c.cfg.ConnectionID
	} else {
		c.readCID = nil
	}
	// RFC 6066 section 3: a server that made use of the name says so.
	answer.serverNameUsed = offer.serverName != "" && c.cfg.CertificateFor != nil
	return answer, nil
}

// takeCommon is the client's side of chooseCommon: what the server answered must be of what was offered.
func (h *handshake) takeCommon(answer *extensions) error {
	c := h.c
	if len(answer.srtp) > 0 {
		if len(answer.srtp) != 1 || !slices.Contains(c.cfg.SRTPProfiles, answer.srtp[0]) {
			return peerError(AlertIllegalParameter, "the server chose SRTP profiles %v, not one of those offered", answer.srtp)
		}
		if len(answer.mki) > 0 {
			return peerError(AlertIllegalParameter, "the server chose an SRTP MKI that was not offered")
		}
		c.state.SRTPProfile = answer.srtp[0]
	}
	if len(answer.alpn) > 0 {
		if len(answer.alpn) != 1 || !slices.Contains(c.cfg.ALPN, answer.alpn[0]) {
			return peerError(AlertIllegalParameter, "the server chose application protocols %q, not one of those offered", answer.alpn)
		}
		c.state.ALPN = answer.alpn[0]
	}
	return nil
}

func (h *handshake) takeConnectionID(answer *extensions) error {
	switch {
	case answer.connectionID == nil:
		h.c.readCID = nil
	case len(answer.connectionID) > maxCIDLen:
		return peerError(AlertHandshakeFailure, "the server wants a connection ID of %d bytes in each record", len(answer.connectionID))
	}
	h.c.writeCID = answer.connectionID
	return nil
}

// takeCertificate reads the peer's chain, in either version.
func (h *handshake) takeCertificate(m message) error {
	chain, err := parseCertificate(h.c.version, m.body())
	if err != nil {
		return err
	}
	if len(chain) == 0 {
		alert := AlertCertificateRequired
		switch {
		case h.c.version == Version12:
			alert = AlertHandshakeFailure // RFC 5246 section 7.4.6
		case h.c.role == Client:
			alert = AlertDecodeError // RFC 8446 section 4.4.2.4
		}
		return peerError(alert, "the peer shows no certificate")
	}
	if h.peerKey, err = publicKey(chain[0]); err != nil {
		return peerError(AlertBadCertificate, "the peer's certificate cannot be read: %v", err)
	}
	h.peerChain = chain
	h.transcript.add(m)
	return nil
}

// checkSignature verifies, as a job, that the peer's certificate signed a message; then the certificate goes to the caller.
func (h *handshake) checkSignature(s signed, signedBytes []byte, then func(now mono.Time) error) error {
	if !slices.Contains(acceptedSchemes, s.scheme) {
		return peerError(AlertIllegalParameter, "the peer signs by scheme %#04x, which was not offered", uint16(s.scheme))
	}
	if err := verifies(h.peerKey, h.c.version, s.scheme); err != nil {
		return peerError(AlertIllegalParameter, "the peer's signature cannot be right: %v", err)
	}
	key := h.peerKey
	return h.start(func() error {
		return verify(key, s.scheme, signedBytes, s.signature)
	}, func(now mono.Time, err error) error {
		if err != nil {
			return peerError(AlertDecryptError, "the peer does not own its certificate: %v", err)
		}
		h.c.certificates, h.c.certsWaiting = h.peerChain, true
		return then(now)
	})
}

// makeSignature signs, as a job, with our certificate's key by a scheme that the peer accepts.
func (h *handshake) makeSignature(signedBytes []byte, then func(now mono.Time, s signed) error) error {
	key := h.c.certificate().PrivateKey
	scheme, err := chooseScheme(key.Public(), h.c.version, h.schemes)
	if err != nil {
		return err
	}
	salt, err := h.c.random(64)
	if err != nil {
		return err
	}
	var signature []byte
	return h.start(func() (err error) {
		signature, err = sign(key, scheme, signedBytes, salt)
		return err
	}, func(now mono.Time, err error) error {
		if err != nil {
			return localError("our certificate's key cannot sign: %v", err)
		}
		return then(now, signed{scheme, signature})
	})
}

// checkFinished compares the peer's verify_data with ours.
func checkFinished(m message, want []byte) error {
	if subtle.ConstantTimeCompare(m.body(), want) != 1 {
		return peerError(AlertDecryptError, "the peer's Finished does not match: somebody changed the handshake")
	}
	return nil
}

// finish ends the handshake: all that is left is the caller's word on the certificate.
func (h *handshake) finish() {
	c := h.c
	c.hs = nil
	c.phase = verdictDue
	c.in.dropEpoch(0)
	c.in.dropEpoch(2)
	c.timers[timerACK], c.timers[timerHint] = mono.Never, mono.Never
	if c.version == Version12 || c.role == Server {
		c.timers[timerHandshake] = mono.Never // a client of 1.3 waits for the acknowledgement
	}
	c.trimWrites()
	c.settle()
}
