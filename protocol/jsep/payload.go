package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// payloads gives out payload types and extension ids for one offer: what a number means must be the same in all
// sections, as they may be bundled (RFC 9143 section 9.1).
type payloads struct {
	codecs [128]*Codec // rtx as the codec that it retransmits
	rtx    [128]bool
	uris   map[string]uint16
	ids    map[uint16]string
}

func newPayloads() *payloads { return &payloads{uris: map[string]uint16{}, ids: map[uint16]string{}} }

func (p *payloads) know(codecs []Codec, extensions []sdp.ExtMap) {
	for i := range codecs {
		c := &codecs[i]
		p.codecs[c.Payload&127] = c
		if c.RTX != 0 {
			p.codecs[c.RTX&127], p.rtx[c.RTX&127] = c, true
		}
	}
	for _, e := range extensions {
		p.uris[e.URI], p.ids[e.ID] = e.ID, e.URI
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
	if !ordered {
		var first []Codec
		for _, n := range negotiated {
			if i := slices.IndexFunc(ours, func(c Codec) bool { return c.Matches(&n) }); i >= 0 {
				first = append(first, ours[i])
			}
		}
		for _, c := range ours {
			if !slices.ContainsFunc(first, func(f Codec) bool { return f.Matches(&c) }) {
				first = append(first, c)
			}
		}
		ours = first
	}
	var list []Codec
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
		list = append(list, c)
		p.know(slices.Clone(list[len(list)-1:]), nil)
	}
	for i := range list { // RED names the payload types of its blocks
		if c := &list[i]; strings.EqualFold(c.Name, "red") {
			blocks := strings.Split(c.FMTP, "/")
			for i, b := range blocks {
				if n, ok := renumbered[b]; ok {
					blocks[i] = n
				}
			}
			c.FMTP = strings.Join(blocks, "/")
		}
	}
	return list
}
