package payload

import (
	"bytes"
	"encoding/binary"
)

// A nalKind is one of the two codecs that are made of NAL units: its value is the length of a NAL unit's header, in bytes.
type nalKind int

const (
	nalH264 nalKind = 1
	nalH265 nalKind = 2
)

// NextNAL cuts the first NAL unit off a byte stream with start codes (annex B of H.264 and H.265); both are empty if there is
// none. Zeroes before a start code are not of the unit.
func NextNAL(stream []byte) (nal, rest []byte) {
	for {
		at := bytes.Index(stream, startCode[1:])
		if at < 0 {
			return nil, nil
		}
		stream = stream[at+3:]
		end := bytes.Index(stream, startCode[1:])
		if end < 0 {
			end = len(stream)
		}
		if nal = bytes.TrimRight(stream[:end], "\x00"); len(nal) > 0 {
			return nal, stream[end:]
		}
	}
}

var startCode = []byte{0, 0, 0, 1}

// typeOf returns the type of a NAL unit, whose header is there.
func (k nalKind) typeOf(nal []byte) uint8 {
	if k == nalH264 {
		return nal[0] & 0x1f
	}
	return nal[0] >> 1 & 0x3f
}

// setType changes it.
func (k nalKind) setType(nal []byte, t uint8) {
	if k == nalH264 {
		nal[0] = nal[0]&^0x1f | t
	} else {
		nal[0] = nal[0]&^0x7e | t<<1
	}
}

// aggregation and fragmentation are the types of payloads that are not one NAL unit: STAP-A and FU-A (RFC 6184 section 5.2), AP
// and FU (RFC 7798 section 4.2).
func (k nalKind) aggregation() uint8 {
	if k == nalH264 {
		return 24
	}
	return 48
}

func (k nalKind) fragmentation() uint8 {
	if k == nalH264 {
		return 28
	}
	return 49
}

// Of the header of a fragmentation unit; the type is in its lower five or six bits.
const fuStart, fuEnd = 0x80, 0x40

func (k nalKind) fuType(header byte) uint8 {
	if k == nalH264 {
		return header & 0x1f
	}
	return header & 0x3f
}

// A nalPayload goes through what of NAL units is in a payload.
type nalPayload struct {
	kind       nalKind
	rest       []byte // of an aggregation
	nal        []byte // the next one, or the payload of a fragmentation unit
	header     [2]byte
	start, end bool // of the NAL unit: false where a fragment is not its first, its last
}

// open reads the head of a payload. Where a format reserves the type, there is nothing in it.
func (k nalKind) open(payload []byte) (p nalPayload, err error) {
	h := int(k)
	if len(payload) == 0 {
		return p, ErrEmpty
	}
	if len(payload) < h {
		return p, ErrMalformed
	}
	p.kind = k
	copy(p.header[:h], payload)
	switch t := k.typeOf(payload); {
	case t == k.aggregation():
		p.rest, p.start, p.end = payload[h:], true, true
		if len(p.rest) == 0 {
			return p, ErrMalformed
		}
		return p, p.check()
	case t == k.fragmentation():
		if len(payload) < h+1 {
			return p, ErrMalformed
		}
		fu := payload[h]
		k.setType(p.header[:], k.fuType(fu))
		p.start, p.end = fu&fuStart != 0, fu&fuEnd != 0
		// "A fragmented NAL unit MUST NOT be transmitted in one FU": both bits are never set (RFC 6184 section 5.8, RFC 7798
		// section 4.4.3).
		if p.start && p.end || !k.single(k.fuType(fu)) {
			return p, ErrMalformed
		}
		if p.nal = payload[h+1:]; len(p.nal) == 0 && k == nalH265 { // "An FU payload MUST NOT be empty."
			return p, ErrMalformed
		}
		return p, nil
	case k.single(t):
		p.nal, p.start, p.end = payload, true, true
		return p, nil
	case k.reserved(t):
		return p, nil
	}
	return p, ErrUnsupported
}

// single reports whether a type is that of a NAL unit.
func (k nalKind) single(t uint8) bool {
	if k == nalH264 {
		return t >= 1 && t <= 23
	}
	return t < 48
}

// reserved reports whether a payload "MUST be ignored by a receiver" (RFC 6184 section 5.4). Of H.265 those above PACI are
// unspecified.
func (k nalKind) reserved(t uint8) bool {
	if k == nalH264 {
		return t == 0 || t >= 30
	}
	return t > 50
}

// check goes through an aggregation, whose units lie one behind the other.
func (p nalPayload) check() error {
	for b := p.rest; len(b) > 0; {
		if len(b) < 2 {
			return ErrMalformed
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; n < int(p.kind) || n > len(b) || !p.kind.single(p.kind.typeOf(b)) {
			return ErrMalformed
		}
		b = b[n:]
	}
	return nil
}

// next returns the next NAL unit, or the only fragment.
func (p *nalPayload) next() (nal []byte, ok bool) {
	if len(p.rest) > 0 {
		n := 2 + int(binary.BigEndian.Uint16(p.rest))
		nal, p.rest = p.rest[2:n], p.rest[n:]
		return nal, true
	}
	nal, p.nal = p.nal, nil
	return nal, nal != nil
}

// fragment reports whether the payload is one.
func (p *nalPayload) fragment() bool { return !p.start || !p.end }

// appendFrame joins payloads to an access unit.
func (k nalKind) appendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	open := false // a NAL unit, of which fragments are missing
	var header [2]byte
	for _, b := range payloads {
		p, err := k.open(b)
		if err != nil {
			return dst, err
		}
		if open == p.start || open && p.header != header {
			if p.nal == nil && p.rest == nil {
				continue // reserved
			}
			return dst, ErrIncomplete
		}
		if p.fragment() {
			if p.start {
				header = p.header
				dst = append(dst, startCode...)
				dst = append(dst, header[:k]...)
			}
			dst = append(dst, p.nal...)
			open = !p.end
			continue
		}
		for nal, ok := p.next(); ok; nal, ok = p.next() {
			dst = append(dst, startCode...)
			dst = append(dst, nal...)
		}
	}
	if open || len(payloads) == 0 {
		return dst, ErrIncomplete
	}
	return dst, nil
}

// maxParameterSets is how many bytes of parameter sets a packetizer remembers: those of a real stream are some 30 to 200.
const maxParameterSets = 4096

// A nalPacketizer cuts access units. It puts small NAL units together and cuts large ones up, and repeats parameter sets before
// a key frame that comes without them: a receiver that came late, or lost the first one, could not decode it.
type nalPacketizer struct {
	kind      nalKind
	single    bool // RFC 6184 section 6.2: every payload is one NAL unit
	sets      []byte
	streams   [3][]byte // of the frame, that are left
	nal       []byte    // the next one; nil: there is none
	first     bool      // nothing of the frame was sent
	limit     Limit
	fragments splitter
	cut       []byte // what is left of the NAL unit that is being cut
	header    [2]byte
}

// advance finds the NAL unit after the next one.
func (p *nalPacketizer) advance() {
	p.nal = nil
	for i := range p.streams {
		if p.nal, p.streams[i] = NextNAL(p.streams[i]); p.nal != nil {
			return
		}
	}
}

func (p *nalPacketizer) Begin(f *Frame, limit Limit) error {
	p.nal, p.cut, p.streams, p.first, p.limit = nil, nil, [3][]byte{}, true, limit
	if len(f.Data) == 0 {
		return ErrEmpty
	}
	// The least that fits any part of a NAL unit behind the header of a fragment.
	if limit.First < 0 || limit.Last < 0 || limit.Max-limit.First-limit.Last < int(p.kind)+3 {
		return ErrLimit
	}
	delimiter := 0 // bytes of an access unit delimiter at the beginning
	remembered := len(p.sets) > 0
	var any, sets, sequence, key bool
	for nal, rest := NextNAL(f.Data); nal != nil; nal, rest = NextNAL(rest) {
		if len(nal) < int(p.kind) || !p.kind.single(p.kind.typeOf(nal)) {
			return ErrMalformed
		}
		switch t := p.kind.typeOf(nal); {
		case p.kind.delimiter(t) && !any:
			delimiter = len(f.Data) - len(rest)
		case p.kind.parameterSet(t):
			if p.kind.sequence(t) && !sequence { // a new sequence: the sets before are of no use with it
				p.sets, sequence = p.sets[:0], true
			}
			sets = true
			p.remember(nal)
		case p.kind.keyPicture(t):
			key = true
		}
		any = true
	}
	if !any {
		return ErrMalformed
	}
	p.streams[2] = f.Data
	if key && !sets && remembered {
		p.streams = [3][]byte{f.Data[:delimiter], p.sets, f.Data[delimiter:]}
	}
	if p.single && !p.fits() {
		p.streams = [3][]byte{}
		return ErrLimit
	}
	p.advance()
	return nil
}

// fits reports whether each NAL unit fits into a payload, be it the first or the last.
func (p *nalPacketizer) fits() bool {
	for _, s := range p.streams {
		for nal, rest := NextNAL(s); nal != nil; nal, rest = NextNAL(rest) {
			if len(nal) > p.limit.Max-p.limit.First-p.limit.Last {
				return false
			}
		}
	}
	return true
}

// remember keeps a parameter set that it does not have yet.
func (p *nalPacketizer) remember(nal []byte) {
	if len(p.sets)+len(startCode)+len(nal) > maxParameterSets || bytes.Contains(p.sets, nal) {
		return
	}
	p.sets = append(p.sets, startCode...)
	p.sets = append(p.sets, nal...)
}

func (p *nalPacketizer) Append(dst []byte) ([]byte, bool) {
	if p.cut != nil {
		return p.appendFragment(dst)
	}
	if p.nal == nil {
		return dst, false
	}
	nal := p.nal
	p.advance()
	room := p.limit.Max
	if p.first {
		room -= p.limit.First
	}
	if p.nal == nil {
		room -= p.limit.Last
	}
	if len(nal) > room && !p.single {
		return p.beginFragments(dst, nal)
	}
	p.first = false
	room -= int(p.kind) + 2 + len(nal)
	if p.nal != nil { // of an aggregation one knows only at its end whether it is the last payload
		room -= p.limit.Last
	}
	if p.single || p.nal == nil || 2+len(p.nal) > room {
		return append(dst, nal...), p.nal != nil
	}
	head := len(dst)
	dst = append(dst, nal[:p.kind]...)
	p.kind.setType(dst[head:], p.kind.aggregation())
	dst = appendUnit(dst, nal)
	for p.nal != nil && 2+len(p.nal) <= room {
		p.kind.mergeHeader(dst[head:], p.nal)
		dst = appendUnit(dst, p.nal)
		room -= 2 + len(p.nal)
		p.advance()
	}
	return dst, p.nal != nil
}

func appendUnit(dst, nal []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(nal))), nal...)
}

// mergeHeader makes the header of an aggregation that of one more NAL unit.
func (k nalKind) mergeHeader(header, nal []byte) {
	header[0] |= nal[0] & 0x80 // F: "otherwise, it MUST be equal to 1"
	if k == nalH264 {
		// RFC 6184 section 5.7: "The value of NRI MUST be the maximum of all the NAL units carried in the aggregation packet."
		header[0] = header[0]&^0x60 | max(header[0]&0x60, nal[0]&0x60)
		return
	}
	// RFC 7798 section 4.4.2: the lowest LayerId and the lowest TID of all.
	layer := min(h265Layer(header), h265Layer(nal))
	tid := min(header[1]&7, nal[1]&7)
	header[0] = header[0]&^1 | layer>>5
	header[1] = layer<<3 | tid
}

func h265Layer(header []byte) uint8 { return header[0]&1<<5 | header[1]>>3 }

func (p *nalPacketizer) beginFragments(dst, nal []byte) ([]byte, bool) {
	limit := Limit{Max: p.limit.Max}
	if p.first {
		limit.First = p.limit.First
	}
	if p.nal == nil {
		limit.Last = p.limit.Last
	}
	var err error
	if p.fragments, err = split(len(nal)-int(p.kind), int(p.kind)+1, limit); err != nil {
		panic("payload: Begin let a limit pass that no fragment fits into")
	}
	copy(p.header[:], nal[:p.kind])
	p.cut, p.first = nal[p.kind:], false
	first := len(dst) + int(p.kind)
	dst, more := p.appendFragment(dst)
	dst[first] |= fuStart
	return dst, more
}

func (p *nalPacketizer) appendFragment(dst []byte) ([]byte, bool) {
	n := p.fragments.next()
	head := len(dst)
	dst = append(dst, p.header[:p.kind]...)
	p.kind.setType(dst[head:], p.kind.fragmentation())
	fu := p.kind.typeOf(p.header[:])
	if n == len(p.cut) {
		fu |= fuEnd
	}
	dst = append(dst, fu)
	dst = append(dst, p.cut[:n]...)
	if p.cut = p.cut[n:]; len(p.cut) == 0 {
		p.cut = nil
	}
	return dst, p.cut != nil || p.nal != nil
}
