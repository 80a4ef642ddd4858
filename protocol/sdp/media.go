package sdp

import (
	"strconv"
	"strings"
)

// A Direction is the direction of media, as the describing side sees it (RFC 8866 section 6.7).
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// Sends reports whether the describing side sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives reports whether the describing side receives.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// DirectionOf returns the direction that sends and receives as told.
func DirectionOf(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// Direction returns the direction of this level; ok is false if none is given, which means sendrecv.
func (s *Section) Direction() (d Direction, ok bool) {
	for _, d := range [...]Direction{SendRecv, SendOnly, RecvOnly, Inactive} {
		if s.Has(string(d)) {
			return d, true
		}
	}
	return SendRecv, false
}

// An RTPMap says what a payload type is (RFC 8866 section 6.6).
type RTPMap struct {
	Payload  uint8 // 0 to 127
	Name     string
	Clock    uint32 // Hz
	Channels string // or other parameters; "" if not given
}

// ParseRTPMap reads the value of a=rtpmap.
func ParseRTPMap(value string) (RTPMap, error) {
	c := cursor{text: value}
	r := RTPMap{Payload: uint8(c.number("the payload type", 127))}
	c.space()
	r.Name = c.take("the encoding name", "/ ")
	if !c.skip('/') {
		c.fail("a slash and the clock rate were expected")
	}
	r.Clock = uint32(c.number("the clock rate", 1<<32-1))
	if c.skip('/') {
		r.Channels = c.word("the encoding parameters")
	}
	return r, c.end()
}

func (r RTPMap) String() string {
	s := strconv.Itoa(int(r.Payload)) + " " + r.Name + "/" + strconv.FormatUint(uint64(r.Clock), 10)
	if r.Channels != "" {
		s += "/" + r.Channels
	}
	return s
}

// RTPMaps returns the a=rtpmap lines.
func (m *Media) RTPMaps() ([]RTPMap, error) { return all(&m.Section, "rtpmap", ParseRTPMap) }

// A Format is a line that is about one format of the m= line: a=fmtp (RFC 8866 section 6.15) or a=rtcp-fb (RFC 4585
// section 4.2).
type Format struct {
	Format string // a payload type, or "*" in a=rtcp-fb for all of them
	Value  string // what follows, as it stands
}

// ParseFormat reads the value of a=fmtp or a=rtcp-fb.
func ParseFormat(value string) (Format, error) {
	c := cursor{text: value}
	f := Format{Format: c.token("the format")}
	c.space()
	f.Value = c.remainder()
	return f, c.end()
}

func (f Format) String() string { return f.Format + " " + f.Value }

// FMTPs returns the a=fmtp lines.
func (m *Media) FMTPs() ([]Format, error) { return all(&m.Section, "fmtp", ParseFormat) }

// Feedback returns the a=rtcp-fb lines, those of payload types that are not on the m= line too.
func (m *Media) Feedback() ([]Format, error) { return all(&m.Section, "rtcp-fb", ParseFormat) }

// Param finds a parameter in the value of a=fmtp ("a=1;b=2", names in any case).
func Param(fmtp, name string) (value string, ok bool) {
	for p := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// An ExtMap is a header extension of RTP (RFC 8285 section 5).
type ExtMap struct {
	ID         uint16 // 1 to 14, to 255 with two-byte headers, 4096 to 4351 for those that are not assigned yet
	Direction  Direction
	URI        string
	Attributes string
}

// ParseExtMap reads the value of a=extmap.
func ParseExtMap(value string) (ExtMap, error) {
	c := cursor{text: value}
	e := ExtMap{ID: uint16(c.number("the extension's id", 4351))}
	if c.err == nil && e.ID == 0 {
		c.fail("an extension's id is 1 at least")
	}
	if c.skip('/') {
		e.Direction = Direction(c.token("the direction"))
	}
	c.space()
	e.URI = c.word("the URI")
	c.skip(' ')
	e.Attributes = c.remainder()
	return e, c.end()
}

func (e ExtMap) String() string {
	s := strconv.Itoa(int(e.ID))
	if e.Direction != "" {
		s += "/" + string(e.Direction)
	}
	s += " " + e.URI
	if e.Attributes != "" {
		s += " " + e.Attributes
	}
	return s
}

// ExtMaps returns the a=extmap lines of this level.
func (s *Section) ExtMaps() ([]ExtMap, error) { return all(s, "extmap", ParseExtMap) }

// A MSID puts a track into a stream (RFC 8830).
type MSID struct {
	Stream string // "-": none
	Track  string // "" if not given
}

// ParseMSID reads the value of a=msid.
func ParseMSID(value string) (MSID, error) {
	c := cursor{text: value}
	m := MSID{Stream: c.word("the stream")}
	if c.skip(' ') {
		m.Track = strings.TrimSpace(c.remainder())
	}
	return m, c.end()
}

func (m MSID) String() string { return strings.TrimRight(m.Stream+" "+m.Track, " ") }

// MSIDs returns the a=msid lines.
func (m *Media) MSIDs() ([]MSID, error) { return all(&m.Section, "msid", ParseMSID) }

// A RID names one encoding (RFC 8851).
type RID struct {
	ID           string
	Direction    string // "send" or "recv"
	Restrictions string // as they stand, as "pt=96;max-width=1280"
}

// ParseRID reads the value of a=rid.
func ParseRID(value string) (RID, error) {
	c := cursor{text: value}
	r := RID{ID: c.word("the rid")}
	c.space()
	if r.Direction = c.word("the direction"); c.err == nil && r.Direction != "send" && r.Direction != "recv" {
		c.fail("the direction of a rid is send or recv")
	}
	c.skip(' ')
	r.Restrictions = c.remainder()
	return r, c.end()
}

func (r RID) String() string {
	return strings.TrimRight(r.ID+" "+r.Direction+" "+r.Restrictions, " ")
}

// RIDs returns the a=rid lines.
func (m *Media) RIDs() ([]RID, error) { return all(&m.Section, "rid", ParseRID) }

// Simulcast is a=simulcast (RFC 8853 section 5.1): streams, and for each the rids that are alternatives to one another.
// A paused rid begins with "~".
type Simulcast struct {
	Send, Recv [][]string
}

// ParseSimulcast reads the value of a=simulcast.
func ParseSimulcast(value string) (Simulcast, error) {
	c := cursor{text: value}
	var s Simulcast
	for c.err == nil {
		which := c.word("send or recv")
		c.space()
		var streams [][]string
		for stream := range strings.SplitSeq(c.word("the streams"), ";") {
			streams = append(streams, strings.Split(stream, ","))
		}
		switch {
		case which == "send" && s.Send == nil:
			s.Send = streams
		case which == "recv" && s.Recv == nil:
			s.Recv = streams
		default:
			c.fail("send and recv are expected once each")
		}
		if strings.TrimSpace(c.rest()) == "" {
			break
		}
		c.space()
	}
	return s, c.end()
}

func (s Simulcast) String() string {
	var parts []string
	for _, p := range []struct {
		name    string
		streams [][]string
	}{{"send", s.Send}, {"recv", s.Recv}} {
		var list []string
		for _, alternatives := range p.streams {
			list = append(list, strings.Join(alternatives, ","))
		}
		if list != nil {
			parts = append(parts, p.name+" "+strings.Join(list, ";"))
		}
	}
	return strings.Join(parts, " ")
}

// Simulcast returns the a=simulcast line.
func (m *Media) Simulcast() (Simulcast, bool, error) {
	return one(&m.Section, "simulcast", ParseSimulcast)
}

// An SSRC is one attribute of a source (RFC 5576 section 4.1).
type SSRC struct {
	ID    uint32
	Name  string // as "cname"
	Value string
}

// ParseSSRC reads the value of a=ssrc.
func ParseSSRC(value string) (SSRC, error) {
	c := cursor{text: value}
	s := SSRC{ID: uint32(c.number("the SSRC", 1<<32-1))}
	c.space()
	s.Name, s.Value, _ = strings.Cut(c.remainder(), ":")
	return s, c.end()
}

func (s SSRC) String() string {
	t := strconv.FormatUint(uint64(s.ID), 10) + " " + s.Name
	if s.Value != "" {
		t += ":" + s.Value
	}
	return t
}

// SSRCs returns the a=ssrc lines.
func (m *Media) SSRCs() ([]SSRC, error) { return all(&m.Section, "ssrc", ParseSSRC) }

// An SSRCGroup puts sources together (RFC 5576 section 4.2), as "FID": a stream and its retransmissions.
type SSRCGroup struct {
	Semantics string
	IDs       []uint32
}

// ParseSSRCGroup reads the value of a=ssrc-group.
func ParseSSRCGroup(value string) (SSRCGroup, error) {
	c := cursor{text: value}
	g := SSRCGroup{Semantics: c.token("the semantics")}
	for c.err == nil && strings.TrimSpace(c.rest()) != "" {
		c.space()
		g.IDs = append(g.IDs, uint32(c.number("an SSRC", 1<<32-1)))
	}
	return g, c.end()
}

func (g SSRCGroup) String() string {
	s := g.Semantics
	for _, id := range g.IDs {
		s += " " + strconv.FormatUint(uint64(id), 10)
	}
	return s
}

// SSRCGroups returns the a=ssrc-group lines.
func (m *Media) SSRCGroups() ([]SSRCGroup, error) {
	return all(&m.Section, "ssrc-group", ParseSSRCGroup)
}
