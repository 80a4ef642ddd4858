package peer

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/srtp"
)

// maxProtected is the longest packet of RTP or RTCP that is sent: with the longest tag, and the index of SRTCP.
const maxProtected = session.MaxAppend + 20

// What IPv4 and UDP add to each packet, and what IPv6 does beyond that.
const (
	udpOverhead = 28
	ipv6More    = 20
)

// protection is SRTP with the keys of one association of DTLS.
type protection struct{ in, out *srtp.Context }

// protect makes the contexts, once DTLS is connected (RFC 5764 section 4.2). It does nothing if no profile was negotiated.
func (s *Secure) protect() error {
	profile := s.conn.State().SRTPProfile
	if s.protection != nil || !s.connected || s.ended || profile == 0 {
		return nil
	}
	ours, theirs, err := s.conn.SRTPKeys()
	if err != nil {
		return err
	}
	p := &protection{}
	if p.out, err = srtp.New(srtp.Config{Profile: srtp.Profile(profile), Master: ours}); err != nil {
		return err
	}
	if p.in, err = srtp.New(srtp.Config{Profile: srtp.Profile(profile), Master: theirs}); err != nil {
		return err
	}
	s.protection = p
	return nil
}

// open decrypts in place.
func (p *protection) open(b []byte, control bool) ([]byte, error) {
	if control {
		return p.in.DecryptRTCP(b)
	}
	return p.in.DecryptRTP(b)
}

// seal encrypts in place; b has room for the tag.
func (p *protection) seal(b []byte) ([]byte, error) {
	if rtp.IsRTCP(b) {
		return p.out.AppendRTCP(b[:0], b)
	}
	return p.out.AppendRTP(b[:0], b)
}

// applyMedia tells the session of its sections. There is none before the first.
func (x *Transport) applyMedia(now mono.Time, media []jsep.Media) error {
	var mine []jsep.Media
	for _, m := range media {
		if m.Transport == x.id {
			mine = append(mine, m)
		}
	}
	if x.session == nil {
		if len(mine) == 0 {
			return nil
		}
		var err error
		if x.session, err = session.New(session.Config{Entropy: x.peer.cfg.Entropy, Origin: x.peer.cfg.Origin}); err != nil {
			return err
		}
	}
	x.session.Apply(now, mine)
	x.settle(now)
	return nil
}

// settleMedia lets the session begin as soon as there are keys, tells it of the path, and joins it with what carries data.
func (x *Transport) settleMedia(now mono.Time, path bool, rtt time.Duration) {
	if rtt > 0 {
		x.session.SetRTT(rtt)
	}
	for _, s := range x.secures() {
		if s != nil {
			s.media = x.session
		}
	}
	if s := x.secure; s != nil && s.connected && !s.ended {
		// Keys that cannot be had are those of a connection that is about to end.
		if err := s.protect(); err == nil && s.protection != nil {
			ip := udpOverhead
			if x.path.Remote.Addr().Is6() {
				ip += ipv6More
			}
			x.session.SetOverhead(ip + s.protection.out.RTPOverhead())
			x.session.Connect(now)
		}
	}
	x.session.Pause(now, x.selected && !path || x.secure != nil && x.secure.ended) // before the first path, media wait for it
}

// handleMedia takes a packet of RTP or RTCP that came along a path that a check has made known.
func (x *Transport) handleMedia(now mono.Time, d *pkt.Datagram) {
	s := x.secure
	if x.session == nil || x.closing || x.err != nil || s == nil || s.protection == nil {
		if x.session == nil || x.closing || x.err != nil || !x.holdEarly(now, d) { // not on the strength of an association before the failed one
			x.peer.dropped.Media++
		}
		return
	}
	control := rtp.IsRTCP(d.Payload)
	older := x.former
	if older != nil || x.next != nil {
		// As with DTLS only the keys tell to which association a packet belongs.
		x.peer.copied = append(x.peer.copied[:0], d.Payload...)
	}
	b, err := s.protection.open(d.Payload, control)
	if err != nil && older != nil && older.protection != nil {
		b, err = older.protection.open(x.peer.copied, control)
	}
	if err != nil && x.next != nil { // whose keys the peer may have already
		d.Payload = x.peer.copied
		if x.holdEarly(now, d) {
			return
		}
	}
	if err != nil {
		x.peer.dropped.Forged++
		return
	}
	x.countReceived(now, d)
	if control {
		x.session.HandleRTCP(now, b)
		return
	}
	x.session.HandleRTP(now, b, d.ECN)
	x.peer.brought = x.session
}

// maxEarly bounds what is kept of media that come before the keys: they may overtake the last flight of the handshake, or come while
// its public-key work is still being done.
const maxEarly = 32 << 10

// early are datagrams that wait for keys.
type early struct {
	size int // bytes
	list []earlyDatagram
}

type earlyDatagram struct {
	pkt.Datagram
	at mono.Time
}

// holdEarly keeps a datagram until there are keys; false if there will be none, or no room.
func (x *Transport) holdEarly(now mono.Time, d *pkt.Datagram) bool {
	if s := x.newest(); s == nil || s.connected || s.ended {
		return false
	}
	if x.early == nil {
		x.early = &early{}
	}
	if x.early.size+len(d.Payload) > maxEarly {
		return false
	}
	kept := earlyDatagram{*d, now}
	kept.Payload = append([]byte(nil), d.Payload...)
	x.early.list = append(x.early.list, kept)
	x.early.size += len(d.Payload)
	return true
}

// nextEarly takes the next of them, once there are keys.
func (x *Transport) nextEarly() bool {
	if x.early == nil || x.next != nil || x.secure == nil || x.secure.protection == nil {
		return false
	}
	e := &x.early.list[0]
	if x.early.list = x.early.list[1:]; len(x.early.list) == 0 {
		x.early = nil
	}
	x.handleMedia(e.at, &e.Datagram)
	return true
}

// appendMedia writes what the session has to send along the selected pair. As in appendPackets of Secure, those of one size
// leave in one transmit, which a shorter one ends.
func (x *Transport) appendMedia(now mono.Time, b *pkt.Batch) (more bool) {
	path, ok := x.agent.Path()
	s := x.secure
	if !ok || s == nil || s.protection == nil || s.ended {
		return false
	}
	t := pkt.Transmit{Path: path}
	run, segment := 0, 0 // bytes, and of each packet but the last
	commit := func() {
		if run > 0 {
			t.Payload = b.Reserve(run)[:run]
			if t.SegmentSize = 0; run > segment {
				t.SegmentSize = uint16(segment)
			}
			b.Commit(t)
			run = 0
		}
	}
	for {
		// Reserve gives the same memory until Commit, with the run so far in it.
		room := b.Reserve(run + maxProtected)
		if room == nil {
			commit()
			return true
		}
		packet, marking := x.session.AppendPacket(room[run:run], now)
		if len(packet) == 0 {
			commit()
			return false
		}
		sealed, err := s.protection.seal(packet)
		if err != nil { // the keys are spent, or there are too many sources: as good as lost
			s.dropped++
			continue
		}
		n := len(sealed)
		if run > 0 && (n > segment || marking != (session.Marking{DSCP: t.DSCP, ECN: t.ECN}) || run+n > runBytes || run/segment == runSegments) {
			commit() // after which Reserve gives the memory behind it, where this one is
		}
		if run == 0 {
			segment, t.DSCP, t.ECN = n, marking.DSCP, marking.ECN
		}
		_, left := b.Room()
		if run += n; n < segment || left == 1 { // a second one might need a transmit of its own
			commit()
		}
	}
}

// Session returns the session of RTP, for its statistics; nil as long as there is no section of media.
func (x *Transport) Session() *session.Session { return x.session }

// Sender returns the sending half of a section of media; nil if there is none. It goes with the section and its transport, so
// it is looked up each time.
func (p *Peer) Sender(mid string) *session.Sender {
	for _, x := range p.transports {
		if x.session != nil {
			if s := x.session.Sender(mid); s != nil {
				return s
			}
		}
	}
	return nil
}

// NextPacket returns the packets of media that the last HandleDatagram has brought; false if there is no more. They are
// borrowed until the next call of the peer, and what is not taken by then is dropped.
func (p *Peer) NextPacket() (*session.Received, bool) {
	for {
		if p.brought != nil {
			if r, ok := p.brought.NextPacket(); ok {
				return r, true
			}
			p.brought = nil
		}
		if !slices.ContainsFunc(p.transports, (*Transport).nextEarly) {
			return nil, false
		}
	}
}

// RequestKeyFrame is that of the [session.Session] which has the section.
func (p *Peer) RequestKeyFrame(now mono.Time, mid, rid string) {
	for _, x := range p.transports {
		if x.session != nil {
			x.session.RequestKeyFrame(now, mid, rid)
		}
	}
}
