package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// check holds a remote description against RFC 8829 sections 5.8.2 and 5.8.3.
func (s *Session) check(kind Type, d *sdp.Description) error {
	groups, err := d.Groups()
	if err != nil {
		return syntax(err)
	}
	mids := map[string]bool{}
	for _, m := range d.Media {
		if err := checkSyntax(m); err != nil {
			return syntax(err)
		}
		mid, ok := m.Attr("mid")
		if ok && mids[mid] {
			return refuse(m, "the mid %q is there twice", mid)
		}
		if ok {
			mids[mid] = true
		}
		if tracks := tracksOf(m); tracks > 1 {
			return refuse(m, "one section has %d tracks (Plan B): there is to be a section for each (Unified Plan)", tracks)
		}
	}
	if err := checkSyntax(&sdp.Media{Section: d.Section}); err != nil {
		return syntax(err)
	}
	grouped := map[string]bool{}
	for _, g := range groups {
		if g.Semantics != "BUNDLE" {
			continue
		}
		for _, mid := range g.MIDs {
			if !mids[mid] || grouped[mid] { // RFC 9143 section 7.1: in one group only
				return fail(InvalidAccessError, "the BUNDLE group names %q, which is no section or is named twice", mid)
			}
			grouped[mid] = true
		}
	}
	b := bundlingOf(d)
	for i := range d.Media {
		if b.rejected(i) {
			continue
		}
		if err := s.checkTransport(b, i, kind); err != nil {
			return err
		}
	}
	if kind == Offer {
		return s.checkOffer(d)
	}
	return s.checkAnswer(b)
}

// checkSyntax parses every attribute that will be read.
func checkSyntax(m *sdp.Media) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	_, _, err := m.MID()
	note(err)
	_, _, err = m.Ufrag()
	note(err)
	_, _, err = m.Pwd()
	note(err)
	_, err = m.Fingerprints()
	note(err)
	_, _, err = m.Setup()
	note(err)
	_, _, err = m.TLSID()
	note(err)
	_, err = m.Candidates()
	note(err)
	_, _, err = m.SCTPPort()
	note(err)
	_, _, err = m.MaxMessageSize()
	note(err)
	_, err = codecsOf(m)
	note(err)
	_, err = m.ExtMaps()
	note(err)
	_, err = m.MSIDs()
	note(err)
	_, err = m.RIDs()
	note(err)
	_, _, err = m.Simulcast()
	note(err)
	return first
}

func refuse(m *sdp.Media, format string, args ...any) error {
	err := fail(InvalidAccessError, format, args...).(*Error)
	err.Line = int(m.Number)
	return err
}

func (s *Session) checkTransport(b *bundling, i int, kind Type) error {
	d := b.d
	m, at := d.Media[i], b.source(i)
	if attribute(d, at, "ice-ufrag") == "" || attribute(d, at, "ice-pwd") == "" {
		return refuse(m, "section %d has no ICE credentials", i)
	}
	if attribute(d, at, "fingerprint") == "" {
		return refuse(m, "section %d has no fingerprint", i)
	}
	if setup := setupOf(d, at); kind != Offer && (setup == sdp.ActPass || setup == sdp.HoldConn) {
		return refuse(m, "the answer says setup:%s", setup) // RFC 5763 section 5
	}
	// RFC 8829 section 5.8.3: rtcp-mux is required; a bundled section may leave it to the tagged one
	if g := b.of(i); g != nil {
		at = b.tagged(g, nil)
	}
	if rtp := m.Kind == "audio" || m.Kind == "video"; rtp && !m.Has("rtcp-mux") && !d.Media[at].Has("rtcp-mux") {
		return refuse(m, "section %d does not multiplex RTCP, which is required", i)
	}
	if rtp := m.Kind == "audio" || m.Kind == "video"; rtp {
		for _, f := range m.Formats {
			if pt, err := strconv.Atoi(f); err == nil && pt >= 64 && pt <= 95 {
				// RFC 5761 section 4: with the marker bit they would be types of RTCP
				return refuse(m, "the payload type %d cannot be told from RTCP", pt)
			}
		}
	}
	sim, ok, _ := m.Simulcast()
	if !ok {
		return nil
	}
	rids, _ := m.RIDs()
	for _, streams := range append(slices.Clone(sim.Send), sim.Recv...) {
		for _, r := range streams {
			if r != "" && r[0] == '~' {
				r = r[1:]
			}
			if !slices.ContainsFunc(rids, func(x sdp.RID) bool { return x.ID == r }) {
				return refuse(m, "simulcast names %q, for which there is no rid", r)
			}
		}
	}
	return nil
}

// checkOffer wants the sections there were, in their order (RFC 3264 section 8).
func (s *Session) checkOffer(d *sdp.Description) error {
	if len(d.Media) < len(s.sections) {
		return fail(InvalidAccessError, "the offer has %d sections, fewer than the %d there were", len(d.Media), len(s.sections))
	}
	for i, sec := range s.sections {
		mid, _ := d.Media[i].Attr("mid")
		if !sec.rejected && (d.Media[i].Kind != sec.kind || mid != sec.mid) {
			return refuse(d.Media[i], "section %d was %s with the mid %q and is no longer", i, sec.kind, sec.mid)
		}
	}
	return nil
}

// checkAnswer wants the sections of the offer (RFC 3264 section 6).
func (s *Session) checkAnswer(b *bundling) error {
	d, offer := b.d, s.pendingLocal.sdp()
	if len(d.Media) != len(offer.Media) {
		return fail(InvalidAccessError, "the answer has %d sections, the offer %d", len(d.Media), len(offer.Media))
	}
	for i, m := range d.Media {
		o := offer.Media[i]
		mid, known := m.Attr("mid")
		offered, _ := o.Attr("mid")
		if m.Kind != o.Kind || !sameProtocol(m.Proto, o.Proto) && !b.rejected(i) || known && mid != offered {
			return refuse(m, "section %d of the answer is not the one of the offer", i)
		}
		if o.Port == 0 && !o.Has("bundle-only") && !b.rejected(i) {
			return refuse(m, "section %d was rejected by the offer and is accepted by the answer", i)
		}
		if b.rejected(i) || m.Kind != "audio" && m.Kind != "video" {
			continue
		}
		// RFC 3264 section 6.1: what is offered to be sent may be received, and what is to be received may be sent
		ours, theirs := directionOf(o), directionOf(m)
		if theirs.Sends() && !ours.Receives() || theirs.Receives() && !ours.Sends() {
			return refuse(m, "section %d was offered %s and is answered %s", i, ours, theirs)
		}
		// RFC 8285 section 6: "Identifier values in the valid range MUST NOT be altered (remapped)"
		t := s.sections[i].transceiver
		if t == nil || t.current == "" {
			continue
		}
		for _, e := range extMaps(d, m) {
			if slices.ContainsFunc(t.extensions, func(x sdp.ExtMap) bool { return x.URI == e.URI && x.ID != e.ID }) {
				return refuse(m, "the header extension %s gets another id, %d", e.URI, e.ID)
			}
		}
	}
	return nil
}

// sameProtocol reports whether an answer means the protocol of the offer. It "MUST exactly match the profile provided in the offer" (RFC
// 8829 section 5.1.2), but libpeer answers SAVP and Kurento RTP/SAVPF, browsers take it, and DTLS-SRTP it is in any case.
func sameProtocol(a, b string) bool {
	return a == b || strings.Contains(a, "RTP/SAVP") && strings.Contains(b, "RTP/SAVP")
}

// tracksOf counts the tracks that the sources of a section name, in the way of before a=msid (draft-ietf-mmusic-msid-05 section 4). Unified
// Plan has one for each section, in several streams perhaps.
func tracksOf(m *sdp.Media) int {
	var tracks []string
	for v := range m.Attrs("ssrc") {
		_, attribute, _ := strings.Cut(v, " ")
		value, ok := strings.CutPrefix(attribute, "msid:")
		if _, track, named := strings.Cut(value, " "); ok && named && !slices.Contains(tracks, track) && len(tracks) < maxSources {
			tracks = append(tracks, track)
		}
	}
	return len(tracks)
}
