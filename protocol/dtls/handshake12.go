package dtls

import (
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
)

// DTLS 1.2 (RFC 6347 section 4.2.4). In brackets the epoch; * if the server asks for a cookie; + if it asks for a
// certificate, as ours does.
//
//	Client                                          Server
//
//	[0] ClientHello          -------->
//	                         <--------  [0] HelloVerifyRequest *
//	[0] ClientHello *        -------->
//	                         <--------  [0] ServerHello
//	                                    [0] Certificate
//	                                    [0] ServerKeyExchange
//	                                    [0] CertificateRequest +
//	                                    [0] ServerHelloDone
//	[0] Certificate +        -------->
//	[0] ClientKeyExchange
//	[0] CertificateVerify +
//	[0] ChangeCipherSpec
//	[1] Finished
//	                         <--------  [0] ChangeCipherSpec
//	                                    [1] Finished
//	[1] application data     <------->  [1] application data

type state12 struct {
	exchange keyExchange12 // the server's, in the client
	key      *privateKey   // the server's half, in the server
	master   []byte
	write    protection // for after our ChangeCipherSpec
}

const verifyDataLen = 12

// The client's states.

func (h *handshake) serverHello12(_ mono.Time, m message, sh *serverHello) error {
	c := h.c
	// RFC 8446 section 4.1.3: clients MUST check that the last eight bytes are not equal to the sentinel.
	if c.cfg.speaks(Version13) && string(sh.random[randomLen-len(downgraded):]) == downgraded {
		return peerError(AlertIllegalParameter, "the server speaks DTLS 1.3, but somebody changed our hello so that it chose 1.2")
	}
	if !sh.ext.extendedMasterSecret {
		return peerError(AlertHandshakeFailure, "the server does not know the extended master secret")
	}
	if len(sh.ext.renegotiated) > 0 {
		return peerError(AlertHandshakeFailure, "the server takes a first handshake for a renegotiation")
	}
	c.negotiated(Version12, sh.suite, 0)
	if err := h.takeConnectionID(&sh.ext); err != nil {
		return err
	}
	if err := h.takeCommon(&sh.ext); err != nil {
		return err
	}
	h.transcript.choose(Version12, c.suite.hash)
	h.transcript.add(m)
	h.expect = h.serverCertificate12
	return nil
}

func (h *handshake) serverCertificate12(_ mono.Time, m message) error {
	if err := h.certificate12(m); err != nil {
		return err
	}
	if h.peerIsRSA() != h.c.suite.rsa {
		return peerError(AlertIllegalParameter, "the server's certificate is of another kind than its suite %s", h.c.suite.name)
	}
	h.expect = h.serverKeyExchange12
	return nil
}

func (h *handshake) serverKeyExchange12(_ mono.Time, m message) error {
	if m.epoch != 0 || m.typ != serverKeyExchange {
		return errUnexpected(m.typ, "a ServerKeyExchange")
	}
	k, err := parseKeyExchange12(m.body())
	if err != nil {
		return err
	}
	if !slices.Contains(h.c.cfg.groupsOf(Version12), k.group) {
		return peerError(AlertIllegalParameter, "the server chose %s, which was not offered", k.group)
	}
	h.v12.exchange = k
	h.c.state.Group = k.group
	h.transcript.add(m)
	h.expect = h.certificateRequest12
	return h.checkSignature(k.signed, append(slices.Clone(h.random[:]), k.params...), func(mono.Time) error { return nil })
}

// certificateRequest12 may be left out.
func (h *handshake) certificateRequest12(now mono.Time, m message) (err error) {
	if m.typ != certificateRequest {
		return h.serverHelloDone12(now, m)
	}
	if m.epoch != 0 {
		return errUnexpected(m.typ, "a CertificateRequest")
	}
	if h.schemes, err = parseCertificateRequest(Version12, m.body()); err != nil {
		return err
	}
	h.requested = true
	h.transcript.add(m)
	h.expect = h.serverHelloDone12
	return nil
}

func (h *handshake) serverHelloDone12(now mono.Time, m message) error {
	if m.epoch != 0 || m.typ != serverHelloDone || len(m.body()) > 0 {
		return errUnexpected(m.typ, "a ServerHelloDone")
	}
	h.transcript.add(m)
	h.beginFlight(now)
	if h.requested {
		h.send(0, certificateType, marshalCertificate(Version12, h.chain()))
	}
	entropy, err := h.c.random(entropySize)
	if err != nil {
		return err
	}
	group, peer := h.v12.exchange.group, h.v12.exchange.key
	var share, secret []byte
	return h.start(func() (err error) {
		share, secret, err = group.respond(peer, entropy)
		return err
	}, func(now mono.Time, err error) error {
		if err != nil {
			return peerError(AlertIllegalParameter, "the server's key: %v", err)
		}
		h.send(0, clientKeyExchange, marshalClientKeyExchange(share))
		if err := h.deriveKeys12(secret); err != nil {
			return err
		}
		if !h.requested || h.c.cfg.AnonymousClient {
			return h.clientFinished12(now)
		}
		return h.makeSignature(h.transcript.bytes(), func(now mono.Time, s signed) error {
			h.send(0, certificateVerify, s.marshal())
			return h.clientFinished12(now)
		})
	})
}

func (h *handshake) clientFinished12(mono.Time) error {
	h.sendFinished12()
	h.expect = h.finished12
	return nil
}

// The server's states.

func (h *handshake) clientHello12(now mono.Time, m message, hello *clientHello) error {
	c := h.c
	if secret := c.cfg.CookieSecret; len(secret) > 0 {
		sum := hello.unchanging()
		k, ok := openCookie(hello.cookie, secret, c.remote, now)
		if !ok || string(k.hello) != string(sum) {
			// RFC 6347 section 4.2.1: an invalid cookie is treated as none.
			k := cookie{at: now, hello: sum}
			h.sendStateless(m, helloVerifyRequest, marshalHelloVerify(k.marshal(secret, c.remote)))
			return nil
		}
	}
	if err := h.chooseCertificate(hello); err != nil {
		return err
	}
	suites := c.cfg.suitesOf(Version12)
	i := slices.IndexFunc(suites, func(s CipherSuite) bool {
		return slices.Contains(hello.suites, s) && s.suite().rsa == c.certificate().isRSA()
	})
	if i < 0 {
		return peerError(AlertHandshakeFailure, "no cipher suite in common that fits our certificate: the client offers %v", hello.suites)
	}
	groups := c.cfg.groupsOf(Version12)
	g := slices.IndexFunc(groups, func(g Group) bool { return slices.Contains(hello.ext.groups, g) })
	if g < 0 {
		return peerError(AlertHandshakeFailure, "no group in common: the client offers %v", hello.ext.groups)
	}
	// RFC 7627 section 5.3 leaves this to us, and without the extension a session's exporters are not bound to it.
	if !hello.ext.extendedMasterSecret {
		return peerError(AlertHandshakeFailure, "the client does not know the extended master secret")
	}
	if len(hello.ext.renegotiated) > 0 {
		return peerError(AlertHandshakeFailure, "the client takes a first handshake for a renegotiation")
	}
	h.acceptHello(m, hello)
	c.negotiated(Version12, suites[i], groups[g])
	h.transcript.choose(Version12, c.suite.hash)
	h.transcript.add(m)

	entropy, err := c.random(entropySize + randomLen)
	if err != nil {
		return err
	}
	copy(h.random[randomLen:], entropy[entropySize:])
	if c.cfg.speaks(Version13) {
		copy(h.random[2*randomLen-len(downgraded):], downgraded)
	}
	return h.start(func() (err error) {
		h.v12.key, err = groups[g].generate(entropy)
		return err
	}, func(now mono.Time, err error) error {
		if err != nil {
			return err
		}
		return h.serverFlight12(now)
	})
}

func (h *handshake) serverFlight12(now mono.Time) error {
	c := h.c
	answer, err := h.chooseCommon()
	if err != nil {
		return err
	}
	answer.extendedMasterSecret = true
	answer.renegotiationInfo = h.hello.ext.renegotiationInfo || slices.Contains(h.hello.suites, renegotiationSCSV)
	answer.pointFormats = h.hello.ext.has[extPointFormats]
	sh := &serverHello{suite: c.suite.id, ext: answer}
	copy(sh.random[:], h.random[randomLen:])

	h.beginFlight(now)
	h.send(0, serverHelloType, sh.marshal())
	h.send(0, certificateType, marshalCertificate(Version12, h.chain()))
	params := marshalParams12(c.state.Group, h.v12.key.share())
	return h.makeSignature(append(slices.Clone(h.random[:]), params...), func(_ mono.Time, s signed) error {
		k := keyExchange12{params: params, signed: s}
		h.send(0, serverKeyExchange, k.marshal())
		h.expect = h.clientKeyExchange12
		if !c.cfg.AnonymousClient {
			h.send(0, certificateRequest, marshalCertificateRequest(Version12))
			h.expect = h.clientCertificate12
		}
		h.send(0, serverHelloDone, nil)
		h.endFlight()
		return nil
	})
}

func (h *handshake) clientCertificate12(_ mono.Time, m message) error {
	if err := h.certificate12(m); err != nil {
		return err
	}
	h.expect = h.clientKeyExchange12
	return nil
}

func (h *handshake) clientKeyExchange12(_ mono.Time, m message) error {
	if m.epoch != 0 || m.typ != clientKeyExchange {
		return errUnexpected(m.typ, "a ClientKeyExchange")
	}
	peer, err := parseClientKeyExchange(m.body())
	if err != nil {
		return err
	}
	h.transcript.add(m)
	h.expect = h.certificateVerify12
	if h.c.cfg.AnonymousClient {
		h.expect = h.finished12
	}
	key := h.v12.key
	var secret []byte
	return h.start(func() (err error) {
		secret, err = key.agree(peer)
		return err
	}, func(_ mono.Time, err error) error {
		if err != nil {
			return peerError(AlertIllegalParameter, "the client's key: %v", err)
		}
		return h.deriveKeys12(secret)
	})
}

func (h *handshake) certificateVerify12(_ mono.Time, m message) error {
	if m.epoch != 0 || m.typ != certificateVerify {
		return errUnexpected(m.typ, "a CertificateVerify")
	}
	s, err := parseCertificateVerify(m.body())
	if err != nil {
		return err
	}
	content := h.transcript.bytes()
	h.transcript.add(m)
	h.expect = h.finished12
	return h.checkSignature(s, content, func(mono.Time) error { return nil })
}

// What both sides do.

func (h *handshake) certificate12(m message) error {
	if m.epoch != 0 || m.typ != certificateType {
		return errUnexpected(m.typ, "a Certificate")
	}
	return h.takeCertificate(m)
}

// deriveKeys12 derives master secret and keys, once the ClientKeyExchange is in the transcript (RFC 7627 section 4, RFC 5246
// section 6.3).
func (h *handshake) deriveKeys12(premaster []byte) error {
	c, s := h.c, h.c.suite
	h.v12.master = prf(s.hash, premaster, "extended master secret", h.transcript.sum(), 48)
	logSecret(c.cfg.KeyLog, "CLIENT_RANDOM", h.random[:randomLen], h.v12.master)
	ivLen := 4 // of GCM: the rest of the nonce is in the record
	if s.chacha {
		ivLen = nonceLen
	}
	seed := append(slices.Clone(h.random[randomLen:]), h.random[:randomLen]...)
	block := prf(s.hash, h.v12.master, "key expansion", seed, 2*s.keyLen+2*ivLen)
	keys, ivs := block[:2*s.keyLen], block[2*s.keyLen:]
	client, err := protection12(s, keys[:s.keyLen], ivs[:ivLen])
	if err != nil {
		return err
	}
	server, err := protection12(s, keys[s.keyLen:], ivs[ivLen:])
	if err != nil {
		return err
	}
	read := server
	h.v12.write = client
	if c.role == Server {
		read, h.v12.write = client, server
	}
	c.installRead(1, read)
	c.secrets.exporter = h.v12.master
	c.secrets.randoms = slices.Clone(h.random[:])
	return nil
}

// sendFinished12 ends a flight with ChangeCipherSpec and Finished.
func (h *handshake) sendFinished12() {
	c := h.c
	c.out.push(&outMessage{message: message{full: []byte{1}}, content: typeChangeCipherSpec})
	c.installWrite(1, h.v12.write)
	h.send(1, finishedType, h.verifyData12(c.role))
	h.endFlight()
}

func (h *handshake) verifyData12(r Role) []byte {
	return prf(h.c.suite.hash, h.v12.master, r.String()+" finished", h.transcript.sum(), verifyDataLen)
}

func (h *handshake) finished12(now mono.Time, m message) error {
	if m.epoch != 1 || m.typ != finishedType {
		return errUnexpected(m.typ, "a Finished")
	}
	if err := checkFinished(m, h.verifyData12(h.c.peer())); err != nil {
		return err
	}
	h.transcript.add(m)
	if h.c.role == Server {
		h.beginFlight(now)
		h.sendFinished12()
		h.c.out.passive = true // nothing answers it: a client that misses it repeats its own last flight
	} else {
		h.c.answered(now)
	}
	h.finish()
	return nil
}
