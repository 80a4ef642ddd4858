package stun

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrTooLong says that a value or a message does not fit the 16-bit length fields.
var ErrTooLong = errors.New("stun: the message would be longer than its length field can say")

// A Builder writes one message behind the bytes of a slice that it grows as append does. The header's length is right
// after every call, so the message may be taken at any time. Write the attributes, then the integrity, then the
// fingerprint (sections 14.5 to 14.7).
type Builder struct {
	buf   []byte
	start int
	err   error
}

// NewBuilder starts a message behind dst.
func NewBuilder(dst []byte, c Class, m Method, id TransactionID) Builder {
	b := Builder{buf: dst, start: len(dst)}
	b.buf = binary.BigEndian.AppendUint16(b.buf, messageType(c, m))
	b.buf = binary.BigEndian.AppendUint16(b.buf, 0)
	b.buf = binary.BigEndian.AppendUint32(b.buf, MagicCookie)
	b.buf = append(b.buf, id[:]...)
	return b
}

// Respond starts the response to a request: the same method and transaction ID (section 6.3.1.1).
func Respond(dst []byte, c Class, request *Message) Builder {
	return NewBuilder(dst, c, request.Method(), request.ID())
}

// Message returns the slice given to NewBuilder with the message behind its bytes. The error is [ErrTooLong].
func (b *Builder) Message() ([]byte, error) { return b.buf, b.err }

// Len returns the length of the message so far, in bytes.
func (b *Builder) Len() int { return len(b.buf) - b.start }

// head writes an attribute's type and length, accounts for n bytes of value and its padding, and reports whether they
// fit.
func (b *Builder) head(t AttrType, n int) bool {
	total := b.Len() + 4 + (n+3)&^3
	if b.err != nil || total > MaxMessageLen {
		b.err = ErrTooLong
		return false
	}
	binary.BigEndian.PutUint16(b.buf[b.start+2:], uint16(total-HeaderLen))
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(t))
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(n))
	return true
}

var padding [4]byte

// pad fills up to a multiple of four with zeroes (section 14).
func (b *Builder) pad() { b.buf = append(b.buf, padding[:-b.Len()&3]...) }

// Bytes adds an attribute with any value.
func (b *Builder) Bytes(t AttrType, v []byte) {
	if b.head(t, len(v)) {
		b.buf = append(b.buf, v...)
		b.pad()
	}
}

// Text adds an attribute with a text.
func (b *Builder) Text(t AttrType, v string) {
	if b.head(t, len(v)) {
		b.buf = append(b.buf, v...)
		b.pad()
	}
}

// Flag adds an attribute without a value.
func (b *Builder) Flag(t AttrType) { b.head(t, 0) }

// Uint32 adds an attribute of four bytes.
func (b *Builder) Uint32(t AttrType, v uint32) {
	if b.head(t, 4) {
		b.buf = binary.BigEndian.AppendUint32(b.buf, v)
	}
}

// Uint64 adds an attribute of eight bytes.
func (b *Builder) Uint64(t AttrType, v uint64) {
	if b.head(t, 8) {
		b.buf = binary.BigEndian.AppendUint64(b.buf, v)
	}
}

// Address adds a plainly written address (section 14.1).
func (b *Builder) Address(t AttrType, a netip.AddrPort) { b.address(t, a, 0, [16]byte{}) }

// XORAddress adds an address XORed with the cookie and the transaction ID (section 14.2).
func (b *Builder) XORAddress(t AttrType, a netip.AddrPort) {
	b.address(t, a, MagicCookie>>16, [16]byte(b.buf[b.start+4:]))
}

// address writes an IPv4-mapped IPv6 address as the IPv4 address it is.
func (b *Builder) address(t AttrType, a netip.AddrPort, xorPort uint16, xor [16]byte) {
	ip := a.Addr().Unmap()
	family, n := byte(FamilyIPv6), 16
	if ip.Is4() {
		family, n = FamilyIPv4, 4
	}
	if !b.head(t, 4+n) {
		return
	}
	b.buf = append(b.buf, 0, family)
	b.buf = binary.BigEndian.AppendUint16(b.buf, a.Port()^xorPort)
	v6 := ip.As16()
	for i, octet := range v6[16-n:] {
		b.buf = append(b.buf, octet^xor[i])
	}
}

// Error adds an ERROR-CODE (section 14.8). An empty reason is allowed and saves bytes.
func (b *Builder) Error(c Code, reason string) {
	if b.head(AttrErrorCode, 4+len(reason)) {
		b.buf = append(b.buf, 0, 0, byte(c/100), byte(c%100))
		b.buf = append(b.buf, reason...)
		b.pad()
	}
}

// Unknown adds UNKNOWN-ATTRIBUTES (section 14.13).
func (b *Builder) Unknown(types []AttrType) {
	if b.head(AttrUnknownAttributes, 2*len(types)) {
		for _, t := range types {
			b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(t))
		}
		b.pad()
	}
}

// Integrity adds a MESSAGE-INTEGRITY over what was written so far (section 14.5).
func (b *Builder) Integrity(h *Hasher, key []byte) {
	if b.head(AttrMessageIntegrity, 20) {
		mac := h.integrity(h.sha1, key, b.buf[b.start:len(b.buf)-4], b.Len()+20-HeaderLen)
		b.buf = append(b.buf, mac...)
	}
}

// IntegritySHA256 adds a MESSAGE-INTEGRITY-SHA256 over what was written so far (section 14.6). It has its full 32
// bytes, as it must have unless the usage allows less; see [Builder.IntegritySHA256Truncated].
func (b *Builder) IntegritySHA256(h *Hasher, key []byte) { b.IntegritySHA256Truncated(h, key, 32) }

// IntegritySHA256Truncated adds the first n bytes of a MESSAGE-INTEGRITY-SHA256; n is 16, 20, 24, 28 or 32.
func (b *Builder) IntegritySHA256Truncated(h *Hasher, key []byte, n int) {
	n = min(max(n, 16), 32) &^ 3
	if b.head(AttrMessageIntegritySHA256, n) {
		mac := h.integrity(h.sha256, key, b.buf[b.start:len(b.buf)-4], b.Len()+n-HeaderLen)
		b.buf = append(b.buf, mac[:n]...)
	}
}

// Fingerprint adds the FINGERPRINT over what was written so far; it is the last attribute (section 14.7).
func (b *Builder) Fingerprint() {
	if b.head(AttrFingerprint, 4) {
		b.buf = binary.BigEndian.AppendUint32(b.buf, fingerprint(b.buf[b.start:len(b.buf)-4]))
	}
}
