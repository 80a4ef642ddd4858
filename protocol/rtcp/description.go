package rtcp

import (
	"iter"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Types of the items of a source description (RFC 3550 section 12.2, RFC 9143 section 15.2, RFC 8852).
const (
	ItemCNAME = 1
	ItemMID   = 15
	ItemRID   = 12
	ItemRRID  = 13
)

// An Item is what a source says of itself. Its text lies in the packet.
type Item struct {
	SSRC rtp.SSRC
	Type uint8
	Text []byte
}

// SDES goes through the items of a source description (RFC 3550 section 6.5), as far as they are well formed; it is false if
// one is not.
func (p Packet) SDES() (items iter.Seq[Item], ok bool) {
	if p.Type != TypeSDES {
		return nil, false
	}
	ok = p.items(func(Item) bool { return true })
	return func(yield func(Item) bool) { p.items(yield) }, ok
}

func (p Packet) items(yield func(Item) bool) (ok bool) {
	b := p.Body
	for range p.Count {
		if len(b) < 8 { // a chunk has a source, and at least one word of items
			return false
		}
		source, at := ssrcAt(b), 4
		for {
			if at >= len(b) {
				return false
			}
			if b[at] == 0 { // "terminated by one or more null octets", to a boundary of 32 bits
				at += 4 - at%4
				break
			}
			if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
				return false
			}
			next := at + 2 + int(b[at+1])
			if !yield(Item{source, b[at], b[at+2 : next : next]}) {
				return true
			}
			at = next
		}
		if at > len(b) {
			return false
		}
		b = b[at:]
	}
	return true
}

// AppendSDES writes a source description of one source with its items, whose SSRC is not looked at. Texts are cut at 255
// bytes.
func AppendSDES(dst []byte, source rtp.SSRC, items ...Item) []byte {
	start := len(dst)
	dst = appendSSRC(begin(dst, TypeSDES, 1), source)
	for _, i := range items {
		text := i.Text[:min(len(i.Text), 255)]
		dst = append(append(dst, i.Type, byte(len(text))), text...)
	}
	for dst = append(dst, 0); (len(dst)-start)%4 != 0; {
		dst = append(dst, 0)
	}
	return end(dst, start)
}

// BYE says that sources leave (RFC 3550 section 6.6). Both parts lie in the packet.
type BYE struct {
	Sources rtp.Sources
	Reason  []byte // text, or nil
}

// BYE reads one.
func (p Packet) BYE() (bye BYE, ok bool) {
	n := 4 * int(p.Count)
	if p.Type != TypeBYE || len(p.Body) < n {
		return bye, false
	}
	bye.Sources = rtp.SourcesOf(p.Body[:n:n])
	if rest := p.Body[n:]; len(rest) > 0 {
		if len(rest) < 1+int(rest[0]) {
			return bye, false
		}
		bye.Reason = rest[1 : 1+int(rest[0])]
	}
	return bye, true
}

// AppendBYE writes one: of at most 31 sources, and with a reason of at most 255 bytes, if it is not empty. What is more is
// left out.
func AppendBYE(dst []byte, reason string, sources ...rtp.SSRC) []byte {
	start := len(dst)
	sources = sources[:min(len(sources), maxCount)]
	dst = begin(dst, TypeBYE, uint8(len(sources)))
	for _, s := range sources {
		dst = appendSSRC(dst, s)
	}
	if reason = reason[:min(len(reason), 255)]; reason != "" {
		dst = append(append(dst, byte(len(reason))), reason...)
		for (len(dst)-start)%4 != 0 {
			dst = append(dst, 0)
		}
	}
	return end(dst, start)
}

// APP is for an application (RFC 3550 section 6.7). Data lie in the packet.
type APP struct {
	SSRC    rtp.SSRC
	Subtype uint8 // five bits
	Name    [4]byte
	Data    []byte // a multiple of four
}

// APP reads one.
func (p Packet) APP() (a APP, ok bool) {
	if p.Type != TypeAPP || len(p.Body) < 8 {
		return a, false
	}
	return APP{SSRC: ssrcAt(p.Body), Subtype: p.Count, Name: [4]byte(p.Body[4:8]), Data: p.Body[8:]}, true
}

// Append writes the packet, with zeroes behind data that are no multiple of four. Data beyond what a packet can hold are
// left out.
func (a *APP) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(appendSSRC(begin(dst, TypeAPP, a.Subtype), a.SSRC), a.Name[:]...)
	dst = append(dst, a.Data[:min(len(a.Data), maxPacket-12)]...)
	for (len(dst)-start)%4 != 0 {
		dst = append(dst, 0)
	}
	return end(dst, start)
}
