package jsep

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// slot is what a created description makes of one section: applied when the description is.
type slot struct {
	mid, kind   string
	transceiver *Transceiver
	fresh       bool // new, or recycled
	nextMID     int  // of a fresh one: the number after its mid, which no other will have once this is applied
	rejected    bool
	own         bool       // a transport has its candidates here
	grouped     bool       // offers: proposed for the BUNDLE group
	bundleOnly  bool       // offers only
	transport   *transport // what is to carry it, where that exists already
	made        transport  // offers: the credentials and tls-id of the transport that applying makes
	restart     Credentials
	setup       sdp.Setup
	tlsID       bool   // RFC 8842 section 5.3: no tls-id in the answer to an offer without
	renewed     string // the tls-id of another association of DTLS; "": the transport's
	codecs      []Codec
	extensions  []sdp.ExtMap
}

// OfferOptions are RTCOfferOptions.
type OfferOptions struct{ ICERestart bool }

// CreateOffer writes an offer (RFC 8829 section 5.2). It changes nothing but what SetLocal takes for the last offer.
func (s *Session) CreateOffer(o OfferOptions) (Description, error) {
	switch s.state {
	case Closed:
		return Description{}, errClosed
	case Stable, HaveLocalOffer:
	default: // webrtc-pc section 4.4.1.3; and what is created "MUST be immediately usable by setLocalDescription" (RFC 8829 section 4.1.8)
		return Description{}, fail(InvalidStateError, "an offer cannot be made in the state %s", s.state)
	}
	// RFC 8829 section 5.2.2: the version grows "if the offer might differ from the output of the previous call". If it does not, the
	// offer before is the last one still, and so may be set.
	if s.lastOffer != "" && !s.dirty && !o.ICERestart && !s.restarted {
		return Description{Offer, s.lastOffer}, nil
	}
	slots := s.offerSlots(o.ICERestart)
	d := s.header()
	d.Add("ice-options", "trickle ice2 renomination")
	group := sdp.Group{Semantics: "BUNDLE"}
	for i := range slots {
		x := &slots[i]
		if x.grouped {
			group.MIDs = append(group.MIDs, x.mid)
		}
		d.Media = append(d.Media, s.write(x, i, nil))
	}
	s.finish(d, group)
	lipSync(d, slots, func(string) bool { return true })
	if s.entropy != nil {
		return Description{}, s.entropy
	}
	text := d.String()
	if len(slots) > sdp.MaxMedia || len(text) > sdp.MaxLen { // which nobody could parse
		return Description{}, fail(OperationError, "the offer has %d sections and %d bytes, and may have %d and %d", len(slots), len(text), sdp.MaxMedia, sdp.MaxLen)
	}
	s.planned, s.lastOffer, s.dirty, s.restarted = slots, text, false, o.ICERestart
	s.created = description{kind: Offer, text: s.lastOffer, parsed: d}
	return Description{Offer, s.lastOffer}, nil
}

// offerSlots lays out the sections: those there are, then new ones, recycling what is rejected.
func (s *Session) offerSlots(restart bool) []slot {
	slots := make([]slot, len(s.sections))
	for i, x := range s.sections {
		slots[i] = slot{mid: x.mid, kind: x.kind, transceiver: x.transceiver, transport: x.transport, rejected: x.rejected}
		if t := x.transceiver; t != nil && (t.stopping || t.stopped) || x.kind != "application" && t == nil {
			slots[i].rejected = true
		}
	}
	next := s.nextMID
	place := func(x slot) {
		x.fresh = true
		x.mid, next = s.mid(next)
		x.nextMID = next
		// RFC 8829 section 5.2.2: a section with a zero port in a current description is recycled.
		for i, old := range s.sections {
			if slots[i].rejected && !slots[i].fresh && old.rejected && old.negotiated {
				slots[i] = x
				return
			}
		}
		slots = append(slots, x)
	}
	for _, t := range s.transceivers {
		if t.index < 0 && !t.stopping && !t.stopped {
			place(slot{kind: t.kind, transceiver: t})
		}
	}
	if s.wantData && !slices.ContainsFunc(slots, func(x slot) bool { return x.kind == "application" && !x.rejected }) {
		place(slot{kind: "application"})
	}
	s.offerTransports(slots, restart)
	s.offerCodecs(slots)
	return slots
}

func (s *Session) offerTransports(slots []slot, restart bool) {
	var group *transport // of the BUNDLE group, as far as it stands after this offer
	for i, x := range s.sections {
		if x.bundled && !x.rejected && !slots[i].rejected && group == nil {
			group = x.transport
		}
	}
	kinds, carrier, first := map[string]bool{}, map[*transport]*slot{}, true
	var tagged *slot // the first one of the group
	for i := range slots {
		x := &slots[i]
		if x.rejected {
			continue
		}
		x.tlsID = true
		x.grouped = x.fresh || !s.sections[i].negotiated || s.sections[i].bundled
		x.setup = sdp.ActPass // RFC 8829 section 5.2.1: MUST be actpass, RFC 8842 section 5.5: also in later offers
		switch {
		case x.transport != nil && !x.fresh:
			x.own = carrier[x.transport] == nil
			x.bundleOnly = !x.own && !s.sections[i].negotiated
		case group != nil:
			// a new section, the first one too, is carried on the transport of the group (RFC 9143 section 7.5.1)
			x.transport = group
			x.own = carrier[group] == nil
		default:
			// RFC 8829 section 5.2.1: which sections are bundle-only
			x.bundleOnly = s.cfg.Bundle == MaxBundle && !first || s.cfg.Bundle == Balanced && kinds[x.kind]
			x.own = !x.bundleOnly || tagged == nil
		}
		first = false
		kinds[x.kind] = true
		if !x.own {
			from := tagged
			if x.transport != nil {
				from = carrier[x.transport]
			}
			x.transport, x.made, x.restart, x.renewed = from.transport, from.made, from.restart, from.renewed
			continue
		}
		// RFC 8829 section 5.2.1: "Each "m=" section, provided it is not marked as bundle-only, MUST contain a unique set of ICE
		// credentials". Browsers write the same ones in all sections that are to be one group, and GStreamer's webrtcbin refuses to
		// bundle what has others. Should the peer not bundle, its own, which are unique, tell our transports apart (see Spare).
		credentials := s.credentials
		if x.grouped && tagged != nil {
			credentials = tagged.credentials
		} else if x.grouped {
			tagged = x
		}
		if x.transport == nil {
			x.made.Local = credentials()
			x.made.LocalTLSID = s.newTLSID()
			continue
		}
		carrier[x.transport] = x
		x.restart = x.transport.Restart
		if restart || s.replace[x.credentials().Ufrag] {
			x.restart = credentials()
		}
		if x.transport.failed && x.restart != (Credentials{}) {
			// RFC 8842 section 5.5: "the offerer MUST insert in the offer an SDP "tls-id" attribute with a new unique attribute value",
			// and section 6: not without new candidates
			x.renewed = s.newTLSID()
		}
	}
}

// credentials are those that the section is going to have.
func (x *slot) credentials() Credentials {
	switch {
	case x.restart != (Credentials{}):
		return x.restart
	case x.transport != nil:
		return x.transport.Local
	}
	return x.made.Local
}

// newTLSID makes one with 144 bits of randomness; "at least 120" (RFC 8842 section 4).
func (s *Session) newTLSID() string { return base64.RawURLEncoding.EncodeToString(s.random(18)) }

func (s *Session) offerCodecs(slots []slot) {
	numbers := newPayloads()
	for _, x := range slots {
		if x.transceiver != nil && !x.rejected {
			numbers.know(x.transceiver.receive, x.transceiver.extensions)
		}
	}
	for i := range slots {
		x := &slots[i]
		if x.transceiver == nil || x.rejected {
			continue
		}
		t := x.transceiver
		ours, ordered := t.wanted()
		x.codecs = numbers.offer(t.receive, ours, ordered)
		x.extensions = t.extensions
		if t.current == "" || t.extensions == nil { // RFC 8829 section 5.2.2: once answered, only those of the answer
			x.extensions = numbers.extensions(s.extensionsOf(t.kind))
		}
	}
}

func (s *Session) extensionsOf(kind string) []string {
	if kind == "audio" {
		return s.cfg.AudioExtensions
	}
	return s.cfg.VideoExtensions
}

func (s *Session) header() *sdp.Description {
	s.version++
	d := &sdp.Description{}
	d.AddLine('v', "0")
	d.AddLine('o', sdp.Origin{Username: "-", ID: strconv.FormatUint(s.id, 10), Version: s.version, NetType: "IN", AddrType: "IP4", UnicastAddress: "127.0.0.1"}.String())
	d.AddLine('s', "-")
	d.AddLine('t', "0 0")
	return d
}

// finish adds the session's attributes that depend on the sections.
func (s *Session) finish(d *sdp.Description, group sdp.Group) {
	if len(group.MIDs) > 0 {
		d.Add("group", group.String())
	}
	d.Add("extmap-allow-mixed", "")
	if s.cfg.Lite {
		d.Add("ice-lite", "")
	}
	d.Add("msid-semantic", " WMS *")
}

// lipSync adds a group for each stream that more than one section sends (RFC 5888 section 7), of those that may be in it.
func lipSync(d *sdp.Description, slots []slot, may func(mid string) bool) {
	var order []string
	by := map[string][]string{}
	for _, x := range slots {
		if t := x.transceiver; t != nil && !x.rejected && t.direction.Sends() && may(x.mid) {
			for _, stream := range t.streams {
				if by[stream] == nil {
					order = append(order, stream)
				}
				by[stream] = append(by[stream], x.mid)
			}
		}
	}
	for _, stream := range order {
		if len(by[stream]) > 1 {
			d.Add("group", sdp.Group{Semantics: "LS", MIDs: by[stream]}.String())
		}
	}
}

// write writes one section; offered is the section that it answers, nil in an offer.
func (s *Session) write(x *slot, index int, offered *sdp.Media) *sdp.Media {
	m := &sdp.Media{Kind: x.kind, Port: 9, Proto: "UDP/TLS/RTP/SAVPF"}
	data := x.kind == "application"
	if data {
		m.Proto, m.Formats = "UDP/DTLS/SCTP", []string{"webrtc-datachannel"}
	}
	if offered != nil {
		m.Kind, m.Proto = offered.Kind, offered.Proto
		if data || x.rejected {
			m.Formats = slices.Clone(offered.Formats)
		}
	}
	m.AddLine('c', "IN IP4 0.0.0.0")
	if x.mid != "" {
		m.Add("mid", x.mid)
	}
	if x.rejected || x.bundleOnly {
		m.Port = 0
	}
	if x.rejected {
		m.Add("inactive", "")
		if m.Formats == nil {
			m.Formats = []string{"0"}
		}
		return m
	}
	if x.bundleOnly {
		m.Add("bundle-only", "")
	}
	// RFC 9143 section 7.1.3 wants them in one section of a bundle only, and RFC 8829 section 5.2.1 none where it says bundle-only.
	// Browsers write them everywhere; GStreamer's webrtcbin and aiortc refuse an answer without them where their offer has them,
	// webrtcbin also an offer, and Chromium 156 a section without a fingerprint behind another one. What is of RFC 9143 does not
	// read them in our offers, and gets answers of its own kind.
	if x.own || offered == nil || offered.Has("ice-ufrag") {
		s.writeTransport(m, x)
	}
	if data {
		s.writeData(m, x, offered)
		s.addGathered(m, x)
		return m
	}
	// RFC 8829 section 5.2.2: in later offers what the most recent answer has
	recent := s.recentAnswer(index, x)
	if offered != nil || recent == nil || recent.Has("rtcp-mux") { // also in bundled sections: Chromium wants it in each
		m.Add("rtcp-mux", "")
	}
	if offered == nil && recent == nil && x.own {
		m.Add("rtcp-mux-only", "")
		m.Add("rtcp", "9 IN IP4 0.0.0.0")
	}
	if offered != nil && offered.Has("rtcp-rsize") || offered == nil && (recent == nil || recent.Has("rtcp-rsize")) {
		m.Add("rtcp-rsize", "")
	}
	if offered == nil || wantsRRTR(&sdp.Description{}, offered) {
		m.Add("rtcp-xr", receiverRTT)
	}
	if offered == nil || takesECN(offered) {
		m.Add("ecn-capable-rtp", ecnInitiation)
	}
	s.writeRTP(m, x, index, offered)
	s.addGathered(m, x)
	return m
}

// recentAnswer returns what the most recent answer has in the place of a section that stays; nil if there was none.
func (s *Session) recentAnswer(index int, x *slot) *sdp.Media {
	for _, d := range [...]*description{s.pendingRemote, s.currentLocal, s.currentRemote} {
		if d != nil && d.kind != Offer && !x.fresh && index < len(d.sdp().Media) {
			return d.sdp().Media[index]
		}
	}
	return nil
}

// addGathered adds the candidates of a section's generation that the local descriptions have already (RFC 8829 sections 5.2.2
// and 5.3.2: "for each candidate that has been gathered during the most recent gathering phase").
func (s *Session) addGathered(m *sdp.Media, x *slot) {
	d := either(s.pendingLocal, s.currentLocal) // a pending one has what the current one has
	if !x.own || x.transport == nil || d == nil {
		return
	}
	ufrag, _ := m.Attr("ice-ufrag")
	for i, o := range d.sdp().Media {
		if v, _ := o.Attr("ice-ufrag"); v != ufrag || !x.transport.describedBy(s, i) {
			continue
		}
		candidates, _ := o.Candidates()
		for _, c := range candidates {
			addCandidate(m, "candidate:"+c.String(), false)
			setDefault(m, c)
		}
		if o.Has("end-of-candidates") {
			addCandidate(m, "", true)
		}
	}
}

func (s *Session) writeTransport(m *sdp.Media, x *slot) {
	t := &x.made
	if x.transport != nil {
		t = x.transport
	}
	local := x.credentials()
	m.Add("ice-ufrag", local.Ufrag)
	m.Add("ice-pwd", local.Pwd)
	for _, f := range s.cfg.Fingerprints {
		m.Add("fingerprint", f.String())
	}
	m.Add("setup", string(x.setup))
	if x.tlsID {
		m.Add("tls-id", cmp.Or(x.renewed, t.LocalTLSID))
	}
}

func (s *Session) writeData(m *sdp.Media, x *slot, offered *sdp.Media) {
	number := s.cfg.SCTPPort
	switch {
	case offered != nil && closesData(offered): // RFC 8841 section 10.3: "MUST also associate a zero SCTP port value"
		number = 0
	case offered == nil && !x.fresh && s.data == nil && !s.wantData: // what was not wanted is not begun anew by itself
		number = 0
	}
	port := strconv.Itoa(int(number))
	if legacy(offered) {
		m.Formats = []string{port}
		m.Add("sctpmap", port+" webrtc-datachannel 65535")
	} else {
		m.Add("sctp-port", port)
	}
	m.Add("max-message-size", strconv.FormatUint(s.cfg.MaxMessageSize, 10))
	if s.cfg.SCTPInit != "" && !s.initSpent && number != 0 && (offered == nil || offered.Has("sctp-init")) {
		m.Add("sctp-init", s.cfg.SCTPInit)
	}
}

// closesData reports whether a data section is to be without an association (RFC 8841 section 9.3).
func closesData(m *sdp.Media) bool {
	port, known, _ := m.SCTPPort()
	return known && port == 0
}

// legacy reports whether a data section is of draft-ietf-mmusic-sctp-sdp-03.
func legacy(m *sdp.Media) bool { return m != nil && !m.Has("sctp-port") && m.Has("sctpmap") }

func (s *Session) writeRTP(m *sdp.Media, x *slot, index int, offered *sdp.Media) {
	t := x.transceiver
	direction := t.direction
	if offered != nil {
		// RFC 3264 section 6.1: the offered direction, seen from here, intersected with ours
		theirs := directionOf(offered)
		direction = sdp.DirectionOf(theirs.Receives() && t.direction.Sends(), theirs.Sends() && t.direction.Receives())
	}
	m.Add(string(direction), "")
	// RFC 8829 section 5.2.2: what the current description has stays, "regardless of changes to the transceiver's direction"
	told := s.currentLocal != nil && !x.fresh && index < len(s.currentLocal.sdp().Media) && s.currentLocal.sdp().Media[index].Has("msid")
	if direction.Sends() || t.direction.Sends() || told {
		for _, msid := range t.msid() {
			m.Add("msid", msid.String())
		}
	}
	for _, e := range x.extensions {
		m.Add("extmap", e.String())
	}
	writeCodecs(m, x.codecs)
	if direction.Sends() {
		t.writeSources(m, x.codecs)
	}
	if offered == nil {
		offerSimulcast(m, t)
	} else {
		answerSimulcast(m, x, direction, offered)
	}
}

func directionOf(m *sdp.Media) sdp.Direction { d, _ := m.Direction(); return d }

// CreateAnswer writes an answer to the pending remote offer (RFC 8829 section 5.3).
func (s *Session) CreateAnswer() (Description, error) {
	switch s.state {
	case Closed:
		return Description{}, errClosed
	case HaveRemoteOffer, HaveLocalPranswer:
	default:
		return Description{}, fail(InvalidStateError, "an answer cannot be made in the state %s", s.state)
	}
	offer := s.pendingRemote.sdp()
	slots, group := s.answerSlots(offer)
	d := s.header()
	if options := iceOptions(offer); len(options) > 0 {
		var ours []string
		for _, o := range []string{"trickle", "ice2", "renomination"} {
			if slices.Contains(options, o) {
				ours = append(ours, o)
			}
		}
		if len(ours) > 0 {
			d.Add("ice-options", strings.Join(ours, " "))
		}
	}
	for i := range slots {
		d.Media = append(d.Media, s.write(&slots[i], i, offer.Media[i]))
	}
	s.finish(d, group)
	groups, _ := offer.Groups()
	for _, g := range groups { // RFC 8829 section 5.3.1
		if g.Semantics == "LS" {
			lipSync(d, slots, func(mid string) bool { return slices.Contains(g.MIDs, mid) })
		}
	}
	if s.entropy != nil {
		return Description{}, s.entropy
	}
	s.planned, s.lastAnswer, s.dirty = slots, d.String(), false
	s.created = description{kind: Answer, text: s.lastAnswer, parsed: d}
	return Description{Answer, s.lastAnswer}, nil
}

// iceOptions collects those of both levels.
func iceOptions(d *sdp.Description) []string {
	all := d.ICEOptions()
	for _, m := range d.Media {
		all = append(all, m.ICEOptions()...)
	}
	return all
}

func (s *Session) answerSlots(offer *sdp.Description) ([]slot, sdp.Group) {
	slots := make([]slot, len(offer.Media))
	media, meaning := false, map[uint16]string{}
	for i, m := range offer.Media {
		x := &slots[i]
		sec := s.sections[i]
		x.mid, _ = m.Attr("mid")
		x.kind, x.transceiver, x.transport = m.Kind, sec.transceiver, sec.transport
		x.rejected = sec.rejected || sec.transport == nil
		switch t := sec.transceiver; {
		case x.rejected:
		case m.Kind == "application":
			_, known, _ := m.SCTPPort()
			x.rejected = !strings.HasSuffix(m.Proto, "DTLS/SCTP") || !known || slices.ContainsFunc(slots[:i], func(o slot) bool { return o.kind == "application" && !o.rejected })
		case t == nil || t.stopped:
			// RFC 8829 section 5.3.1: "The associated RtpTransceiver has been stopped." One that the program is stopping is inactive until an
			// offer says so: "stop ... will cause future calls to createOffer to generate a zero port" (webrtc-pc section 5.4).
			x.rejected = true
		default:
			theirs, _ := codecsOf(m)
			ours, ordered := t.wanted()
			x.codecs = common(theirs, ours)
			if ordered {
				x.codecs = inOrder(x.codecs, ours)
			}
			x.extensions = s.answerExtensions(offer, m, t.kind, meaning)
			x.rejected = !hasMedia(x.codecs) // no offered media format is both supported and allowed
		}
		media = media || !x.rejected && x.kind != "application"
	}
	b := bundlingOf(offer)
	groups := b.groups
	s.rejectByPolicy(slots, groups)
	owner := map[*transport]*slot{}
	group := sdp.Group{Semantics: "BUNDLE"}
	for i := range slots {
		x := &slots[i]
		if x.rejected {
			continue
		}
		first := owner[x.transport]
		if first != nil && (groups[x.mid] == nil || groups[x.mid] != groups[first.mid]) {
			// Two that were bundled, and are no longer: one transport cannot carry both by itself (RFC 9143 section 7.5.2).
			x.rejected = true
			continue
		}
		if g := groups[x.mid]; g != nil && x.mid != "" {
			group.MIDs = append(group.MIDs, x.mid)
		}
		if x.own = first == nil; x.own {
			owner[x.transport] = x
		}
		if x.transport.next != (Credentials{}) && x.transport.next != x.transport.Remote {
			// RFC 8839 section 4.4.1.1.1: the peer restarts, so do we. A second answer to the same offer keeps them.
			if x.transport.Restart == (Credentials{}) {
				x.transport.Restart = s.credentials()
			}
			x.restart = x.transport.Restart
		}
		at := b.source(i) // the offer's tagged section may be one that we reject
		x.setup = s.answerSetup(x.transport, setupOf(offer, at), media)
		x.tlsID = attribute(offer, at, "tls-id") != ""
		if x.tlsID && x.transport.renewedBy(offer, at, x.setup) {
			// RFC 8842 section 5.3: "If the answerer determines ... that a new DTLS association is to be established, the answerer MUST
			// insert in the associated answer an SDP "tls-id" attribute with a new unique attribute value."
			x.renewed = s.newTLSID()
		}
	}
	return slots, group
}

// renewedBy reports whether an offer asks for another association of DTLS in the place of that which there is (RFC 8842 section 3.1).
func (t *transport) renewedBy(offer *sdp.Description, at int, answer sdp.Setup) bool {
	if !t.Answered {
		return false
	}
	fingerprints, err := fingerprintsOf(offer, at)
	return err == nil && !slices.Equal(fingerprints, t.RemoteFingerprints) || attribute(offer, at, "tls-id") != t.RemoteTLSID ||
		(answer == sdp.Active) != (t.Role == RoleClient)
}

// fingerprintsOf returns those of a section, or of the session. It is "the fingerprint set" of RFC 8842 section 3.1: what is the same set is
// the same list.
func fingerprintsOf(d *sdp.Description, i int) ([]sdp.Fingerprint, error) {
	list, err := d.Media[i].Fingerprints()
	if err == nil && len(list) == 0 {
		list, err = d.Fingerprints()
	}
	for i := range list {
		list[i].Value = strings.ToUpper(list[i].Value) // RFC 8122 section 5: "each byte in upper-case hex"
	}
	slices.SortFunc(list, func(a, b sdp.Fingerprint) int {
		return cmp.Or(strings.Compare(a.Hash, b.Hash), strings.Compare(a.Value, b.Value))
	})
	return slices.Compact(list), err
}

// rejectByPolicy rejects what the policy wants bundled and the offer does not bundle (RFC 8829 section 5.3.1).
func (s *Session) rejectByPolicy(slots []slot, groups map[string]*sdp.Group) {
	first := map[string]int{}
	for i := range slots {
		if slots[i].rejected {
			continue // a section that is gone binds no other
		}
		kind := slots[i].kind
		if s.cfg.Bundle == MaxBundle {
			kind = ""
		}
		at, seen := first[kind]
		if !seen {
			first[kind] = i
			continue
		}
		if g := groups[slots[i].mid]; s.cfg.Bundle != MaxCompat && (g == nil || g != groups[slots[at].mid]) {
			slots[i].rejected = true
		}
	}
}

// answerSetup is our role in the answer.
func (s *Session) answerSetup(t *transport, theirs sdp.Setup, media bool) sdp.Setup {
	switch theirs {
	case sdp.Passive:
		return sdp.Active
	case sdp.Active, sdp.HoldConn, "": // RFC 4145 section 4: active is the default
		return sdp.Passive
	}
	switch {
	case t.Role == RoleClient: // RFC 8842 section 5.3: roles that stand are not changed
		return sdp.Active
	case t.Role == RoleServer:
		return sdp.Passive
	case media:
		// The server's preference picks the SRTP profile, and AES-CM costs three times GCM.
		return sdp.Passive
	}
	return sdp.Active // RFC 5763 section 5: recommended, the handshake need not wait for the answer
}

func inOrder(codecs, ours []Codec) []Codec {
	var list []Codec
	for _, o := range ours {
		for _, c := range codecs {
			if c.Matches(&o) && !slices.ContainsFunc(list, func(l Codec) bool { return l.Payload == c.Payload }) {
				list = append(list, c)
			}
		}
	}
	return list
}

// setupOf is who opens the connection of a section, in lower case; "" if it does not say.
func setupOf(d *sdp.Description, i int) sdp.Setup {
	setup, _ := sdp.ParseSetup(attribute(d, i, "setup")) // which check has parsed
	return setup
}

// attribute is the value of a section's attribute, or of the session's.
func attribute(d *sdp.Description, i int, name string) string {
	if v, ok := d.Media[i].Attr(name); ok {
		return v
	}
	v, _ := d.Attr(name)
	return v
}
