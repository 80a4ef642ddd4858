package jsep

import "github.com/parley-rtc/parley/protocol/sdp"

// A bundling is how the sections of a description are grouped (RFC 9143). It is made once for each use: a peer may name a thousand.
type bundling struct {
	d       *sdp.Description
	groups  map[string]*sdp.Group // by mid
	index   map[string]int        // of a section, by mid
	sources map[*sdp.Group]int    // which section has what is of the group's transport; -1: none
}

func bundlingOf(d *sdp.Description) *bundling {
	b := &bundling{d: d}
	groups, _ := d.Groups()
	for i := range groups {
		if groups[i].Semantics != "BUNDLE" {
			continue
		}
		if b.groups == nil {
			b.groups, b.index = map[string]*sdp.Group{}, map[string]int{}
			for j, m := range d.Media {
				if mid, ok := m.Attr("mid"); ok {
					b.index[mid] = j
				}
			}
		}
		for _, mid := range groups[i].MIDs {
			b.groups[mid] = &groups[i]
		}
	}
	return b
}

// of returns the group of a section; nil if it is in none.
func (b *bundling) of(i int) *sdp.Group {
	mid, _ := b.d.Media[i].Attr("mid")
	return b.groups[mid]
}

// tagged finds the section of a group whose transport attributes count (RFC 9143 section 7.1.3): the first one that is not rejected,
// neither in the description nor since.
func (b *bundling) tagged(g *sdp.Group, since func(i int) bool) int {
	for _, mid := range g.MIDs {
		if i, ok := b.index[mid]; ok && !b.rejected(i) && (since == nil || !since(i)) {
			return i
		}
	}
	return 0 // there is none: nobody asks
}

// rejected reports whether a section is rejected, in an offer or in an answer. "If an offerer or answerer receives a 'bundle-only' attribute
// in a non-bundled "m=" section, the offerer or answerer MUST discard the attribute" (RFC 9143 section 6). In a bundled one it counts in
// answers too, where it has no place, but libpeer writes it.
func (b *bundling) rejected(i int) bool {
	m := b.d.Media[i]
	return m.Port == 0 && (!m.Has("bundle-only") || b.of(i) == nil)
}

// source finds the section that describes the transport of section i: itself, or another of its group that has credentials.
func (b *bundling) source(i int) int {
	if b.whole(i) { // Chromium repeats the credentials in sections that are bundled, but not the fingerprint
		return i
	}
	g := b.of(i)
	if g == nil {
		return i
	}
	at, known := b.sources[g]
	if !known {
		at = -1
		for _, mid := range g.MIDs {
			if j, ok := b.index[mid]; ok && b.whole(j) {
				at = j
				break
			}
		}
		if b.sources == nil {
			b.sources = map[*sdp.Group]int{}
		}
		b.sources[g] = at
	}
	if at < 0 || b.index[g.MIDs[0]] == i { // the tagged one has no other (RFC 9143 section 7.1.3)
		return i
	}
	return at
}

func (b *bundling) whole(i int) bool {
	return attribute(b.d, i, "ice-ufrag") != "" && attribute(b.d, i, "fingerprint") != ""
}
