package dtls

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A server of TURN proves who it is to clients that prove nothing (RFC 7350), and sends them to the right certificate by the
// name that they say. Over a link that loses, repeats and reorders, in both versions.
func TestAnonymousClient(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for seed := range uint64(10) {
			t.Run(fmt.Sprintf("%v/seed %d", v, seed), func(t *testing.T) {
				client, server := only(configOf(t, "client", seed), v), only(configOf(t, "server", seed), v)
				client.Certificate, client.AnonymousClient, client.ServerName = nil, true, "turn.example"
				server.Certificate, server.AnonymousClient, server.CookieSecret = nil, true, make([]byte, 32)
				asked := ""
				server.CertificateFor = func(name string) *Certificate { asked = name; return certificateOf(t, name) }
				p := newPair(t, client, server)
				p.rng = rand.New(rand.NewPCG(seed, 7))
				p.link = conditions{delay: 20 * time.Millisecond, jitter: 60 * time.Millisecond, loss: 0.15, dup: 0.2}
				p.connect()
				p.exchange(3)
				if asked != "turn.example" || !bytes.Equal(p.client.certs[0], certificateOf(t, "turn.example").Chain[0]) {
					t.Errorf("the server was asked for %q", asked)
				}
				if p.server.certs != nil {
					t.Error("the server saw a certificate")
				}
			})
		}
	}
}

// RFC 8446 section 4.4.2: "If the server requests client authentication but no suitable certificate is available, the
// client MUST send a Certificate message containing no certificates". (RFC 5246 section 7.4.6 says the same.) Whether that
// will do is for the server to say; ours, unless told otherwise, says no.
func TestAnonymousClientThatIsAsked(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
		client.Certificate, client.AnonymousClient = nil, true
		p := newPair(t, client, server)
		p.runUntil(3*time.Second, func() bool { return p.server.closed > 0 && p.client.closed > 0 })
		want := map[Version]Alert{Version12: AlertHandshakeFailure, Version13: AlertCertificateRequired}[v]
		var e *Error
		if !errors.As(p.server.err, &e) || e.Alert != want || e.Received {
			t.Errorf("%v: the server says %v, want %v", v, p.server.err, want)
		}
		if !errors.As(p.client.err, &e) || e.Alert != want || !e.Received {
			t.Errorf("%v: the client hears %v, want %v", v, p.client.err, want)
		}
	}
}

// A server's Config may name a certificate for everybody and another for some.
func TestCertificateByName(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for name, want := range map[string]string{"": "server", "b.example": "server", "a.example": "a"} {
			client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
			client.ServerName = name
			server.CertificateFor = func(name string) *Certificate {
				if name == "a.example" {
					return certificateOf(t, "a")
				}
				return nil
			}
			p := newPair(t, client, server)
			p.connect()
			if !bytes.Equal(p.client.certs[0], certificateOf(t, want).Chain[0]) {
				t.Errorf("%v: not the certificate for %q", v, name)
			}
		}
	}
}

// A certificate that cannot be shown ends the handshake, and is nobody else's fault.
func TestCertificateForThatIsNone(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
		server.CertificateFor = func(string) *Certificate {
			return &Certificate{Chain: certificateOf(t, "a").Chain, PrivateKey: certificateOf(t, "b").PrivateKey}
		}
		p := newPair(t, client, server)
		p.runUntil(3*time.Second, func() bool { return p.server.closed > 0 })
		var e *Error
		if !errors.As(p.server.err, &e) || e.Fault != FaultLocal {
			t.Errorf("%v: %v, want an error of ours", v, p.server.err)
		}
	}
}

// RFC 6066 section 3: "The ServerNameList MUST NOT contain more than one name of the same name_type."
func TestServerNameList(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
		ok               bool
	}{
		{"one", "\x00\x04\x00\x00\x01a", "a", true},
		{"another type first", "\x00\x09\x07\x00\x02??\x00\x00\x01a", "a", true},
		{"two hosts", "\x00\x08\x00\x00\x01a\x00\x00\x01b", "", false},
		{"no name", "\x00\x00", "", false},
		{"an empty name", "\x00\x03\x00\x00\x00", "", false},
		{"cut short", "\x00\x04\x00\x00\x02a", "", false},
		{"more behind it", "\x00\x04\x00\x00\x01a!", "", false},
	} {
		block := append([]byte{0, 0, 0, byte(len(c.body))}, c.body...)
		var e extensions
		if ok := e.parse(block, inClientHello); ok != c.ok || ok && e.serverName != c.want {
			t.Errorf("%s: %q, %v", c.name, e.serverName, ok)
		}
	}
}
