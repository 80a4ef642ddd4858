package webrtc

import (
	"log/slog"
	"sync"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// A Network is where connections live: one loop, which all of them share and which runs while there is any. Programs that
// want nothing particular use [NewPeerConnection], which has one of its own.
type Network struct {
	cfg    NetworkConfig
	poller func() (loop.Poller, error) // nil: that of the system
	host   gather.Host                 // nil: this machine

	mu    sync.Mutex
	loop  *loop.Loop
	users int
	live  map[*PeerConnection]struct{}

	shared
}

// shared is what the connections of one loop share; it belongs to the loop's goroutine.
type shared struct {
	hasher  *stun.Hasher
	scratch *pkt.Batch // of connections that send over relays
	slab    []byte     // room for short messages
}

var standard Network

// acquire returns the loop, started if need be, for as long as it takes until release.
func (n *Network) acquire() (*loop.Loop, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.loop == nil {
		var cfg loop.Config
		if n.poller != nil {
			p, err := n.poller()
			if err != nil {
				return nil, err
			}
			cfg.Poller = p
		}
		l, err := loop.New(cfg)
		if err != nil {
			return nil, err
		}
		n.loop = l
		n.shared = shared{hasher: stun.NewHasher()}
	}
	n.users++
	return n.loop, nil
}

// release ends the loop if nobody uses it any more.
func (n *Network) release() {
	n.mu.Lock()
	n.users--
	var l *loop.Loop
	if n.users == 0 {
		l, n.loop = n.loop, nil
	}
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// copy returns a copy of a message, which is the receiver's to keep. Short ones share a slab.
func (s *shared) copy(b []byte) []byte {
	const slab, short = 32 << 10, 512
	if len(b) > short {
		return append([]byte(nil), b...)
	}
	if len(b) > cap(s.slab)-len(s.slab) {
		s.slab = make([]byte, 0, slab)
	}
	start := len(s.slab)
	s.slab = append(s.slab, b...)
	return s.slab[start:len(s.slab):len(s.slab)]
}

// NetworkConfig says how connections of a [Network] reach the world. The zero value is that of [NewPeerConnection].
type NetworkConfig struct {
	// Logger is told what a program's maker wants to know, without secrets or addresses; nil: nobody.
	Logger *slog.Logger
}
