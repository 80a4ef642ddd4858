package rtp

import "iter"

// A Form is how the elements of a header extension are written.
type Form uint8

const (
	// NoExtension: the packet has no header extension.
	NoExtension Form = iota
	// OneByte: identifiers 1 to 14, values of 1 to 16 bytes (RFC 8285 section 4.2).
	OneByte
	// TwoByte: identifiers 1 to 255, values of 0 to 255 bytes (RFC 8285 section 4.3). To be used only with peers that said
	// extmap-allow-mixed, or where all packets of a stream have it.
	TwoByte
	// OtherForm: an extension of RFC 3550 section 5.3.1 that has no elements; it is kept as it is.
	OtherForm
)

const (
	profileOneByte = 0xbede
	profileTwoByte = 0x1000 // and 4 bits that mean nothing here ("appbits")
	// maxExtension is the longest extension, in bytes: its length is counted in 16 bits of words.
	maxExtension = 4 * 0xffff
)

// Extensions are the header extension of a packet. The zero value is none.
type Extensions struct {
	profile uint16
	present bool
	raw     []byte // the elements
}

// Form returns how the elements are written.
func (x *Extensions) Form() Form {
	switch {
	case !x.present:
		return NoExtension
	case x.profile == profileOneByte:
		return OneByte
	case x.profile&0xfff0 == profileTwoByte:
		return TwoByte
	}
	return OtherForm
}

// Get returns the value of the first element with an identifier. It lies in the packet: writing to it changes the packet,
// which is how a value is set once the packet is written.
func (x *Extensions) Get(id uint8) (value []byte, ok bool) {
	form := x.Form()
	for at := 0; ; {
		found, from, end := element(form, x.raw, at)
		if end == 0 {
			return nil, false
		}
		if found == id {
			return x.raw[from:end:end], true
		}
		at = end
	}
}

// All goes through the elements in their order. Values lie in the packet.
func (x *Extensions) All() iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		form := x.Form()
		for at := 0; ; {
			id, from, end := element(form, x.raw, at)
			if end == 0 || !yield(id, x.raw[from:end:end]) {
				return
			}
			at = end
		}
	}
}

// element finds the next element, and where its value begins and ends; at zero if there is none. Of what is malformed the
// elements before it hold.
func element(form Form, b []byte, at int) (id uint8, from, end int) {
	for at < len(b) && b[at] == 0 { // padding
		at++
	}
	if at >= len(b) {
		return 0, 0, 0
	}
	switch form {
	case OneByte:
		// Of both 0 with a length and 15: "its length field MUST be ignored, processing of the entire extension MUST terminate
		// at that point" (RFC 8285 sections 4.1.2 and 4.2).
		if id = b[at] >> 4; id == 0 || id == 15 {
			return 0, 0, 0
		}
		from = at + 1
		end = from + int(b[at]&0x0f) + 1
	case TwoByte:
		if at+1 == len(b) {
			return 0, 0, 0
		}
		id, from = b[at], at+2
		end = from + int(b[at+1])
	}
	if end > len(b) {
		return 0, 0, 0
	}
	return id, from, end
}

// Reset makes x an extension without elements, of one of the forms OneByte, TwoByte and NoExtension, to be filled by Add. It
// keeps the memory that Add has used: it is for a value of one's own, never for a packet that was parsed, whose memory is
// the datagram.
func (x *Extensions) Reset(form Form) {
	x.raw = x.raw[:0]
	x.present = form == OneByte || form == TwoByte
	switch form {
	case OneByte:
		x.profile = profileOneByte
	case TwoByte:
		x.profile = profileTwoByte
	}
}

// Add adds an element. It returns false, and changes nothing, if its form has no room for such an identifier or a value of
// that length.
func (x *Extensions) Add(id uint8, value []byte) bool {
	if len(x.raw)+2+len(value) > maxExtension {
		return false
	}
	switch x.Form() {
	case OneByte:
		if id < 1 || id > 14 || len(value) < 1 || len(value) > 16 {
			return false
		}
		x.raw = append(x.raw, id<<4|byte(len(value)-1))
	case TwoByte:
		if id < 1 || len(value) > 255 {
			return false
		}
		x.raw = append(x.raw, id, byte(len(value)))
	default:
		return false
	}
	x.raw = append(x.raw, value...)
	return true
}
