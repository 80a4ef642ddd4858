package dtls

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// goldenDatagrams returns what one side sent in each golden transcript.
func goldenDatagrams(f *testing.F, side string) (all [][][]byte) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden transcripts: ", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var list [][]byte
		for line := range strings.Lines(string(text)) {
			if h, ok := strings.CutPrefix(strings.TrimSpace(line), side+" "); ok {
				b, err := hex.DecodeString(h)
				if err != nil {
					f.Fatal(err)
				}
				list = append(list, b)
			}
		}
		all = append(all, list)
	}
	return all
}

// join and split turn datagrams into one input and back.
func join(list [][]byte) (b []byte) {
	for _, d := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
		b = append(b, d...)
	}
	return b
}

func split(b []byte) (list [][]byte) {
	for len(b) >= 2 && len(list) < 64 {
		n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
		list = append(list, slices.Clone(b[2:2+n]))
		b = b[2+n:]
	}
	return list
}

// feed hands datagrams to an engine and does all that a caller does.
func feed(t *testing.T, c *Conn, list [][]byte) {
	now := mono.Time(1)
	closed := 0
	for _, d := range list {
		c.HandleDatagram(now, d)
		c.RunJobs(now)
		for {
			ev, ok := c.NextEvent()
			if !ok {
				break
			}
			if closed > 0 {
				t.Fatalf("event %d after Closed", ev.Kind)
			}
			switch ev.Kind {
			case PeerCertificate:
				c.Accept(now)
			case Closed:
				closed++
			}
		}
		for sent := 0; len(c.AppendDatagram(nil, now)) > 0; sent++ {
			if sent > 100 {
				t.Fatal("one datagram brings more than a hundred")
			}
		}
		if t := c.NextTimeout(); t != mono.Never {
			now = max(now, t)
			c.HandleTimeout(now)
		}
		held := 0
		for _, e := range c.early {
			held += len(e)
		}
		if c.in.size > inboxBytes || len(c.in.waiting) > inboxAhead || held > maxEarlyBytes || len(c.data) > maxData {
			t.Fatalf("bounds: inbox %d in %d, early %d, data %d", c.in.size, len(c.in.waiting), held, len(c.data))
		}
	}
}

func FuzzServer(f *testing.F) {
	for _, list := range goldenDatagrams(f, "client") {
		f.Add(join(list), false)
		f.Add(join(list), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, cookie bool) {
		cfg := configOf(t, "server", 1)
		cfg.ConnectionID = []byte("to server")
		if cookie {
			cfg.CookieSecret = make([]byte, 32)
		}
		feed(t, mustNew(t, Server, cfg), split(b))
	})
}

func FuzzClient(f *testing.F) {
	for _, list := range goldenDatagrams(f, "server") {
		f.Add(join(list))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := configOf(t, "client", 1)
		cfg.ConnectionID = []byte("to client")
		cfg.Groups = []Group{X25519, P256, P384} // the hybrid is slow to make, and its bytes are the standard library's to read
		c := mustNew(t, Client, cfg)
		c.RunJobs(1)
		feed(t, c, split(b))
	})
}

// Somebody on the path rewrites datagrams as the input says; the ends must not be talked into disagreement.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{0, 0, 0}, false)
	f.Add([]byte{1, 40, 9, 2, 200, 1, 3, 0, 0, 4, 17, 255}, true)
	f.Add(bytes.Repeat([]byte{5, 3, 1, 0, 2, 9}, 20), false)
	f.Fuzz(func(t *testing.T, script []byte, old bool) {
		client, server := configOf(t, "client", 1), configOf(t, "server", 1)
		client.Groups = []Group{X25519}
		if old {
			only(client, Version12)
		}
		p := newPair(t, client, server)
		var last []byte
		p.filter = func(_ *end, b []byte) [][]byte {
			if len(script) < 3 {
				return [][]byte{b}
			}
			op, at, v := script[0], script[1], script[2]
			script = script[3:]
			at2 := int(at) * len(b) / 256
			previous := last
			last = slices.Clone(b)
			switch op % 8 {
			case 1:
				b[at2] ^= v
			case 2:
				b = b[:at2]
			case 3:
				return nil
			case 4:
				return [][]byte{b, previous}
			case 5:
				return [][]byte{previous, b}
			case 6:
				b = append(b, previous...)
			case 7:
				b = append(b[:at2:at2], append([]byte{v}, b[at2:]...)...)
			}
			return [][]byte{b}
		}
		p.runUntil(40*time.Second, func() bool { return p.bothConnected() || p.client.closed+p.server.closed > 0 })
		if p.bothConnected() {
			p.checkAgreement()
		}
	})
}

// Every message: what parses can be written again, and reads the same.
func FuzzMessages(f *testing.F) {
	for _, side := range []string{"client", "server"} {
		for _, list := range goldenDatagrams(f, side) {
			for _, d := range list {
				for rest := d; len(rest) > plainHeader+messageHeader && rest[0] == byte(typeHandshake); {
					n := plainHeader + int(binary.BigEndian.Uint16(rest[11:]))
					f.Add(rest[plainHeader], rest[plainHeader+messageHeader:n])
					rest = rest[n:]
				}
			}
		}
	}
	for _, v := range []Version{Version12, Version13} {
		f.Add(byte(certificateRequest), marshalCertificateRequest(v))
		f.Add(byte(certificateType), marshalCertificate(v, [][]byte{{1, 2, 3}}))
	}
	f.Add(byte(encryptedExtensions), (&extensions{alpn: []string{"webrtc"}, srtp: []SRTPProfile{7}}).marshal())
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		again := func(b, c []byte, err error) {
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if !bytes.Equal(b, c) {
				t.Fatalf("written as %x, then as %x", b, c)
			}
		}
		switch handshakeType(typ) {
		case clientHelloType:
			if h, err := parseClientHello(body); err == nil {
				b := h.marshal()
				h2, err := parseClientHello(b)
				again(b, h2.marshal(), err)
			}
		case serverHelloType:
			if h, err := parseServerHello(body); err == nil {
				b := h.marshal()
				h2, err := parseServerHello(b)
				again(b, h2.marshal(), err)
			}
		case helloVerifyRequest:
			if cookie, err := parseHelloVerify(body); err == nil {
				b := marshalHelloVerify(cookie)
				cookie2, err := parseHelloVerify(b)
				again(cookie, cookie2, err)
			}
		case encryptedExtensions:
			if e, err := parseEncryptedExtensions(body); err == nil {
				b := e.marshal()
				e2, err := parseEncryptedExtensions(b)
				again(b, e2.marshal(), err)
			}
		case certificateType:
			for _, v := range []Version{Version12, Version13} {
				if chain, err := parseCertificate(v, body); err == nil {
					b := marshalCertificate(v, chain)
					chain2, err := parseCertificate(v, b)
					again(b, marshalCertificate(v, chain2), err)
					if len(chain) > 0 {
						_, _ = publicKey(chain[0])
					}
				}
			}
		case certificateRequest:
			_, _ = parseCertificateRequest(Version12, body)
			_, _ = parseCertificateRequest(Version13, body)
		case serverKeyExchange:
			if k, err := parseKeyExchange12(body); err == nil {
				again(body, k.marshal(), nil)
			}
		case clientKeyExchange:
			if key, err := parseClientKeyExchange(body); err == nil {
				again(body, marshalClientKeyExchange(key), nil)
			}
		case certificateVerify:
			if s, err := parseCertificateVerify(body); err == nil {
				again(body, s.marshal(), nil)
			}
		default:
			f, _, ok := parseFragment(body)
			var in inbox
			if ok && in.add(f, 0, 0) == kept && in.size > inboxBytes {
				t.Fatal("over the bound")
			}
		}
	})
}
