package dtls

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Every scenario of the two versions on links of all kinds. The MTU of 300 cuts every flight into many datagrams.
func TestHandshakeOverEveryLink(t *testing.T) {
	links := []struct {
		name string
		link conditions
	}{
		{"clean", conditions{delay: 20 * time.Millisecond}},
		{"lossy", conditions{delay: 20 * time.Millisecond, loss: 0.3}},
		{"reordering", conditions{delay: 5 * time.Millisecond, jitter: 80 * time.Millisecond}},
		{"duplicating", conditions{delay: 20 * time.Millisecond, jitter: 10 * time.Millisecond, dup: 0.5}},
		{"awful", conditions{delay: 20 * time.Millisecond, jitter: 60 * time.Millisecond, loss: 0.25, dup: 0.25}},
	}
	seeds := uint64(8)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 1000
	}
	for _, v := range []Version{Version12, Version13} {
		for _, mtu := range []int{300, 1200} {
			for _, l := range links {
				for seed := range seeds {
					t.Run(fmt.Sprintf("%v/MTU %d/%s/seed %d", v, mtu, l.name, seed), func(t *testing.T) {
						client, server := only(configOf(t, "client", seed), v), only(configOf(t, "server", seed), v)
						client.MTU, server.MTU = mtu, mtu
						p := newPair(t, client, server)
						p.rng, p.link = rand.New(rand.NewPCG(seed, uint64(mtu))), l.link
						p.connect()
						p.checkAgreement()
						if s := p.client.State(); s.Version != v {
							t.Errorf("%v was negotiated", s.Version)
						}
						if p.client.largest > mtu || p.server.largest > mtu {
							t.Errorf("datagrams of %d and %d bytes over an MTU of %d", p.client.largest, p.server.largest, mtu)
						}
						p.exchange(3)
						p.idle(2 * time.Minute)
						if p.client.closed+p.server.closed > 0 {
							t.Errorf("closed when idle: %v, %v", p.client.err, p.server.err)
						}
						p.exchange(1)
					})
				}
			}
		}
	}
}

// Retries, cookies, connection IDs, RSA and late verdicts over a link that loses, repeats and reorders.
func TestVariantsOverAnAwfulLink(t *testing.T) {
	seeds := uint64(10)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 1000
	}
	for name, change := range map[string]func(client, server *Config){
		"share asked for":     func(_, s *Config) { s.Groups = []Group{P384} },
		"1.3 cookie":          func(_, s *Config) { s.CookieSecret = make([]byte, 32) },
		"1.3 cookie, share":   func(_, s *Config) { s.CookieSecret = make([]byte, 32); s.Groups = []Group{P256} },
		"1.2 cookie":          func(c, s *Config) { only(c, Version12); s.CookieSecret = make([]byte, 32) },
		"1.3 connection IDs":  func(c, s *Config) { c.ConnectionID, s.ConnectionID = []byte("cc"), []byte("sssss") },
		"1.2 connection IDs":  func(c, s *Config) { only(s, Version12); c.ConnectionID, s.ConnectionID = []byte("cc"), []byte("sssss") },
		"client of 1.2":       func(c, _ *Config) { only(c, Version12) },
		"ChaCha20":            func(c, _ *Config) { c.CipherSuites = []CipherSuite{ChaCha20Poly1305} },
		"the smallest MTU":    func(c, s *Config) { c.MTU, s.MTU = minMTU, minMTU; c.Groups = []Group{X25519} },
		"a slow client's RTT": func(c, _ *Config) { c.Retransmit = time.Second },
	} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				client, server := configOf(t, "client", seed), configOf(t, "server", seed)
				change(client, server)
				p := newPair(t, client, server)
				p.rng = rand.New(rand.NewPCG(seed, 77))
				p.link = conditions{delay: 20 * time.Millisecond, jitter: 60 * time.Millisecond, loss: 0.15, dup: 0.2}
				p.client.hold = seed%3 == 0
				if p.client.hold {
					p.runUntil(10*time.Second, func() bool { return p.client.certs != nil && p.server.connected == 1 })
					p.client.Accept(p.now)
				}
				p.connect()
				p.checkAgreement()
				p.exchange(2)
			})
		}
	}
}
