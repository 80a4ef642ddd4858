package sctp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// SNAP (draft-hancke-tsvwg-snap): each end puts the INIT chunk that it would send into its description, in base64 as
// a=sctp-init. If both have, there is no handshake: the association stands as soon as there is a way for packets.
//
//	A                                   Z
//	offer with INIT  ----------------->
//	                 <----------------- answer with INIT
//	established                         established

// ErrInit says that an INIT chunk from a description cannot be used; without it, the association begins with a handshake.
var ErrInit = errors.New("sctp: the INIT chunk of the description cannot be used")

// maxInit bounds an INIT chunk from a description, in bytes.
const maxInit = 2048

// NewInit returns an INIT chunk with a fresh tag and TSN, for a=sctp-init of this end's description and then for LocalInit
// of the Config that the association is made with, which must be the same in all else that an INIT tells: ReceiveBuffer,
// MaxMessageSize, ZeroChecksum and NoInterleaving.
func NewInit(cfg Config) ([]byte, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var random [8]byte
	if _, err := io.ReadFull(cfg.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("sctp: Config.Rand: %w", err)
	}
	a := Association{cfg: cfg, myTag: max(binary.BigEndian.Uint32(random[:]), 1), myTSN: binary.BigEndian.Uint32(random[4:])}
	return appendInit(nil, typeInit, a.offer()), nil
}

// parseDescribed parses an INIT chunk that came in a description.
func parseDescribed(b []byte) (c initChunk, err error) {
	if len(b) > maxInit {
		return c, fmt.Errorf("%w: it has %d bytes", ErrInit, len(b))
	}
	r := wire.NewReader(b)
	whole, ok := nextChunk(&r)
	if !ok || whole.kind != typeInit || r.Len() > 0 {
		return c, fmt.Errorf("%w: it is no INIT chunk", ErrInit)
	}
	if c, ok = parseInit(whole.value); !ok || c.tag == 0 {
		return c, fmt.Errorf("%w: it cannot be parsed", ErrInit)
	}
	if _, bad := c.unacceptable(); bad {
		return c, fmt.Errorf("%w: it offers no streams or no window", ErrInit)
	}
	return c, nil
}

// takeDescribed takes tag and TSN from the INIT chunk of our description.
func (a *Association) takeDescribed() error {
	if a.cfg.LocalInit == nil {
		return nil
	}
	c, err := parseDescribed(a.cfg.LocalInit)
	if err == nil && a.cfg.RemoteInit != nil {
		_, err = parseDescribed(a.cfg.RemoteInit)
	}
	if err != nil {
		return err
	}
	a.myTag = c.tag
	a.start(c.tsn)
	return nil
}

// described reports whether there is no need of a handshake.
func (a *Association) described() bool { return a.cfg.LocalInit != nil && a.cfg.RemoteInit != nil }

// establishDescribed begins with what the descriptions said.
func (a *Association) establishDescribed(now mono.Time) {
	in, err := parseDescribed(a.cfg.RemoteInit)
	if err != nil { // New has parsed it
		return
	}
	a.peerTag = in.tag
	a.tieTags = [2]uint32{a.randomTag(), a.randomTag()}
	a.adopt(in.tsn, in.window, in.incoming, in.outgoing, in.ext)
	a.establish(now)
}
