package jsep

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A Media is one section of audio or video as it is in force. Like Transport it is the whole state, for the driver to
// compare with what it has told its RTP session before. Its slices are not to be changed.
type Media struct {
	MID         string
	Kind        string // "audio" or "video"
	Transport   int    // the id of what carries it
	Transceiver *Transceiver

	// Sends and Receives say what may flow. From our offer on we receive what it asks for: media may be here before the
	// answer is (RFC 8829 section 5.9).
	Sends, Receives bool
	// Send are the codecs to send with: the payload types and parameters are the peer's. Receive are those to receive, with
	// ours. Feedback and retransmissions are as both sides have them.
	Send, Receive []Codec
	// SendExtensions and ReceiveExtensions are the header extensions of each direction.
	SendExtensions, ReceiveExtensions []sdp.ExtMap
	Mixed                             bool // headers of one and two bytes in one stream (RFC 8285 section 4.1.2)
	ReducedSize                       bool // RTCP need not be compound (RFC 5506)
	ReceiverRTT                       bool // receiver reference time reports are wanted (RFC 3611 section 5.1)
	ECN                               bool // what is sent may be marked as ECN-capable (RFC 6679), where that is found to work

	MaxBitrate uint64 // bits a second of RTP that the peer wants at most (b=TIAS, or b=AS); 0: no limit

	CNAME     string     // ours
	Encodings []Encoding // what we send: one at least
	RIDs      []string   // of what the peer sends by RID, in its order; empty: none
	Sources   []Source   // what the peer has declared of its streams
}

// An Encoding is one of the streams that a section sends.
type Encoding struct {
	RID  string   // "": it has none
	SSRC rtp.SSRC // of the media; RTX of its retransmissions and FEC of its repair (FlexFEC)
	RTX  rtp.SSRC
	FEC  rtp.SSRC
	// Paused says that the peer does not want it for now (RFC 8853 section 5.1).
	Paused bool
}

// A Source is one stream that the peer declares by a=ssrc and a=ssrc-group (RFC 5576).
type Source struct {
	SSRC, RTX, FEC rtp.SSRC // 0: it has none
	CNAME          string
}

// maxSources bounds the declared streams of one section.
const maxSources = 64

// declared reads the streams that a section declares.
func declared(m *sdp.Media) []Source {
	var list []Source
	lines, _ := m.SSRCs()
	for _, l := range lines {
		i := slices.IndexFunc(list, func(s Source) bool { return s.SSRC == rtp.SSRC(l.ID) })
		if i < 0 {
			if len(list) == maxSources {
				continue
			}
			i = len(list)
			list = append(list, Source{SSRC: rtp.SSRC(l.ID)})
		}
		if l.Name == "cname" {
			list[i].CNAME = l.Value
		}
	}
	groups, _ := m.SSRCGroups()
	for _, g := range groups {
		if len(g.IDs) != 2 {
			continue
		}
		i := slices.IndexFunc(list, func(s Source) bool { return s.SSRC == rtp.SSRC(g.IDs[0]) })
		if i < 0 {
			continue
		}
		switch g.Semantics {
		case "FID": // RFC 5576 section 4.2, RFC 4588 section 8
			list[i].RTX = rtp.SSRC(g.IDs[1])
		case "FEC-FR": // RFC 5956 section 4.3
			list[i].FEC = rtp.SSRC(g.IDs[1])
		default:
			continue
		}
		list = slices.DeleteFunc(list, func(s Source) bool { return s.SSRC == rtp.SSRC(g.IDs[1]) })
	}
	return list
}

// Media returns the sections of audio and video that are in force, in their order. One that the program is stopping is not: its
// streams say BYE (webrtc-pc section 5.4, "stop sending and receiving").
func (s *Session) Media() []Media {
	var list []Media
	for i, sec := range s.sections {
		t := sec.transceiver
		if t == nil || t.index != i || sec.rejected || sec.transport == nil || t.stopping || t.send == nil && t.receive == nil {
			continue
		}
		m := Media{
			MID: t.mid, Kind: t.kind, Transport: sec.transport.ID, Transceiver: t,
			Sends: t.current.Sends(), Receives: t.current.Receives() || t.receptive,
			Send: t.send, Receive: t.receive,
			SendExtensions: inDirection(t.extensions, true), ReceiveExtensions: inDirection(t.extensions, false),
			MaxBitrate: t.limit, Mixed: t.mixed, ReducedSize: t.reducedSize, ReceiverRTT: t.receiverRTT, ECN: t.ecn,
			CNAME: s.name(), RIDs: t.theirs, Sources: t.declared,
		}
		for _, e := range t.Encodings() {
			e.Paused = slices.Contains(t.paused, e.RID)
			m.Encodings = append(m.Encodings, e)
		}
		list = append(list, m)
	}
	return list
}

// name is our CNAME: one for the whole connection (RFC 8834 section 4.9), and new for each (RFC 7022 section 4.2).
func (s *Session) name() string {
	if s.cname == "" {
		s.cname = base64.RawStdEncoding.EncodeToString(s.random(12))
	}
	return s.cname
}

// CNAME is the canonical name that our streams have.
func (s *Session) CNAME() string { return s.name() }

// ssrc draws an SSRC that no stream of the session has.
func (s *Session) ssrc() rtp.SSRC {
	for {
		id := rtp.SSRC(binary.BigEndian.Uint32(s.random(4)))
		if s.entropy != nil {
			return id
		}
		used := id == 0
		for _, t := range s.transceivers {
			for _, e := range t.sources {
				used = used || id == e.SSRC || id == e.RTX || id == e.FEC
			}
		}
		if !used {
			return id
		}
	}
}

// writeSources declares what a section sends, as browsers do: those with a RID are known by that alone.
func (t *Transceiver) writeSources(m *sdp.Media, codecs []Codec) {
	if len(t.rids) > 0 {
		return
	}
	e, repaired := t.encoding(""), slices.ContainsFunc(codecs, func(c Codec) bool { return c.RTX != 0 })
	fec := slices.ContainsFunc(codecs, func(c Codec) bool { return strings.EqualFold(c.Name, "flexfec-03") })
	ids := []rtp.SSRC{e.SSRC}
	if repaired {
		m.Add("ssrc-group", sdp.SSRCGroup{Semantics: "FID", IDs: []uint32{uint32(e.SSRC), uint32(e.RTX)}}.String())
		ids = append(ids, e.RTX)
	}
	if fec {
		m.Add("ssrc-group", sdp.SSRCGroup{Semantics: "FEC-FR", IDs: []uint32{uint32(e.SSRC), uint32(e.FEC)}}.String())
		ids = append(ids, e.FEC)
	}
	for _, id := range ids {
		m.Add("ssrc", sdp.SSRC{ID: uint32(id), Name: "cname", Value: t.session.name()}.String())
		for _, msid := range t.msid() {
			m.Add("ssrc", sdp.SSRC{ID: uint32(id), Name: "msid", Value: msid.String()}.String())
		}
	}
}

// msid is what a=msid says of our track (RFC 8829 section 5.2.1).
func (t *Transceiver) msid() []sdp.MSID {
	if len(t.streams) == 0 {
		return []sdp.MSID{{Stream: "-", Track: t.track}}
	}
	var list []sdp.MSID
	for _, stream := range t.streams {
		list = append(list, sdp.MSID{Stream: stream, Track: t.track})
	}
	return list
}

// agree puts into force what both descriptions of a section say: its codecs, extensions and feedback.
func (s *Session) agree(t *Transceiver, local, theirs *sdp.Description, i int, remote bool) error {
	offer, answer := theirs, local
	if remote {
		offer, answer = local, theirs
	}
	from, to := offer.Media[i], answer.Media[i]
	offered, err := codecsOf(from)
	if err != nil {
		return syntax(err)
	}
	answered, err := codecsOf(to)
	if err != nil {
		return syntax(err)
	}
	t.send, t.receive = []Codec{}, []Codec{}
	ours := t.session.codecs(t.kind)
	for _, a := range answered {
		o, ok := counterpart(&a, offered)
		known := slices.IndexFunc(ours, func(c Codec) bool { return c.Matches(&a) })
		if known < 0 {
			continue
		}
		if !ok {
			// RFC 8829 section 5.3.1: an answer "MAY include formats that are locally supported but not present in the offer": they can
			// be sent.
			if remote {
				c := ours[known].accepts(&a)
				c.FMTP = a.FMTP
				t.send = append(t.send, c)
			}
			continue
		}
		var both []string
		for _, f := range a.Feedback {
			if o.Has(f) {
				both = append(both, f)
			}
		}
		a.Feedback, o.Feedback = both, both
		if a.RTX == 0 || o.RTX == 0 {
			a.RTX, o.RTX = 0, 0
		}
		if remote {
			t.send, t.receive = append(t.send, a), append(t.receive, o)
		} else {
			t.send, t.receive = append(t.send, o), append(t.receive, a)
		}
	}
	t.mixed = mixed(offer, from) && mixed(answer, to)
	t.extensions = s.agreedExtensions(t.kind, extMaps(offer, from), extMaps(answer, to), t.mixed, remote)
	t.reducedSize = from.Has("rtcp-rsize") && to.Has("rtcp-rsize")
	t.receiverRTT = wantsRRTR(offer, from) && wantsRRTR(answer, to)
	t.ecn = takesECN(from) && takesECN(to) && readsECN(theirs.Media[i])
	t.declared, t.limit = declared(theirs.Media[i]), limitOf(theirs.Media[i])
	return nil
}

// limitOf returns what a section may be sent at most, in bits a second; 0: there is no limit (RFC 8829 section 5.11).
func limitOf(m *sdp.Media) (limit uint64) {
	for _, l := range m.Lines {
		if l.Type != 'b' {
			continue
		}
		switch b, _ := sdp.ParseBandwidth(l.Value); b.Type { // Parse has checked it
		case "TIAS": // "is preferred over "AS" because it provides more accurate control"
			return b.Value
		case "AS": // in kbit/s, with headers and RTCP: "TIAS = AS * 1000 * 0.95 - (50 * 40 * 8)"
			limit = max(min(b.Value, 1<<40)*950, 50*40*8+1) - 50*40*8
		}
	}
	return limit
}

// counterpart finds what an answered codec was in the offer: by its payload type, else by what it is.
func counterpart(a *Codec, offered []Codec) (o Codec, ok bool) {
	for _, o := range offered {
		if o.Payload == a.Payload && o.Matches(a) {
			return o, true
		}
	}
	i := slices.IndexFunc(offered, func(o Codec) bool { return o.Matches(a) })
	if i < 0 {
		return o, false
	}
	return offered[i], true
}

// ecnInitiation is the way by which ECN is begun: with RTP and the feedback of it (RFC 6679 section 7.2.1). The space before it is the
// attribute's (section 6.1).
const ecnInitiation = " rtp"

// takesECN reports whether a section would begin ECN by that way.
func takesECN(m *sdp.Media) bool {
	v, _ := m.Attr("ecn-capable-rtp")
	ways, _, _ := strings.Cut(strings.TrimSpace(v), " ")
	return slices.Contains(strings.Split(ways, ","), strings.TrimSpace(ecnInitiation))
}

// readsECN reports whether who has written a section can tell how packets are marked that it gets.
func readsECN(m *sdp.Media) bool {
	v, _ := m.Attr("ecn-capable-rtp")
	_, parameters, _ := strings.Cut(strings.TrimSpace(v), " ")
	for p := range strings.SplitSeq(parameters, ";") {
		if strings.TrimSpace(p) == "mode=setonly" {
			return false
		}
	}
	return true
}

// receiverRTT is what a=rtcp-xr says of receiver reference time reports (RFC 3611 section 5.1).
const receiverRTT = "rcvr-rtt=all"

func wantsRRTR(d *sdp.Description, m *sdp.Media) bool {
	for _, s := range []*sdp.Section{&d.Section, &m.Section} {
		for v := range s.Attrs("rtcp-xr") {
			if slices.Contains(strings.Fields(v), receiverRTT) {
				return true
			}
		}
	}
	return false
}
