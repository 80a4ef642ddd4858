package dtls

import (
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
)

// DTLS 1.3 (RFC 9147 section 5.7, RFC 8446 section 2). In brackets the epoch; * if the first share or a cookie is missing;
// + if the server asks for a certificate, as ours does.
//
//	Client                                          Server
//
//	[0] ClientHello          -------->
//	                         <--------  [0] HelloRetryRequest *
//	[0] ClientHello *        -------->
//	                         <--------  [0] ServerHello
//	                                    [2] EncryptedExtensions
//	                                    [2] CertificateRequest +
//	                                    [2] Certificate
//	                                    [2] CertificateVerify
//	                                    [2] Finished
//	[2] Certificate +        -------->
//	[2] CertificateVerify +
//	[2] Finished
//	                         <--------  [3] ACK
//	[3] application data     <------->  [3] application data

type state13 struct {
	schedule *schedule
	client   []byte // traffic secrets of the handshake
	server   []byte
}

// The client's states.

// helloRetry13 gives the server the share or the cookie that it wants (RFC 8446 section 4.1.4).
func (h *handshake) helloRetry13(now mono.Time, m message, sh *serverHello) error {
	if h.retry != nil {
		return peerError(AlertUnexpectedMessage, "a second HelloRetryRequest")
	}
	var wanted []Group
	for _, s := range sh.ext.shares {
		if wanted = []Group{s.group}; !slices.Contains(h.hello.ext.groups, s.group) || h.key(s.group) != nil {
			return peerError(AlertIllegalParameter, "a HelloRetryRequest for %s, which was not offered or has a share already", s.group)
		}
	}
	if len(wanted) == 0 && len(sh.ext.cookie) == 0 {
		return peerError(AlertIllegalParameter, "a HelloRetryRequest that changes nothing")
	}
	h.retry = sh
	h.hello.ext.cookie = sh.ext.cookie
	h.transcript.choose(Version13, sh.suite.suite().hash)
	h.transcript.digest(h.transcript.sum())
	h.transcript.add(m)
	if len(wanted) == 0 {
		return h.sendClientHello(now)
	}
	return h.makeShares(wanted)
}

// key returns our key in a group, or nil.
func (h *handshake) key(g Group) *privateKey {
	if i := slices.IndexFunc(h.keys, func(k *privateKey) bool { return k.group == g }); i >= 0 {
		return h.keys[i]
	}
	return nil
}

func (h *handshake) serverHello13(_ mono.Time, m message, sh *serverHello) error {
	c := h.c
	if len(sh.ext.shares) != 1 {
		return peerError(AlertMissingExtension, "the ServerHello has no key share")
	}
	share := sh.ext.shares[0]
	key := h.key(share.group)
	if key == nil {
		return peerError(AlertIllegalParameter, "the server answers with a share of %s, for which it got none", share.group)
	}
	if h.retry != nil && h.retry.suite != sh.suite {
		return peerError(AlertIllegalParameter, "the server changes its mind on the suite after a HelloRetryRequest")
	}
	c.negotiated(Version13, sh.suite, share.group)
	if err := h.takeConnectionID(&sh.ext); err != nil {
		return err
	}
	if h.retry == nil {
		h.transcript.choose(Version13, c.suite.hash)
	}
	h.transcript.add(m)
	h.expect = h.encryptedExtensions13
	var secret []byte
	return h.start(func() (err error) {
		secret, err = key.agree(share.key)
		return err
	}, func(_ mono.Time, err error) error {
		if err != nil {
			return peerError(AlertIllegalParameter, "the server's key share: %v", err)
		}
		return h.enterEpoch2(secret)
	})
}

func (h *handshake) encryptedExtensions13(_ mono.Time, m message) error {
	if m.epoch != 2 || m.typ != encryptedExtensions {
		return errUnexpected(m.typ, "EncryptedExtensions")
	}
	e, err := parseEncryptedExtensions(m.body())
	if err != nil {
		return err
	}
	for id := range e.has {
		if !h.offered[id] {
			return peerError(AlertUnsupportedExtension, "the server answers extension %d, which was not offered", id)
		}
	}
	if err := e.misplaced(encryptedExtensions, inServerHello); err != nil {
		return err
	}
	if err := h.takeCommon(e); err != nil {
		return err
	}
	h.transcript.add(m)
	h.expect = h.certificateRequest13
	return nil
}

// certificateRequest13 may be left out.
func (h *handshake) certificateRequest13(now mono.Time, m message) (err error) {
	if m.typ != certificateRequest {
		return h.certificate13(now, m)
	}
	if m.epoch != 2 {
		return errUnexpected(m.typ, "a CertificateRequest")
	}
	if h.schemes, err = parseCertificateRequest(Version13, m.body()); err != nil {
		return err
	}
	h.requested = true
	h.transcript.add(m)
	h.expect = h.certificate13
	return nil
}

// The client goes on with certificate13, certificateVerify13 and finished13, as the server does; then:

// clientFlight13 is the client's last flight.
func (h *handshake) clientFlight13(now mono.Time) error {
	h.beginFlight(now)
	if !h.requested {
		return h.clientFinished13(now)
	}
	h.send(2, certificateType, marshalCertificate(Version13, h.chain()))
	if h.c.cfg.AnonymousClient {
		return h.clientFinished13(now)
	}
	return h.sendCertificateVerify13(h.clientFinished13)
}

func (h *handshake) clientFinished13(mono.Time) error {
	c := h.c
	h.send(2, finishedType, h.v13.schedule.finished(h.v13.client, h.transcript.sum()))
	h.endFlight()
	h.finish()
	return c.write13(h.v13.schedule.kdf, 3, c.secrets.write)
}

// The server's states.

// clientHello13 takes the first hello, and the second after a HelloRetryRequest.
func (h *handshake) clientHello13(now mono.Time, m message, hello *clientHello) error {
	c := h.c
	if len(hello.cookie) > 0 {
		return peerError(AlertIllegalParameter, "a cookie of DTLS 1.2 in a hello of 1.3")
	}
	for _, id := range [...]uint16{extSupportedGroups, extSignatureAlgorithms, extKeyShare} {
		if !hello.ext.has[id] {
			return peerError(AlertMissingExtension, "the hello lacks extension %d", id)
		}
	}
	suites := c.cfg.suitesOf(Version13)
	i := slices.IndexFunc(suites, func(s CipherSuite) bool { return slices.Contains(hello.suites, s) })
	if i < 0 {
		return peerError(AlertHandshakeFailure, "no cipher suite in common: the client offers %v", hello.suites)
	}
	suite := suites[i]
	share, missing, err := c.chooseShare(hello)
	if err != nil {
		return err
	}
	h.transcript.choose(Version13, suite.suite().hash)

	if len(c.cfg.CookieSecret) > 0 {
		if len(hello.ext.cookie) == 0 {
			first := hashOf(suite.suite().hash, append(slices.Clone(m.full[:4]), m.body()...))
			k := cookie{now, suite, missing, first}.marshal(c.cfg.CookieSecret, c.remote)
			h.sendStateless(m, serverHelloType, retryRequest(suite, missing, k).marshal())
			return nil
		}
		k, ok := openCookie(hello.ext.cookie, c.cfg.CookieSecret, c.remote, now)
		if !ok || k.suite != suite {
			return peerError(AlertIllegalParameter, "the cookie is not valid: forged, for another address, or too old")
		}
		h.retry = retryRequest(k.suite, k.group, hello.ext.cookie)
		h.transcript.digest(k.hello)
		h.transcript.add(newMessage(serverHelloType, 0, h.retry.marshal()))
	} else if len(hello.ext.cookie) > 0 {
		return peerError(AlertIllegalParameter, "a cookie that was not given")
	}
	if err := h.chooseCertificate(hello); err != nil {
		return err
	}
	if missing != 0 {
		if h.retry != nil {
			return peerError(AlertIllegalParameter, "the second hello still has no share of %s", missing)
		}
		h.acceptHello(m, hello)
		h.transcript.add(m)
		h.transcript.digest(h.transcript.sum())
		h.retry = retryRequest(suite, missing, nil)
		h.beginFlight(now)
		h.send(0, serverHelloType, h.retry.marshal())
		h.endFlight()
		return nil
	}
	if h.retry != nil && len(h.retry.ext.shares) > 0 && (len(hello.ext.shares) != 1 || h.retry.ext.shares[0].group != share.group) {
		return peerError(AlertIllegalParameter, "the second hello has other shares than the one asked for")
	}
	if h.retry != nil && h.retry.suite != suite {
		return peerError(AlertIllegalParameter, "the second hello offers other suites than the first")
	}
	h.acceptHello(m, hello)
	h.transcript.add(m)
	c.negotiated(Version13, suite, share.group)
	return h.agree13(share)
}

// chooseShare picks the best group for which the client sent a share. If there is none it names the best that the client
// can do, for a HelloRetryRequest.
func (c *Conn) chooseShare(hello *clientHello) (share keyShare, missing Group, err error) {
	for _, g := range c.cfg.groups() {
		if i := slices.IndexFunc(hello.ext.shares, func(s keyShare) bool { return s.group == g }); i >= 0 {
			return hello.ext.shares[i], 0, nil
		}
	}
	for _, g := range c.cfg.groups() {
		if slices.Contains(hello.ext.groups, g) {
			return share, g, nil
		}
	}
	return share, 0, peerError(AlertHandshakeFailure, "no group in common: the client offers %v", hello.ext.groups)
}

// retryRequest makes a HelloRetryRequest; the same arguments give the same bytes, so that a server can make it twice.
func retryRequest(suite CipherSuite, missing Group, cookie []byte) *serverHello {
	sh := &serverHello{random: helloRetryRandom, suite: suite, ext: extensions{versions: []Version{Version13}, cookie: cookie}}
	if missing != 0 {
		sh.ext.shares = []keyShare{{group: missing}}
	}
	return sh
}

func (h *handshake) agree13(peer keyShare) error {
	c := h.c
	entropy, err := c.random(entropySize + randomLen)
	if err != nil {
		return err
	}
	copy(h.random[randomLen:], entropy[entropySize:])
	var share, secret []byte
	return h.start(func() (err error) {
		share, secret, err = peer.group.respond(peer.key, entropy)
		return err
	}, func(now mono.Time, err error) error {
		if err != nil {
			return peerError(AlertIllegalParameter, "the client's key share: %v", err)
		}
		return h.serverFlight13(now, share, secret)
	})
}

func (h *handshake) serverFlight13(now mono.Time, share, secret []byte) error {
	c := h.c
	answer, err := h.chooseCommon()
	if err != nil {
		return err
	}
	sh := &serverHello{suite: c.suite.id, ext: extensions{
		versions:     []Version{Version13},
		shares:       []keyShare{{c.state.Group, share}},
		connectionID: answer.connectionID,
	}}
	copy(sh.random[:], h.random[randomLen:])
	answer.connectionID = nil // stands in the ServerHello (RFC 9147 section 9.1), the rest is encrypted

	h.beginFlight(now)
	h.send(0, serverHelloType, sh.marshal())
	if err := h.enterEpoch2(secret); err != nil {
		return err
	}
	h.send(2, encryptedExtensions, answer.marshal())
	if !c.cfg.AnonymousClient {
		h.send(2, certificateRequest, marshalCertificateRequest(Version13))
	}
	h.send(2, certificateType, marshalCertificate(Version13, h.chain()))
	return h.sendCertificateVerify13(func(mono.Time) error {
		h.send(2, finishedType, h.v13.schedule.finished(h.v13.server, h.transcript.sum()))
		h.endFlight()
		h.expect = h.certificate13
		if c.cfg.AnonymousClient {
			h.expect = h.finished13
		}
		h.deriveEpoch3()
		return c.write13(h.v13.schedule.kdf, 3, c.secrets.write)
	})
}

// What both sides do.

// negotiated fixes version, suite and group.
func (c *Conn) negotiated(v Version, s CipherSuite, g Group) {
	c.version, c.suite = v, s.suite()
	c.state.Version, c.state.CipherSuite, c.state.Group = v, s, g
}

// enterEpoch2 derives the keys of the handshake, once the ServerHello is in the transcript.
func (h *handshake) enterEpoch2(secret []byte) error {
	c := h.c
	h.v13.schedule = newSchedule(c.suite.hash)
	h.v13.schedule.mix(secret)
	hello := h.transcript.sum()
	h.v13.client = h.v13.schedule.derive("c hs traffic", hello)
	h.v13.server = h.v13.schedule.derive("s hs traffic", hello)
	logSecret(c.cfg.KeyLog, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", h.random[:randomLen], h.v13.client)
	logSecret(c.cfg.KeyLog, "SERVER_HANDSHAKE_TRAFFIC_SECRET", h.random[:randomLen], h.v13.server)
	read, write := c.own(h.v13.client, h.v13.server)
	if err := c.read13(h.v13.schedule.kdf, 2, read); err != nil {
		return err
	}
	return c.write13(h.v13.schedule.kdf, 2, write)
}

// read13 and write13 put a traffic secret to use in one direction.
func (c *Conn) read13(k *kdf, epoch uint64, secret []byte) error {
	p, err := protection13(k, c.suite, secret)
	if err == nil {
		c.installRead(epoch, p)
	}
	return err
}

func (c *Conn) write13(k *kdf, epoch uint64, secret []byte) error {
	p, err := protection13(k, c.suite, secret)
	if err == nil {
		c.installWrite(epoch, p)
	}
	return err
}

// own sorts a client's and a server's secret into what we read and what we write with.
func (c *Conn) own(client, server []byte) (read, write []byte) {
	if c.role == Client {
		return server, client
	}
	return client, server
}

// deriveEpoch3 derives the secrets of the application, once the server's Finished is in the transcript. Each side writes
// with them after its own Finished, and reads after the other's.
func (h *handshake) deriveEpoch3() {
	c := h.c
	h.v13.schedule.mix(nil)
	finished := h.transcript.sum()
	client := h.v13.schedule.derive("c ap traffic", finished)
	server := h.v13.schedule.derive("s ap traffic", finished)
	c.secrets.exporter = h.v13.schedule.derive("exp master", finished)
	logSecret(c.cfg.KeyLog, "CLIENT_TRAFFIC_SECRET_0", h.random[:randomLen], client)
	logSecret(c.cfg.KeyLog, "SERVER_TRAFFIC_SECRET_0", h.random[:randomLen], server)
	logSecret(c.cfg.KeyLog, "EXPORTER_SECRET", h.random[:randomLen], c.secrets.exporter)
	c.secrets.read, c.secrets.write = c.own(client, server)
}

func (h *handshake) certificate13(_ mono.Time, m message) error {
	if m.epoch != 2 || m.typ != certificateType {
		return errUnexpected(m.typ, "a Certificate")
	}
	if err := h.takeCertificate(m); err != nil {
		return err
	}
	h.expect = h.certificateVerify13
	return nil
}

// signedContent13 is what a CertificateVerify signs (RFC 8446 section 4.4.3).
func signedContent13(signer Role, transcript []byte) []byte {
	b := slices.Repeat([]byte{' '}, 64)
	b = append(b, "TLS 1.3, "+signer.String()+" CertificateVerify\x00"...)
	return append(b, transcript...)
}

func (h *handshake) certificateVerify13(_ mono.Time, m message) error {
	if m.epoch != 2 || m.typ != certificateVerify {
		return errUnexpected(m.typ, "a CertificateVerify")
	}
	s, err := parseCertificateVerify(m.body())
	if err != nil {
		return err
	}
	content := signedContent13(h.c.peer(), h.transcript.sum())
	h.transcript.add(m)
	h.expect = h.finished13
	return h.checkSignature(s, content, func(mono.Time) error { return nil })
}

// peer returns the other side's role.
func (c *Conn) peer() Role {
	if c.role == Client {
		return Server
	}
	return Client
}

func (h *handshake) sendCertificateVerify13(then func(now mono.Time) error) error {
	return h.makeSignature(signedContent13(h.c.role, h.transcript.sum()), func(now mono.Time, s signed) error {
		h.send(2, certificateVerify, s.marshal())
		return then(now)
	})
}

func (h *handshake) finished13(now mono.Time, m message) error {
	c := h.c
	if m.epoch != 2 || m.typ != finishedType {
		return errUnexpected(m.typ, "a Finished")
	}
	secret := h.v13.server
	if c.role == Server {
		secret = h.v13.client
	}
	if err := checkFinished(m, h.v13.schedule.finished(secret, h.transcript.sum())); err != nil {
		return err
	}
	h.transcript.add(m)
	if c.role == Client {
		h.deriveEpoch3()
		if err := c.read13(h.v13.schedule.kdf, 3, c.secrets.read); err != nil {
			return err
		}
		return h.clientFlight13(now)
	}
	c.answered(now)
	c.ackNow = true // RFC 9147 section 7.1: nothing else acknowledges the client's last flight
	c.timers[timerRetire] = now.Add(keepHandshakeKeys)
	h.finish()
	return c.read13(h.v13.schedule.kdf, 3, c.secrets.read)
}
