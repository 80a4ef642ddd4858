package jsep

import (
	"cmp"
	"slices"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// applyAnswer puts an answer into force, ours or the peer's (RFC 8829 section 5.11).
func (s *Session) applyAnswer(d *sdp.Description, final, remote bool, c *Changes) error {
	local, theirs := d, s.pendingRemoteSDP()
	if remote {
		local, theirs = s.pendingLocal.sdp(), d
	}
	groups, carried := bundleGroups(d), map[*sdp.Group]*transport{}
	told := map[*transport]bool{}
	for i, m := range d.Media {
		sec, at := &s.sections[i], i
		t := sec.transceiver
		if m.Port == 0 {
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
		g := groups[mid]
		if mid == "" {
			g = nil
		}
		switch {
		case g == nil:
			if sec.transport != nil && sec.transport.MID != sec.mid && s.sharesTransport(i) {
				return fail(InvalidAccessError, "section %q was offered for BUNDLE only, and the answer does not bundle it", mid)
			}
		case carried[g] == nil:
			// RFC 9143 section 7.5.1: what carries the section that the answer has tagged
			at = tagged(d, g, nil)
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
			if err := s.answered(sec.transport, local, theirs, at, remote); err != nil {
				return err
			}
		}
		if err := s.negotiate(sec, i, local, theirs, remote, c); err != nil {
			return err
		}
	}
	s.negotiateData(theirs)
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

func (s *Session) sharesTransport(i int) bool {
	for j, x := range s.sections {
		if j != i && x.transport == s.sections[i].transport && !x.rejected {
			return true
		}
	}
	return false
}

// tagged finds the section of a BUNDLE group whose transport attributes count (RFC 9143 section 7.1.3): the first one that is not
// rejected, neither in the description nor since.
func tagged(d *sdp.Description, g *sdp.Group, since func(i int) bool) int {
	for _, mid := range g.MIDs {
		for i, m := range d.Media {
			if v, _ := m.Attr("mid"); v == mid && (m.Port != 0 || m.Has("bundle-only")) && (since == nil || !since(i)) {
				return i
			}
		}
	}
	return 0 // there is none: nobody asks
}

// source finds the section that describes a transport: section i, or another of its group that has credentials.
func source(d *sdp.Description, i int) int {
	whole := func(i int) bool { return attribute(d, i, "ice-ufrag") != "" && attribute(d, i, "fingerprint") != "" }
	if whole(i) { // Chromium repeats the credentials in sections that are bundled, but not the fingerprint
		return i
	}
	mid, _ := d.Media[i].Attr("mid")
	if g := bundleGroups(d)[mid]; g != nil && g.MIDs[0] != mid { // not the tagged one (RFC 9143 section 7.1.3)
		for _, other := range g.MIDs {
			for j, m := range d.Media {
				if v, _ := m.Attr("mid"); v == other && whole(j) {
					return j
				}
			}
		}
	}
	return i
}

// answered puts what both descriptions say of a transport into force.
func (s *Session) answered(t *transport, local, theirs *sdp.Description, i int, remote bool) error {
	at := source(theirs, i)
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
	mine := sdp.Setup(attribute(local, source(local, i), "setup"))
	yours := sdp.Setup(strings.ToLower(attribute(theirs, at, "setup")))
	role := RoleServer
	if remote && yours == sdp.Passive || !remote && mine == sdp.Active {
		role = RoleClient
	}
	own := cmp.Or(attribute(local, source(local, i), "tls-id"), t.LocalTLSID)
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
	t.move(s.sections[source(local, i)].mid)
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
	mine, yours := direction0(local.Media[i]), direction0(theirs.Media[i])
	t.current = sdp.DirectionOf(mine.Sends() && yours.Receives(), mine.Receives() && yours.Sends())
	if !remote && !mine.Receives() && t.fired.Receives() {
		s.track(t, sdp.DirectionOf(mine.Sends(), false), nil, c)
	}
	t.fired, t.receptive = t.current, false
	t.agreeRIDs(local.Media[i], theirs.Media[i], remote)
	return nil
}

// negotiateData reads the peer's data section (RFC 8841 section 10).
func (s *Session) negotiateData(theirs *sdp.Description) {
	s.data = nil
	for i, sec := range s.sections {
		if sec.kind != "application" || sec.rejected || i >= len(theirs.Media) {
			continue
		}
		m := theirs.Media[i]
		port, _, _ := m.SCTPPort()
		size, ok, _ := m.MaxMessageSize()
		if !ok {
			size = 64 << 10 // RFC 8841 section 6.1
		}
		init, _ := m.Attr("sctp-init")
		s.data = &Data{sec.mid, sec.transport.ID, s.cfg.SCTPPort, port, size, init}
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
