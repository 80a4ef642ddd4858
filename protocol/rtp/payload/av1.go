package payload

import "github.com/parley-rtc/parley/internal/wire"

// AV1 is the Alliance for Open Media's "RTP Payload Format For AV1", version 1.0.
type AV1 struct{}

// Bits of the aggregation header (section 4.4).
const (
	av1Continues = 0x80 // Z: the first element goes on with an OBU of the packet before
	av1Continued = 0x40 // Y: the last one goes on in the next packet
	av1Count     = 0x30 // W: how many elements there are; 0: each has its length
	av1New       = 0x08 // N: a coded video sequence begins
)

// Types of OBUs (AV1 bitstream specification, section 6.2.2).
const (
	obuSequence    = 1
	obuDelimiter   = 2
	obuFrameHeader = 3
	obuTileGroup   = 4
	obuFrame       = 6
	obuTileList    = 8
	obuPadding     = 15
)

// Of the header of an OBU (section 5.3.2).
const (
	obuForbidden = 0x80
	obuExtension = 0x04
	obuHasSize   = 0x02
)

// An obu is an OBU, without its size.
type obu struct {
	head [2]byte
	n    int // bytes of head
	body []byte
}

func (o *obu) kind() uint8 { return o.head[0] >> 3 & 15 }
func (o *obu) len() int    { return o.n + len(o.body) }

// layer is the extension of the header, or -1.
func (o *obu) layer() int {
	if o.n < 2 {
		return -1
	}
	return int(o.head[1] &^ 7)
}

// travels reports whether an OBU is sent: "The temporal delimiter OBU, if present, SHOULD be removed when transmitting, and MUST
// be ignored by receivers. Tile list OBUs are not supported" (section 5).
func (o *obu) travels() bool {
	k := o.kind()
	return k != obuDelimiter && k != obuTileList && k != obuPadding
}

// nextOBU cuts the first OBU off a stream. One without its size is the last.
func nextOBU(b []byte) (o obu, rest []byte, ok bool) {
	if len(b) == 0 || b[0]&obuForbidden != 0 {
		return o, nil, false
	}
	sized := b[0]&obuHasSize != 0
	o.head[0], o.n = b[0]&^obuHasSize, 1
	if b[0]&obuExtension != 0 {
		if len(b) < 2 {
			return o, nil, false
		}
		o.head[1], o.n = b[1], 2
	}
	b = b[o.n:]
	if !sized {
		o.body = b
		return o, nil, true
	}
	size, n := leb128(b)
	if n == 0 || size > len(b)-n {
		return o, nil, false
	}
	o.body = b[n : n+size]
	return o, b[n+size:], true
}

// leb128 reads a number below 1<<32 and of how many bytes it is; 0: it is none.
func leb128(b []byte) (v, n int) {
	for i := 0; i < len(b) && i < 8; i++ { // AV1 bitstream specification, section 4.10.5
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if v >= 1<<32 {
				return 0, 0
			}
			return v, i + 1
		}
	}
	return 0, 0
}

func leb128Len(v int) (n int) {
	for n = 1; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func appendLEB128(dst []byte, v int) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// av1Elements go through the OBU elements of a payload.
type av1Elements struct {
	rest                 []byte
	left                 int // elements to come; -1: as many as there are
	continues, continued bool
}

func openAV1(payload []byte) (e av1Elements, err error) {
	if len(payload) == 0 {
		return e, ErrEmpty
	}
	h := payload[0]
	e = av1Elements{payload[1:], int(h & av1Count >> 4), h&av1Continues != 0, h&av1Continued != 0}
	if len(e.rest) == 0 || h&av1New != 0 && e.continues { // "Note: if N equals 1 then Z must equal 0."
		return e, ErrMalformed
	}
	if e.left == 0 {
		e.left = -1
	}
	return e, nil
}

// next returns an element. It is not ok at the end, and err says if that is none.
func (e *av1Elements) next() (element []byte, ok bool, err error) {
	if len(e.rest) == 0 && e.left <= 0 {
		return nil, false, nil
	}
	size, n := len(e.rest), 0
	if e.left != 1 {
		if size, n = leb128(e.rest); n == 0 || size > len(e.rest)-n {
			return nil, false, ErrMalformed
		}
	}
	if size == 0 {
		return nil, false, ErrMalformed
	}
	element, e.rest = e.rest[n:n+size], e.rest[n+size:]
	if e.left > 0 {
		e.left--
	}
	return element, true, nil
}

// Parse reads an aggregation header and the headers of OBUs.
func (AV1) Parse(payload []byte) (p Part, err error) {
	e, err := openAV1(payload)
	if err != nil {
		return p, err
	}
	p.Start = payload[0]&av1New != 0
	p.KeyFrame = p.Start
	continues := e.continues
	for i := 0; ; i++ {
		b, ok, err := e.next()
		if err != nil || !ok {
			return p, err
		}
		if i == 0 && continues {
			continue
		}
		if b[0]&obuForbidden != 0 {
			return p, ErrMalformed
		}
		if b[0]>>3&15 == obuSequence {
			p.KeyFrame = true
		}
		if b[0]&obuExtension != 0 && len(b) > 1 {
			p.Temporal, p.Spatial = b[1]>>5, b[1]>>3&3
		}
	}
}

// temporalDelimiter begins a temporal unit (AV1 bitstream specification, section 7.5).
var temporalDelimiter = []byte{obuDelimiter<<3 | obuHasSize, 0}

// AppendFrame joins the payloads of a temporal unit: a delimiter and the OBUs with their sizes (AV1 bitstream specification,
// section 5.2).
func (AV1) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	dst = append(dst, temporalDelimiter...)
	begin := len(dst)
	at, open := begin, false // where the OBU begins that is being joined
	for _, payload := range payloads {
		e, err := openAV1(payload)
		if err != nil {
			return dst, err
		}
		if open != e.continues {
			return dst, ErrIncomplete
		}
		for {
			b, ok, err := e.next()
			if err != nil {
				return dst, err
			}
			if !ok {
				break
			}
			dst = append(dst, b...)
			if open = e.continued && len(e.rest) == 0 && e.left <= 0; open {
				break
			}
			if dst, ok = finishOBU(dst, at); !ok {
				return dst, ErrMalformed
			}
			at = len(dst)
		}
	}
	if open || len(payloads) == 0 {
		return dst, ErrIncomplete
	}
	if len(dst) == begin {
		return dst, ErrEmpty
	}
	return dst, nil
}

// finishOBU gives the OBU at the end of b its size, or takes it away if it is none to be decoded.
func finishOBU(b []byte, at int) ([]byte, bool) {
	o, rest, ok := nextOBU(b[at:])
	if !ok || len(rest) > 0 {
		return b, false
	}
	if !o.travels() {
		return b[:at], true
	}
	n, size := len(o.body), leb128Len(len(o.body))
	if b[at]&obuHasSize != 0 {
		body := len(b) - n
		b = append(b[:at+o.n], b[body:]...) // its size may be written longer than need be
	}
	for range size {
		b = append(b, 0)
	}
	body := at + o.n
	copy(b[body+size:], b[body:body+n])
	b[at] |= obuHasSize
	appendLEB128(b[:body], n)
	return b, true
}

// KeyFrame reports whether a temporal unit has a sequence header and begins with a key frame.
func (AV1) KeyFrame(frame []byte) bool {
	sequence := false
	for len(frame) > 0 {
		o, rest, ok := nextOBU(frame)
		if !ok {
			return false
		}
		switch r := wire.NewBitReader(o.body); o.kind() {
		case obuSequence:
			sequence = true
			r.Bits(4)     // seq_profile, still_picture
			if r.Flag() { // reduced_still_picture_header: there is nothing but a key frame
				return true
			}
		case obuFrameHeader, obuFrame:
			const keyFrame = 0
			return sequence && !r.Flag() && r.Bits(2) == keyFrame && r.OK() // show_existing_frame, frame_type
		}
		frame = rest
	}
	return false
}

// NewPacketizer returns a packetizer for one stream.
func (AV1) NewPacketizer(uint32) Packetizer { return &av1Packetizer{} }

// An av1Packetizer cuts temporal units, or one spatial layer of one. Payloads are filled in order, each with a fair share of
// what is left.
type av1Packetizer struct {
	rest   []byte // OBUs after this one
	obu    obu    // the one that is being sent; none if its n is 0
	sent   int    // bytes of it
	left   int    // bytes to send of all OBUs
	fields int    // and at most of the lengths before them
	limit  Limit
	head   byte // bits of the next aggregation header
	first  bool
}

// advance finds the next OBU to send.
func (p *av1Packetizer) advance() {
	p.sent = 0
	for {
		var ok bool
		if p.obu, p.rest, ok = nextOBU(p.rest); !ok {
			p.obu = obu{}
			return
		}
		if p.obu.travels() {
			return
		}
	}
}

func (p *av1Packetizer) Begin(f *Frame, limit Limit) error {
	*p = av1Packetizer{limit: limit, first: true}
	if _, ok := modeOf(f); !ok {
		return ErrUnsupported
	}
	if len(f.Data) == 0 {
		return ErrEmpty
	}
	if limit.First < 0 || limit.Last < 0 || limit.Max-limit.First-limit.Last < 8 {
		return ErrLimit
	}
	left, fields := 0, 0
	for b := f.Data; len(b) > 0; {
		o, rest, ok := nextOBU(b)
		if !ok {
			return ErrMalformed
		}
		if b = rest; o.travels() {
			left += o.len()
			fields += leb128Len(o.len())
		}
	}
	if left == 0 {
		return ErrEmpty
	}
	p.rest, p.left, p.fields = f.Data, left, fields
	if f.Spatial == 0 && (AV1{}).KeyFrame(f.Data) {
		p.head = av1New
	}
	p.advance()
	return nil
}

// room returns how many bytes of elements the next payload shall have.
func (p *av1Packetizer) room() int {
	whole := p.limit.Max - 1
	room, rest := whole, p.left+p.fields+p.limit.Last
	if p.first {
		room -= p.limit.First
		rest += p.limit.First
	}
	if p.left+p.fields+p.limit.Last <= room {
		return room - p.limit.Last // all that is left
	}
	payloads := max(2, (rest+whole-1)/whole)
	share := (rest+payloads-1)/payloads - (whole - room)
	return max(min(share, room, p.left-1), 2)
}

func (p *av1Packetizer) Append(dst []byte) ([]byte, bool) {
	if p.obu.n == 0 {
		return dst, false
	}
	room := p.room()
	head, count, layer := len(dst), 0, -1
	dst = append(dst, p.head)
	if p.sent > 0 {
		dst[head] |= av1Continues
	}
	p.head, p.first = 0, false
	for last := false; !last; count++ {
		layer = max(layer, p.obu.layer())
		// The last element of three at most has no length; of more than three each has one (section 4.4).
		n, field := p.obu.len()-p.sent, 0
		if count >= 3 {
			field = leb128Len(min(n, room))
		}
		if whole := n <= room-field; whole {
			field = leb128Len(n)
			last = !p.nextFits(room-field-n, count+1, layer)
			if last && count < 3 {
				field = 0
			}
		} else {
			n, last = room-field, true
			dst[head] |= av1Continued
		}
		if field > 0 {
			dst = appendLEB128(dst, n)
		}
		dst = p.appendElement(dst, n)
		room -= field + n
	}
	if count <= 3 {
		dst[head] |= byte(count) << 4
	}
	return dst, p.obu.n > 0
}

// nextFits reports whether the next OBU may be in one payload with this one: there is one, of the same layer ("the values of
// the temporal_id and spatial_id MUST be the same in all such OBUs in the RTP packet", section 5), and room for its header.
func (p *av1Packetizer) nextFits(room, count, layer int) bool {
	next := av1Packetizer{rest: p.rest}
	next.advance()
	if next.obu.n == 0 {
		return false
	}
	if count >= 3 {
		room -= 2
	}
	l := next.obu.layer()
	return room >= 2 && (layer < 0 || l < 0 || l == layer)
}

// appendElement appends the next bytes of an OBU.
func (p *av1Packetizer) appendElement(dst []byte, n int) []byte {
	p.left -= n
	if p.sent < p.obu.n {
		k := min(n, p.obu.n-p.sent)
		dst = append(dst, p.obu.head[p.sent:p.sent+k]...)
		p.sent, n = p.sent+k, n-k
	}
	at := p.sent - p.obu.n
	dst = append(dst, p.obu.body[at:at+n]...)
	if p.sent += n; p.sent == p.obu.len() {
		p.fields -= leb128Len(p.obu.len())
		p.advance()
	}
	return dst
}
