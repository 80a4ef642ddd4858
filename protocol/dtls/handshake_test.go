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
