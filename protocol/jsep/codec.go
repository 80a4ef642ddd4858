package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// A Codec is one format of media, with the payload type that it has here.
type Codec struct {
	Name     string // as in a=rtpmap, "opus"
	Clock    uint32 // Hz
	Channels string // "" is one channel
	Payload  uint8
	FMTP     string   // the value of a=fmtp without the payload type
	Feedback []string // the values of a=rtcp-fb
	RTX      uint8    // the payload type of its retransmissions; 0: none
}

// DefaultAudio returns Opus, RED, PCMU, PCMA and telephone-event.
func DefaultAudio() []Codec {
	return []Codec{
		{Name: "opus", Clock: 48000, Channels: "2", Payload: 111, FMTP: "minptime=10;useinbandfec=1", Feedback: []string{"transport-cc", "nack"}},
		{Name: "red", Clock: 48000, Channels: "2", Payload: 63, FMTP: "111/111"},
		{Name: "PCMU", Clock: 8000, Payload: 0},
		{Name: "PCMA", Clock: 8000, Payload: 8},
		{Name: "telephone-event", Clock: 48000, Payload: 110},
		{Name: "telephone-event", Clock: 8000, Payload: 126},
	}
}

// DefaultVideo returns VP8, VP9, H.264 (baseline and main, modes 0 and 1), AV1 and H.265, each with retransmissions.
func DefaultVideo() []Codec {
	codecs := []Codec{
		{Name: "VP8", Payload: 96, RTX: 97},
		{Name: "VP9", Payload: 98, RTX: 99, FMTP: "profile-id=0"},
		{Name: "H264", Payload: 102, RTX: 103, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
		{Name: "H264", Payload: 104, RTX: 105, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
		{Name: "H264", Payload: 106, RTX: 107, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
		{Name: "H264", Payload: 108, RTX: 109, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"},
		{Name: "H264", Payload: 112, RTX: 113, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"},
		{Name: "H264", Payload: 114, RTX: 115, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f"},
		{Name: "AV1", Payload: 45, RTX: 46, FMTP: "level-idx=5;profile=0;tier=0"},
		{Name: "H265", Payload: 49, RTX: 50, FMTP: "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"},
	}
	for i := range codecs {
		codecs[i].Clock = 90000
		codecs[i].Feedback = []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"}
	}
	return codecs
}

// Matches reports whether both are the same format, whatever their payload types.
func (c *Codec) Matches(d *Codec) bool {
	channels := func(c *Codec) string {
		if c.Channels == "" {
			return "1"
		}
		return c.Channels
	}
	if !strings.EqualFold(c.Name, d.Name) || c.Clock != d.Clock || channels(c) != channels(d) {
		return false
	}
	same := func(name, absent string) bool {
		value := func(c *Codec) string {
			if v, ok := sdp.Param(c.FMTP, name); ok {
				return strings.ToLower(v)
			}
			return absent
		}
		return value(c) == value(d)
	}
	switch strings.ToUpper(c.Name) {
	case "H264": // RFC 6184 section 8.2.2: the packetization mode and the profile must be the same, the level need not
		return same("packetization-mode", "0") && h264Profile(c.FMTP) == h264Profile(d.FMTP)
	case "VP9": // RFC 9628 section 7.1
		return same("profile-id", "0")
	case "AV1":
		return same("profile", "0")
	case "H265": // RFC 7798 section 7.1
		return same("profile-id", "1") && same("tier-flag", "0")
	}
	return true
}

// h264Profile is the profile of profile-level-id, with constraint_set1 alone of the constraints: it makes Constrained
// Baseline of Baseline (RFC 6184 section 8.1). Absent it is Baseline.
func h264Profile(fmtp string) int {
	id, _ := sdp.Param(fmtp, "profile-level-id")
	v, err := strconv.ParseUint(id, 16, 24)
	if len(id) != 6 || err != nil {
		return 0x4200
	}
	return int(v>>16)<<8 | int(v>>8)&0x40
}

var static = map[string]Codec{
	"0": {Name: "PCMU", Clock: 8000}, "8": {Name: "PCMA", Clock: 8000, Payload: 8}, "9": {Name: "G722", Clock: 8000, Payload: 9},
	"13": {Name: "CN", Clock: 8000, Payload: 13},
}

// codecsOf reads the formats of a media section in the order of its m= line, retransmissions folded into what they
// retransmit. Lines about formats that are not on the m= line are passed over, as Firefox writes such.
func codecsOf(m *sdp.Media) ([]Codec, error) {
	maps, err := m.RTPMaps()
	if err != nil {
		return nil, err
	}
	fmtps, err := m.FMTPs()
	if err != nil {
		return nil, err
	}
	feedback, err := m.Feedback()
	if err != nil {
		return nil, err
	}
	byFormat := map[string]sdp.RTPMap{}
	for _, r := range maps {
		byFormat[strconv.Itoa(int(r.Payload))] = r
	}
	params, answers := map[string]string{}, map[string][]string{}
	for _, f := range fmtps {
		params[f.Format] = f.Value
	}
	for _, f := range feedback {
		answers[f.Format] = append(answers[f.Format], f.Value)
	}
	var codecs []Codec
	rtx := map[string]uint8{}
	for _, f := range m.Formats {
		r, ok := byFormat[f]
		c := Codec{Name: r.Name, Clock: r.Clock, Channels: r.Channels, Payload: r.Payload}
		if !ok {
			if c, ok = static[f]; !ok {
				continue
			}
		}
		c.FMTP = params[f]
		if strings.EqualFold(c.Name, "rtx") { // RFC 4588 section 8.1
			if apt, ok := sdp.Param(c.FMTP, "apt"); ok {
				rtx[apt] = c.Payload
			}
			continue
		}
		c.Feedback = append(slices.Clone(answers[f]), answers["*"]...)
		codecs = append(codecs, c)
	}
	for i := range codecs {
		codecs[i].RTX = rtx[strconv.Itoa(int(codecs[i].Payload))]
	}
	return codecs, nil
}

// common is what of the offered codecs we support, in their order and with their payload types (RFC 8829 section 5.3.1).
func common(offered, ours []Codec) []Codec {
	var both []Codec
	for _, o := range offered {
		i := slices.IndexFunc(ours, func(c Codec) bool { return c.Matches(&o) })
		if i < 0 {
			continue
		}
		c := ours[i]
		c.Payload = o.Payload
		c.Feedback = nil
		for _, f := range ours[i].Feedback {
			if slices.Contains(o.Feedback, f) {
				c.Feedback = append(c.Feedback, f)
			}
		}
		if c.RTX != 0 {
			c.RTX = o.RTX
		}
		if strings.EqualFold(c.Name, "red") { // it names the payload types of its blocks, which are the offerer's
			c.FMTP = o.FMTP
		}
		both = append(both, c)
	}
	return both
}

// hasMedia reports whether some codec carries media of its own, rather than events, noise or repair.
func hasMedia(codecs []Codec) bool {
	return slices.ContainsFunc(codecs, func(c Codec) bool {
		switch strings.ToLower(c.Name) {
		case "red", "ulpfec", "flexfec-03", "flexfec", "telephone-event", "cn":
			return false
		}
		return true
	})
}

// writeCodecs gives a media section its formats.
func writeCodecs(m *sdp.Media, codecs []Codec) {
	for _, c := range codecs {
		pt := strconv.Itoa(int(c.Payload))
		m.Formats = append(m.Formats, pt)
		m.Add("rtpmap", sdp.RTPMap{Payload: c.Payload, Name: c.Name, Clock: c.Clock, Channels: c.Channels}.String())
		for _, f := range c.Feedback {
			m.Add("rtcp-fb", pt+" "+f)
		}
		if c.FMTP != "" {
			m.Add("fmtp", pt+" "+c.FMTP)
		}
		if c.RTX != 0 {
			rtx := strconv.Itoa(int(c.RTX))
			m.Formats = append(m.Formats, rtx)
			m.Add("rtpmap", sdp.RTPMap{Payload: c.RTX, Name: "rtx", Clock: c.Clock}.String())
			m.Add("fmtp", rtx+" apt="+pt)
		}
	}
}

// payloads gives out payload types and extension ids for one offer: what a number means must be the same in all
// sections, as they may be bundled (RFC 9143 section 9.1).
type payloads struct {
	codecs [128]*Codec // rtx as the codec that it retransmits
	rtx    [128]bool
	uris   map[string]uint16
	ids    map[uint16]bool
}

func newPayloads() *payloads { return &payloads{uris: map[string]uint16{}, ids: map[uint16]bool{}} }

func (p *payloads) know(codecs []Codec, extensions []sdp.ExtMap) {
	for i := range codecs {
		c := &codecs[i]
		p.codecs[c.Payload&127] = c
		if c.RTX != 0 {
			p.codecs[c.RTX&127], p.rtx[c.RTX&127] = c, true
		}
	}
	for _, e := range extensions {
		p.uris[e.URI], p.ids[e.ID] = e.ID, true
	}
}

// take returns want if it is free or means the same already, else a payload type that does.
func (p *payloads) take(c *Codec, rtx bool, want uint8) (uint8, bool) {
	fits := func(pt uint8) bool {
		return p.codecs[pt] == nil || p.rtx[pt] == rtx && p.codecs[pt].Matches(c)
	}
	for pt := range uint8(128) {
		if p.codecs[pt] != nil && fits(pt) {
			return pt, true
		}
	}
	if fits(want) {
		return want, true
	}
	for _, span := range [][2]uint8{{96, 127}, {35, 63}} { // dynamic (RFC 3551 section 3), and unassigned
		for pt := span[0]; pt <= span[1]; pt++ {
			if p.codecs[pt] == nil {
				return pt, true
			}
		}
	}
	return 0, false
}

// offer lists what a section offers: what was negotiated before first, then the rest of ours (RFC 8829 section 5.2.2).
func (p *payloads) offer(negotiated, ours []Codec, ordered bool) []Codec {
	var list []Codec
	if !ordered {
		for _, n := range negotiated {
			if slices.ContainsFunc(ours, func(c Codec) bool { return c.Matches(&n) }) {
				list = append(list, n)
			}
		}
	}
	renumbered := map[string]string{}
	for _, c := range ours {
		if slices.ContainsFunc(list, func(l Codec) bool { return l.Matches(&c) }) {
			continue
		}
		was := strconv.Itoa(int(c.Payload))
		pt, ok := p.take(&c, false, c.Payload)
		if !ok {
			continue
		}
		c.Payload = pt
		renumbered[was] = strconv.Itoa(int(pt))
		if c.RTX != 0 {
			kept := c
			p.know([]Codec{{Name: c.Name, Clock: c.Clock, Channels: c.Channels, FMTP: c.FMTP, Payload: pt}}, nil)
			if c.RTX, ok = p.take(&kept, true, c.RTX); !ok {
				c.RTX = 0
			}
		}
		if strings.EqualFold(c.Name, "red") {
			blocks := strings.Split(c.FMTP, "/")
			for i, b := range blocks {
				if n, ok := renumbered[b]; ok {
					blocks[i] = n
				}
			}
			c.FMTP = strings.Join(blocks, "/")
		}
		list = append(list, c)
		p.know(slices.Clone(list[len(list)-1:]), nil)
	}
	return list
}

func (p *payloads) extensions(uris []string) []sdp.ExtMap {
	var list []sdp.ExtMap
	for _, uri := range uris {
		id, known := p.uris[uri]
		for next := uint16(1); !known && next < 255; next++ {
			if next != 15 && !p.ids[next] { // RFC 8285 section 4.2: 15 is reserved
				id, known = next, true
			}
		}
		if known {
			list = append(list, sdp.ExtMap{ID: id, URI: uri})
			p.uris[uri], p.ids[id] = id, true
		}
	}
	return list
}
