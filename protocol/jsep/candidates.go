package jsep

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// A CandidateInit is RTCIceCandidateInit. An empty Candidate ends the candidates.
type CandidateInit struct {
	Candidate string
	SDPMid    *string
	Index     *uint16 // sdpMLineIndex
	Ufrag     *string // usernameFragment
}

// Validate returns what is wrong with it in any state, which addIceCandidate looks at first.
func (c *CandidateInit) Validate() error {
	// 3. If candidate.candidate is not an empty string and both sdpMid and sdpMLineIndex are null: TypeError.
	if c.Candidate != "" && c.SDPMid == nil && c.Index == nil {
		return fail(TypeError, "a candidate needs sdpMid or sdpMLineIndex")
	}
	return nil
}

// A Target is a remote candidate and where it goes.
type Target struct {
	Transport int
	Ufrag     string // of the peer's generation: it may be one that comes into force with our answer
	Candidate sdp.Candidate
	End       bool // no candidate: there are no more of this generation
}

// AddCandidate adds a remote candidate to the remote descriptions (addIceCandidate) and says which transport it is for; to
// more than one only where all candidates of all sections end.
func (s *Session) AddCandidate(init CandidateInit) ([]Target, error) {
	if err := init.Validate(); err != nil {
		return nil, err
	}
	if s.state == Closed { // "chaining" (webrtc-pc section 4.4.1.2)
		return nil, errClosed
	}
	// 4.1 If remoteDescription is null: InvalidStateError.
	latest := either(s.pendingRemote, s.currentRemote)
	if latest == nil {
		return nil, fail(InvalidStateError, "there is no remote description yet: candidates are added after it")
	}
	var candidate sdp.Candidate
	if init.Candidate != "" {
		var err error
		if candidate, err = sdp.ParseCandidate(init.Candidate); err != nil {
			return nil, fail(OperationError, "%.80q is no candidate: %v", init.Candidate, err)
		}
		if u := candidate.Extension("ufrag"); init.Ufrag == nil && u != "" {
			init.Ufrag = &u
		}
	}
	if init.Candidate == "" {
		defer s.pack()
	}
	indices, err := s.candidateSections(latest.sdp(), init)
	if err != nil {
		return nil, err
	}
	var targets []Target
	done := map[int]bool{}
	anywhere := init.Ufrag == nil
	descriptions, bundlings := [...]*description{s.pendingRemote, s.currentRemote}, [2]*bundling{}
	for which, d := range descriptions {
		if d != nil {
			bundlings[which] = bundlingOf(d.sdp())
		}
	}
	for _, i := range indices {
		found := false
		// 4.4.6: into the pending and the current remote description, each if it has this generation
		for which, d := range descriptions {
			if d == nil || i >= len(d.sdp().Media) || found && init.Ufrag == nil {
				continue
			}
			b := bundlings[which]
			at := b.source(i)
			ufrag := attribute(d.sdp(), at, "ice-ufrag")
			if init.Ufrag != nil && *init.Ufrag != ufrag {
				continue
			}
			m := d.sdp().Media[at]
			if !b.rejected(i) {
				addCandidate(m, "candidate:"+candidate.String(), init.Candidate == "")
				d.changed = true
			}
			if t := s.sections[i].transport; !found && t != nil && !done[t.ID] && !s.sections[i].rejected && !s.spare(d.kind, b, i) {
				targets = append(targets, Target{t.ID, ufrag, candidate, init.Candidate == ""})
				done[t.ID] = true
			}
			found, anywhere = true, true
		}
	}
	if !anywhere {
		// 4.4.3: usernameFragment is of no media description that it may be for: OperationError.
		return nil, fail(OperationError, "no section has the username fragment %q", *init.Ufrag)
	}
	return targets, nil
}

func (s *Session) candidateSections(d *sdp.Description, init CandidateInit) ([]int, error) {
	switch {
	case init.SDPMid != nil:
		// 4.2 If sdpMid is not null and is of no media description: OperationError.
		for i, m := range d.Media {
			mid, known := m.Attr("mid") // which is not that of the section, where a local offer has given the place to another
			if !known && i < len(s.sections) {
				mid = s.midOf(i)
			}
			if mid == *init.SDPMid {
				return []int{s.carried(d, i, init.Ufrag)}, nil
			}
		}
		return nil, fail(OperationError, "no section has the mid %q", *init.SDPMid)
	case init.Index != nil:
		// 4.3 If sdpMLineIndex is beyond the media descriptions: OperationError.
		if int(*init.Index) >= len(d.Media) {
			return nil, fail(OperationError, "there is no section %d", *init.Index)
		}
		return []int{int(*init.Index)}, nil
	}
	var all []int
	for i := range d.Media {
		all = append(all, i)
	}
	return all, nil
}

// carried finds where a candidate for a section that is rejected by now belongs: what carried it may carry others, and was gathering
// when the peer's next offer rejected this one.
func (s *Session) carried(d *sdp.Description, i int, ufrag *string) int {
	if ufrag == nil || !s.sections[i].rejected && d.Media[i].Port != 0 {
		return i
	}
	for j := range d.Media {
		if u, _ := d.Media[j].Attr("ice-ufrag"); u == *ufrag {
			return j
		}
	}
	return i
}

func (s *Session) midOf(i int) string {
	if t := s.sections[i].transceiver; t != nil && t.mid != "" {
		return t.mid
	}
	return s.sections[i].mid
}

// pack packs the descriptions that were negotiated, after candidates that were the last ones.
func (s *Session) pack() {
	if s.state == Stable {
		s.currentLocal.pack()
		s.currentRemote.pack()
	}
}

// maxCandidates bounds what trickling adds to one section; ICE takes 64 of a generation.
const maxCandidates = 256

// addCandidate adds the line of a candidate, or the one that says that there are no more.
func addCandidate(m *sdp.Media, line string, end bool) {
	if end {
		if !m.Has("end-of-candidates") {
			m.Add("end-of-candidates", "")
			m.Lines = slices.Clip(m.Lines)
		}
		return
	}
	n := 0
	for _, l := range m.Lines {
		if l.Type == 'a' && strings.HasPrefix(l.Value, "candidate:") {
			if n++; l.Value == line || n >= maxCandidates {
				return
			}
		}
	}
	m.AddLine('a', line)
}

// spare reports whether the candidates of a section of an offer are of a transport that the peer has in case that we do not bundle:
// the tagged section's are those of the group (RFC 9143 section 10).
func (s *Session) spare(kind Type, b *bundling, i int) bool {
	if kind != Offer || i >= len(s.sections) {
		return false
	}
	g := b.of(i)
	if g == nil {
		return false
	}
	at := b.tagged(g, func(i int) bool { return s.sections[i].rejected })
	return at != i && s.sections[at].transport == s.sections[i].transport
}

// RemoteCandidates returns the candidates that stand in the remote descriptions now, for the driver after a description was set.
func (s *Session) RemoteCandidates() []Target {
	d := either(s.pendingRemote, s.currentRemote)
	if d == nil {
		return nil
	}
	defer s.pack()
	var targets []Target
	b := bundlingOf(d.sdp())
	for i, m := range d.sdp().Media {
		if i >= len(s.sections) || s.sections[i].transport == nil || s.sections[i].rejected || b.source(i) != i || s.spare(d.kind, b, i) {
			continue
		}
		candidates, _ := m.Candidates()
		ufrag := attribute(d.sdp(), i, "ice-ufrag")
		targets = slices.Grow(targets, len(candidates)+1)
		for _, c := range candidates {
			targets = append(targets, Target{s.sections[i].transport.ID, ufrag, c, false})
		}
		if m.Has("end-of-candidates") || d.sdp().Has("end-of-candidates") {
			targets = append(targets, Target{Transport: s.sections[i].transport.ID, Ufrag: ufrag, End: true})
		}
	}
	return targets
}

// A LocalCandidate is what the event icecandidate tells: candidate, sdpMid, sdpMLineIndex and usernameFragment.
type LocalCandidate struct {
	Candidate string // with "candidate:" before it; "" ends the candidates of this generation
	SDPMid    string
	Index     uint16
	Ufrag     string
}

// AddLocalCandidate adds a gathered candidate to the local descriptions; ok is false if no description has this
// generation of this transport, so that there is nothing to tell.
func (s *Session) AddLocalCandidate(transport int, ufrag string, c sdp.Candidate) (l LocalCandidate, ok bool) {
	return s.addLocal(ufrag, c, false, transport)
}

// EndOfLocalCandidates says that gathering for a generation is complete.
func (s *Session) EndOfLocalCandidates(transport int, ufrag string) (l LocalCandidate, ok bool) {
	defer s.pack()
	return s.addLocal(ufrag, sdp.Candidate{}, true, transport)
}

func (s *Session) addLocal(ufrag string, c sdp.Candidate, end bool, id int) (l LocalCandidate, ok bool) {
	line := "candidate:" + c.String()
	for _, d := range []*description{s.pendingLocal, s.currentLocal} {
		if d == nil {
			continue
		}
		for i, m := range d.sdp().Media {
			if i >= len(s.sections) || s.sections[i].transport == nil || s.sections[i].transport.ID != id || s.sections[i].mid != s.sections[i].transport.MID {
				continue
			}
			if v, _ := m.Attr("ice-ufrag"); v != ufrag {
				continue
			}
			addCandidate(m, line, end)
			if !end {
				setDefault(m, c)
			}
			d.changed, s.dirty = true, true
			l, ok = LocalCandidate{SDPMid: s.midOf(i), Index: uint16(i), Ufrag: ufrag}, true
		}
	}
	if ok && !end {
		l.Candidate = line
	}
	return l, ok
}

// setDefault puts the default candidate on the m= and c= lines (RFC 8839 section 4.2.1.2: relayed before reflexive
// before host). Of names and other transports there is none.
func setDefault(m *sdp.Media, c sdp.Candidate) {
	addr, err := netip.ParseAddr(c.Address)
	if err != nil || !strings.EqualFold(c.Transport, "udp") || c.Component != 1 || m.Port == 0 {
		return
	}
	if m.Port != 9 && m.Port != int(c.Port) { // 9: there is no default yet
		candidates, _ := m.Candidates()
		for _, o := range candidates {
			if n, _ := netip.ParseAddr(o.Address); int(o.Port) == m.Port && n.IsValid() && strings.EqualFold(o.Transport, "udp") && rankOf(o.Type) >= rankOf(c.Type) {
				return
			}
		}
	}
	family := "IP4"
	if addr.Is6() {
		family = "IP6"
	}
	for i, l := range m.Lines {
		if l.Type == 'c' {
			m.Lines[i].Value = sdp.Connection{NetType: "IN", AddrType: family, Address: addr.WithZone("").String()}.String()
			m.Port = int(c.Port)
			if m.Has("rtcp") { // multiplexed: the same
				m.Set("rtcp", strconv.Itoa(m.Port)+" "+m.Lines[i].Value)
			}
			return
		}
	}
}

// rankOf orders the types of candidates by how likely they work for everybody.
func rankOf(kind string) int { return slices.Index([]string{"", "host", "srflx", "relay"}, kind) }
