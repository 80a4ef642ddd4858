package sctp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
)

// described makes two ends that know each other's INIT chunks, as from their descriptions.
func described(t *testing.T, p simnet.Path) *duo {
	t.Helper()
	var inits [2][]byte
	for i := range inits {
		var err error
		if inits[i], err = NewInit(Config{Rand: entropy(uint64(40 + i)), Server: i == 1}); err != nil {
			t.Fatal(err)
		}
	}
	return newDuo(t, p, func(cfg *Config) {
		mine := 0
		if cfg.Server {
			mine = 1
		}
		cfg.LocalInit, cfg.RemoteInit = inits[mine], inits[1-mine]
	})
}

// draft-hancke-tsvwg-snap: both ends stand without a packet, and a first message takes half a round trip.
func TestSNAP(t *testing.T) {
	d := described(t, simnet.Path{Delay: 50 * time.Millisecond})
	id := d.a.opens(ChannelConfig{Label: "fast", Priority: 1024})
	d.a.sends(id, "hello")
	before := d.net.Now()
	d.a.Connect(d.a.now())
	if d.a.state != stateEstablished || d.a.kinds() != "" {
		t.Errorf("state %d, events %s", d.a.state, d.a.kinds())
	}
	d.a.driver.Poll()
	d.until("delivered", func() bool { return len(d.b.got[id]) == 1 }) // b has not called Connect yet
	if took := d.net.Now().Sub(before); took != 50*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	d.b.Connect(d.b.now())
	if got := d.b.kinds(); got != "Established ChannelOpen:0" {
		t.Errorf("b's events: %s", got)
	}
	if !d.a.send.interleave || !d.b.send.interleave || d.a.outStreams != maxStreams {
		t.Error("the extensions were not taken over")
	}
	exchange(t, d, 10, sizes(), 40*time.Millisecond)
	over(t, d)
}

// A peer that has put no INIT chunk into its description gets a handshake, with the tag that was announced.
func TestSNAPOfOneEnd(t *testing.T) {
	d := described(t, lan)
	d.a.cfg.RemoteInit, d.b.cfg.RemoteInit, d.b.cfg.LocalInit = nil, nil, nil
	tag := d.a.myTag
	d.connect()
	if d.a.myTag != tag || d.b.peerTag != tag {
		t.Errorf("the tag is %x, and was %x", d.a.myTag, tag)
	}
	exchange(t, d, 5, sizes(), 40*time.Millisecond)
	over(t, d)
}

// The peer starts anew after all, by a handshake.
func TestSNAPAndRestart(t *testing.T) {
	d := described(t, lan).connect()
	again, err := New(Config{Rand: entropy(99), Server: true})
	if err != nil {
		t.Fatal(err)
	}
	d.b.Association, d.b.events = again, nil
	d.b.Connect(d.b.now())
	d.b.driver.Poll()
	d.until("restarted", func() bool { return d.b.state == stateEstablished && strings.Contains(d.a.kinds(), "Restarted") })
	exchange(t, d, 5, sizes(), 40*time.Millisecond)
}

func TestBadDescribedInit(t *testing.T) {
	good, err := NewInit(Config{Rand: entropy(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":        {},
		"truncated":    good[:len(good)-1],
		"too much":     append(good[:len(good):len(good)], 0),
		"too long":     make([]byte, maxInit+1),
		"INIT ACK":     append([]byte{byte(typeInitAck)}, good[1:]...),
		"tag 0":        appendInit(nil, typeInit, &initChunk{window: 1500, outgoing: 1, incoming: 1}),
		"no stream":    appendInit(nil, typeInit, &initChunk{tag: 1, window: 1500, outgoing: 1}),
		"small window": appendInit(nil, typeInit, &initChunk{tag: 1, window: 1499, outgoing: 1, incoming: 1}),
	} {
		if _, err := New(Config{Rand: entropy(1), LocalInit: good, RemoteInit: bad}); !errors.Is(err, ErrInit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
