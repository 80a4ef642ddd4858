package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

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
		answers[f.Format] = append(answers[f.Format], strings.ToLower(strings.Join(strings.Fields(f.Value), " ")))
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
		if c.Channels == "1" { // "This parameter is OPTIONAL and MAY be omitted if the number of channels is one" (RFC 8866 section 6.6)
			c.Channels = ""
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

// writeCodecs gives a media section its formats.
func writeCodecs(m *sdp.Media, codecs []Codec) {
	if slices.ContainsFunc(codecs, func(c Codec) bool { return c.Has(congestionFeedback) }) {
		// RFC 8888 section 6: "the payload type in that line MUST be the wildcard"
		m.Add("rtcp-fb", "* "+congestionFeedback)
	}
	for _, c := range codecs {
		pt := strconv.Itoa(int(c.Payload))
		m.Formats = append(m.Formats, pt)
		m.Add("rtpmap", sdp.RTPMap{Payload: c.Payload, Name: c.Name, Clock: c.Clock, Channels: c.Channels}.String())
		for _, f := range c.Feedback {
			if f != congestionFeedback {
				m.Add("rtcp-fb", pt+" "+f)
			}
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
