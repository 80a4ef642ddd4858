//go:build linux

package main

import (
	"runtime"
	"testing"
	"time"
)

// What is measured works, on every machine that runs the tests: each server relays in both directions, whole and to the
// right client.
func TestEachServerRelays(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	if runtime.NumCPU() < 2 {
		t.Skip(errCPUs)
	}
	servers := contenders("")
	if _, err := turnserver(); err != nil {
		t.Log("coturn is left out: it is not installed, on Debian: apt-get install coturn")
		servers = servers[1:]
	}
	for _, name := range servers {
		for _, l := range []load{{up: true, size: 160, burst: 1, rate: 500}, {size: 1200, burst: 8, rate: 500}} {
			t.Run(name+" "+l.String(), func(t *testing.T) {
				s, err := start(name, addressOf(0))
				if err != nil {
					t.Fatal(err)
				}
				defer s.stop()
				g, err := newGenerator(s.address, 4)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				if err := g.allocate(); err != nil {
					t.Fatal(err)
				}
				if err := g.bind(); err != nil {
					t.Fatal(err)
				}
				sent, arrived := 0, 0
				for range 10 {
					n, m, _ := g.run(l, 100*time.Millisecond)
					sent, arrived = sent+n, arrived+m
				}
				if arrived == 0 || arrived > sent {
					t.Errorf("%d of %d datagrams arrived", arrived, sent)
				}
			})
		}
	}
}
