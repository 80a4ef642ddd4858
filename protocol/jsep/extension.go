package jsep

import (
	"slices"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// maxOneByte is the largest id of a header extension with one-byte headers (RFC 8285 section 4.2); maxTwoByte the one with
// two-byte headers, for peers that take both in one stream (a=extmap-allow-mixed).
const maxOneByte, maxTwoByte = 14, 255

func validExtension(id uint16, mixed bool) bool {
	// RFC 8285 section 4.2: 15 is reserved
	return id >= 1 && id <= maxOneByte || mixed && id > 15 && id <= maxTwoByte
}

// extensions gives ids to the extensions of a section of an offer.
func (p *payloads) extensions(uris []string) []sdp.ExtMap {
	var list []sdp.ExtMap
	for _, uri := range uris {
		id, known := p.uris[uri]
		for next := uint16(1); !known && next <= maxTwoByte; next++ {
			if validExtension(next, true) && p.ids[next] == "" {
				id, known = next, true
			}
		}
		if known {
			list = append(list, sdp.ExtMap{ID: id, URI: uri})
			p.uris[uri], p.ids[id] = id, uri
		}
	}
	return list
}

// mixed reports whether a section takes headers of one and two bytes in one stream (RFC 8285 section 4.1.2).
func mixed(d *sdp.Description, m *sdp.Media) bool {
	return d.Has("extmap-allow-mixed") || m.Has("extmap-allow-mixed")
}

// extMaps returns the header extensions of a section, those of the session's level included.
func extMaps(d *sdp.Description, m *sdp.Media) []sdp.ExtMap {
	theirs, _ := m.ExtMaps()
	above, _ := d.ExtMaps()
	return append(theirs, above...)
}

// mirrored is a direction seen from the other side; none stays none.
func mirrored(d sdp.Direction) sdp.Direction {
	if d == "" {
		return d
	}
	return sdp.DirectionOf(d.Receives(), d.Sends())
}

// answerExtensions takes what of the offered extensions we know. An id means one thing in the whole answer, as sections
// may be bundled (RFC 9143 section 9.1): of two extensions that want the same the first has it.
func (s *Session) answerExtensions(d *sdp.Description, m *sdp.Media, kind string, meaning map[uint16]string) []sdp.ExtMap {
	offered, list := extMaps(d, m), []sdp.ExtMap{}
	for _, e := range offered {
		if !slices.Contains(s.extensionsOf(kind), e.URI) || slices.ContainsFunc(list, func(l sdp.ExtMap) bool { return l.URI == e.URI }) {
			continue
		}
		// RFC 8285 section 6: the offerer with more than there are ids for uses 4096 to 4351, and the answerer picks
		for id := uint16(1); e.ID > maxTwoByte && id <= maxOneByte; id++ {
			if meaning[id] == e.URI || meaning[id] == "" && !slices.ContainsFunc(offered, func(o sdp.ExtMap) bool { return o.ID == id }) {
				e.ID = id
			}
		}
		// Who offers longer ids takes two-byte headers: in all packets, if it does not take both.
		if !validExtension(e.ID, true) || meaning[e.ID] != "" && meaning[e.ID] != e.URI {
			continue
		}
		meaning[e.ID], e.Direction = e.URI, mirrored(e.Direction)
		list = append(list, e)
	}
	return list
}

// agreedExtensions is what both descriptions have, with the ids of the answer and directions as we see them.
func (s *Session) agreedExtensions(kind string, offer, answer []sdp.ExtMap, mixed, remote bool) []sdp.ExtMap {
	list, ids := []sdp.ExtMap{}, map[uint16]bool{}
	for _, e := range answer {
		known := slices.Contains(s.extensionsOf(kind), e.URI) && slices.ContainsFunc(offer, func(o sdp.ExtMap) bool { return o.URI == e.URI })
		if !known || ids[e.ID] || !validExtension(e.ID, mixed || !remote) {
			continue
		}
		if remote {
			e.Direction = mirrored(e.Direction)
		}
		ids[e.ID] = true
		list = append(list, e)
	}
	return list
}

// inDirection returns the extensions that may be sent, or that may be received.
func inDirection(list []sdp.ExtMap, sent bool) (of []sdp.ExtMap) {
	for _, e := range list {
		if e.Direction == "" || sent && e.Direction.Sends() || !sent && e.Direction.Receives() {
			of = append(of, sdp.ExtMap{ID: e.ID, URI: e.URI, Attributes: e.Attributes})
		}
	}
	return of
}

func hasExtension(list []sdp.ExtMap, uri string) bool {
	return slices.ContainsFunc(list, func(e sdp.ExtMap) bool { return e.URI == uri })
}
