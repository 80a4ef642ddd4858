package jsep

import (
	"cmp"
	"slices"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// applyAnswer puts an answer into force, ours or the peer's (RFC 8829 section 5.11).
func (s *Session) applyAnswer(d *sdp.Description, final, remote bool, c *Changes) error {
	local, theirs := d, s.pendingRemoteSDP()
	if remote {
		local, theirs = s.pendingLocal.sdp(), d
	}
	mine, yours := bundlingOf(local), bundlingOf(theirs)
	b, carried := mine, map[*sdp.Group]*transport{}
	if remote {
		b = yours
	}
	told := map[*transport]bool{}
	for i, m := range d.Media {
		sec, at := &s.sections[i], i
		t := sec.transceiver
		if b.rejected(i) {
			sec.negotiated = sec.negotiated || final
			if remote {
				if err := s.receive(sec, i, m, false, true, c); err != nil {
					return err
				}
			}
			sec.rejected, sec.bundled = true, false
			if t != nil {
				t.current, t.fired = sdp.Inactive, sdp.Inactive
			}
			if final {
				sec.transport = nil
			}
			continue
		}
		mid, _ := m.Attr("mid")
		g := b.of(i)
		switch {
		case g == nil:
			if sec.transport != nil && sec.transport.MID != sec.mid && s.sharesTransport(b, i) {
				return fail(InvalidAccessError, "section %q was offered for BUNDLE only, and the answer does not bundle it", mid)
			}
		case carried[g] == nil:
			// RFC 9143 section 7.5.1: what carries the section that the answer has tagged
			at = b.tagged(g, nil)
			carried[g] = s.sections[at].transport
			fallthrough
		default:
			sec.transport = carried[g]
		}
		sec.bundled, sec.negotiated = g != nil, sec.negotiated || final
		if sec.transport == nil {
			return fail(InvalidAccessError, "nothing carries section %q", mid)
		}
		if !told[sec.transport] {
			told[sec.transport] = true
			if err := s.answered(sec.transport, mine, yours, at, remote); err != nil {
				return err
			}
		}
		if err := s.negotiate(sec, i, local, theirs, remote, c); err != nil {
			return err
		}
	}
	s.negotiateData(local, theirs)
	if !final {
		return nil
	}
	before := s.transports
	s.transports = slices.DeleteFunc(slices.Clone(before), func(t *transport) bool {
		return !slices.ContainsFunc(s.sections, func(x section) bool { return x.transport == t && !x.rejected })
	})
	s.closed(before, c)
	return nil
}

func (s *Session) pendingRemoteSDP() *sdp.Description {
	if s.pendingRemote == nil {
		return &sdp.Description{}
	}
	return s.pendingRemote.sdp()
}

// sharesTransport reports whether an answer accepts another section on the transport of section i.
func (s *Session) sharesTransport(answer *bundling, i int) bool {
	for j, x := range s.sections {
		if j != i && x.transport == s.sections[i].transport && !answer.rejected(j) {
			return true
		}
	}
	return false
}

// answered puts what both descriptions say of a transport into force.
func (s *Session) answered(t *transport, ours, yours *bundling, i int, remote bool) error {
	local, theirs := ours.d, yours.d
	here, at := ours.source(i), yours.source(i)
	next := Credentials{attribute(theirs, at, "ice-ufrag"), attribute(theirs, at, "ice-pwd")}
	if next.Ufrag == "" || next.Pwd == "" {
		return fail(InvalidAccessError, "section %d has no ICE credentials", i)
	}
	if remote && t.Answered && s.state == HaveLocalOffer {
		restarted := t.Restart != (Credentials{})
		switch { // RFC 8829 section 5.10
		case restarted && next == t.Remote:
			return fail(InvalidAccessError, "we have restarted ICE and the answer has not")
		case !restarted && next != t.Remote:
			return fail(InvalidAccessError, "the answer restarts ICE and our offer did not")
		}
	}
	fingerprints, err := fingerprintsOf(theirs, at)
	if err != nil {
		return syntax(err)
	}
	tlsID := attribute(theirs, at, "tls-id")
	// RFC 8829 section 5.11: "If a DTLS connection needs to be torn down but the answer does not indicate an ICE restart or, in the
	// case of "have-remote-pranswer", new ICE credentials, an error MUST be generated."
	if remote && t.Answered && next == t.Remote && (tlsID != t.RemoteTLSID || !slices.Equal(fingerprints, t.RemoteFingerprints)) {
		return fail(InvalidAccessError, "the answer asks for another association of DTLS without an ICE restart")
	}
	mine, other := setupOf(local, here), setupOf(theirs, at)
	role := RoleServer
	if remote && other == sdp.Passive || !remote && mine == sdp.Active {
		role = RoleClient
	}
	own := cmp.Or(attribute(local, here, "tls-id"), t.LocalTLSID)
	// RFC 8842 section 3.1: a new association by fingerprints, setup roles or either's tls-id
	if !t.Answered || !slices.Equal(fingerprints, t.RemoteFingerprints) || tlsID != t.RemoteTLSID || own != t.LocalTLSID || role != t.Role {
		t.Association++
		t.failed = false
	}
	t.LocalTLSID = own
	t.Answered, t.Spare = true, false
	t.Role, t.RemoteFingerprints, t.RemoteTLSID = role, fingerprints, tlsID
	t.Remote, t.next = next, Credentials{}
	t.RemoteLite, t.RemoteOptions = theirs.Has("ice-lite"), options(theirs, at)
	if t.RemoteLite && !s.cfg.Lite {
		t.Controlling = true // RFC 8445 section 6.1.1: a lite agent never controls a full one
	}
	if t.Restart != (Credentials{}) {
		t.Local, t.Restart = t.Restart, Credentials{}
	}
	t.move(s.sections[here].mid)
	return nil
}

// negotiate is the W3C's steps of an answer for one transceiver.
func (s *Session) negotiate(sec *section, i int, local, theirs *sdp.Description, remote bool, c *Changes) error {
	t := sec.transceiver
	if t == nil {
		return nil
	}
	if err := s.agree(t, local, theirs, i, remote); err != nil {
		return err
	}
	if remote {
		if err := s.receive(sec, i, theirs.Media[i], false, false, c); err != nil {
			return err
		}
	}
	mine, yours := directionOf(local.Media[i]), directionOf(theirs.Media[i])
	t.current = sdp.DirectionOf(mine.Sends() && yours.Receives(), mine.Receives() && yours.Sends())
	if !remote && !mine.Receives() && t.fired.Receives() {
		s.track(t, sdp.DirectionOf(mine.Sends(), false), nil, c)
	}
	t.fired, t.receptive = t.current, false
	t.agreeRIDs(local.Media[i], theirs.Media[i], remote)
	return nil
}

// negotiateData reads the data section (RFC 8841 section 10). Where either side says port 0 there is none.
func (s *Session) negotiateData(local, theirs *sdp.Description) {
	s.data = nil
	for i, sec := range s.sections {
		if sec.kind != "application" || sec.rejected || i >= len(theirs.Media) {
			continue
		}
		m := theirs.Media[i]
		ours, _, _ := local.Media[i].SCTPPort()
		port, _, _ := m.SCTPPort()
		if ours == 0 || port == 0 {
			return
		}
		size, ok, _ := m.MaxMessageSize()
		if !ok {
			size = 64 << 10 // RFC 8841 section 6.1
		}
		init := ""
		if local.Media[i].Has("sctp-init") {
			init, _ = m.Attr("sctp-init")
		}
		s.data = &Data{sec.mid, sec.transport.ID, ours, port, size, init}
		return
	}
}

// stop ends transceivers whose section is rejected, and forgets them.
func (s *Session) stop(c *Changes) {
	for i := range s.sections {
		sec := &s.sections[i]
		if t := sec.transceiver; sec.rejected && t != nil {
			if !t.stopped {
				t.end()
				c.Stopped = append(c.Stopped, t)
			}
			t.current, t.mid, t.index, sec.transceiver = "", "", -1, nil
		}
	}
	for _, t := range s.transceivers {
		if t.stopping && !t.stopped && t.index < 0 { // it never had a section
			t.stopped = true
			c.Stopped = append(c.Stopped, t)
		}
	}
	s.transceivers = slices.DeleteFunc(s.transceivers, func(t *Transceiver) bool { return t.stopped })
}
