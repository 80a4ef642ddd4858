package stun

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"net/netip"
)

// What is wrong with bytes that are not a message. A receiver drops them in silence (section 6.3).
var (
	// ErrNotSTUN says that the first bits or the magic cookie are not STUN's: another protocol's packet.
	ErrNotSTUN = errors.New("stun: not a STUN message")
	// ErrLength says that the length field disagrees with the number of bytes or is no multiple of four.
	ErrLength = errors.New("stun: the length field does not match the message")
	// ErrAttribute says that an attribute reaches beyond the end, or that an integrity or fingerprint attribute has an
	// impossible length or place.
	ErrAttribute = errors.New("stun: malformed attribute")
	// ErrFingerprint says that the FINGERPRINT is wrong: damaged on the way, or not STUN after all.
	ErrFingerprint = errors.New("stun: fingerprint mismatch")
	// ErrAddress says that an address attribute is missing or is neither IPv4 nor IPv6.
	ErrAddress = errors.New("stun: missing or malformed address")
)

// A Message is a view of a well-formed message: it borrows the bytes that were given to [Parse] and is valid as long
// as they are.
type Message struct {
	raw    []byte
	end    int // end of the attributes that count: what follows the first integrity attribute is ignored (section 9)
	sha1   int // offset of MESSAGE-INTEGRITY, 0 if absent
	sha256 int // offset of MESSAGE-INTEGRITY-SHA256, 0 if absent
	print  bool
	class  Class
	method Method
}

// Is reports whether the first bytes of a packet are those of a STUN message: enough to choose a parser where STUN
// shares a port with other protocols (section 5, RFC 7983).
func Is(b []byte) bool {
	return len(b) >= HeaderLen && b[0]&0xC0 == 0 && binary.BigEndian.Uint32(b[4:]) == MagicCookie
}

// Parse checks that b is exactly one well-formed message: header, length, the boundaries of all attributes, and the
// FINGERPRINT if there is one. It does not check integrity; see [Hasher.Verify].
func Parse(b []byte) (Message, error) {
	if !Is(b) {
		return Message{}, ErrNotSTUN
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length%4 != 0 || HeaderLen+length != len(b) {
		return Message{}, ErrLength
	}
	m := Message{raw: b, end: len(b)}
	m.class, m.method = splitType(binary.BigEndian.Uint16(b))
	for at := HeaderLen; at < len(b); {
		// The length is a multiple of four, so the four bytes of a type and a length are there.
		t := AttrType(binary.BigEndian.Uint16(b[at:]))
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + (n+3)&^3
		if next > len(b) {
			return Message{}, ErrAttribute
		}
		switch t {
		case AttrMessageIntegrity:
			if n != 20 {
				return Message{}, ErrAttribute
			}
			if m.sha1 == 0 {
				m.sha1 = at
			}
			m.end = min(m.end, at)
		case AttrMessageIntegritySHA256:
			if n < 16 || n > 32 || n%4 != 0 { // section 14.6
				return Message{}, ErrAttribute
			}
			if m.sha256 == 0 {
				m.sha256 = at
			}
			m.end = min(m.end, at)
		case AttrFingerprint:
			if n != 4 || next != len(b) { // "MUST be the last attribute in the message" (section 14.7)
				return Message{}, ErrAttribute
			}
			if binary.BigEndian.Uint32(b[at+4:]) != fingerprint(b[:at]) {
				return Message{}, ErrFingerprint
			}
			m.print = true
			m.end = min(m.end, at)
		}
		at = next
	}
	return m, nil
}

// fingerprint is the value over the bytes before the attribute (section 14.7).
func fingerprint(b []byte) uint32 { return crc32.ChecksumIEEE(b) ^ 0x5354554e }

// Class returns the message's class.
func (m *Message) Class() Class { return m.class }

// Method returns the message's method.
func (m *Message) Method() Method { return m.method }

// ID returns the transaction ID.
func (m *Message) ID() TransactionID { return TransactionID(m.raw[8:HeaderLen]) }

// Bytes returns the whole message.
func (m *Message) Bytes() []byte { return m.raw }

// HasFingerprint reports whether there is a FINGERPRINT; Parse has checked its value.
func (m *Message) HasFingerprint() bool { return m.print }

// HasIntegrity reports which of the two integrity attributes are there. Their values are not checked.
func (m *Message) HasIntegrity() (sha1, sha256 bool) { return m.sha1 != 0, m.sha256 != 0 }

// Attributes yields the attributes in order, without those that section 9 says to ignore because they follow the
// integrity, and without the integrity and the fingerprint themselves. A value borrows the message.
func (m *Message) Attributes() iter.Seq2[AttrType, []byte] {
	return func(yield func(AttrType, []byte) bool) {
		for at := HeaderLen; at < m.end; {
			t := AttrType(binary.BigEndian.Uint16(m.raw[at:]))
			n := int(binary.BigEndian.Uint16(m.raw[at+2:]))
			if !yield(t, m.raw[at+4:at+4+n:at+4+n]) {
				return
			}
			at += 4 + (n+3)&^3
		}
	}
}

// Get returns the value of the first attribute of type t, borrowed from the message; the first is the one that
// counts (section 14).
func (m *Message) Get(t AttrType) (value []byte, ok bool) {
	for at := HeaderLen; at < m.end; {
		n := int(binary.BigEndian.Uint16(m.raw[at+2:]))
		if AttrType(binary.BigEndian.Uint16(m.raw[at:])) == t {
			return m.raw[at+4 : at+4+n : at+4+n], true
		}
		at += 4 + (n+3)&^3
	}
	return nil, false
}

// Has reports whether an attribute of type t is there.
func (m *Message) Has(t AttrType) bool { _, ok := m.Get(t); return ok }

// Uint32 returns the value of an attribute of four bytes; ok is false if it is absent or has another length.
func (m *Message) Uint32(t AttrType) (v uint32, ok bool) {
	if b, _ := m.Get(t); len(b) == 4 {
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

// Uint64 returns the value of an attribute of eight bytes; ok is false if it is absent or has another length.
func (m *Message) Uint64(t AttrType) (v uint64, ok bool) {
	if b, _ := m.Get(t); len(b) == 8 {
		return binary.BigEndian.Uint64(b), true
	}
	return 0, false
}

// Address returns an address that is written plainly, as in MAPPED-ADDRESS and ALTERNATE-SERVER (section 14.1).
func (m *Message) Address(t AttrType) (netip.AddrPort, error) {
	b, _ := m.Get(t)
	return parseAddress(b, 0, [16]byte{})
}

// XORAddress returns the first address of type t that is written XORed, as in XOR-MAPPED-ADDRESS (section 14.2).
func (m *Message) XORAddress(t AttrType) (netip.AddrPort, error) {
	b, _ := m.Get(t)
	return m.DecodeXORAddress(b)
}

// DecodeXORAddress decodes one value of an attribute that may come several times, as [Message.Attributes] yields it.
func (m *Message) DecodeXORAddress(value []byte) (netip.AddrPort, error) {
	return parseAddress(value, MagicCookie>>16, [16]byte(m.raw[4:HeaderLen]))
}

func parseAddress(b []byte, xorPort uint16, xor [16]byte) (netip.AddrPort, error) {
	if len(b) < 4 {
		return netip.AddrPort{}, ErrAddress
	}
	port := binary.BigEndian.Uint16(b[2:]) ^ xorPort
	switch {
	case b[1] == FamilyIPv4 && len(b) == 8:
		var a [4]byte
		for i := range a {
			a[i] = b[4+i] ^ xor[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), nil
	case b[1] == FamilyIPv6 && len(b) == 20:
		var a [16]byte
		for i := range a {
			a[i] = b[4+i] ^ xor[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), nil
	}
	return netip.AddrPort{}, ErrAddress
}

// ErrorCode returns the code of an error response and its reason phrase, borrowed; ok is false if the ERROR-CODE is
// absent or malformed, and such a transaction has failed (section 6.3.4).
func (m *Message) ErrorCode() (code Code, reason []byte, ok bool) {
	b, _ := m.Get(AttrErrorCode)
	if len(b) < 4 {
		return 0, nil, false
	}
	class, number := b[2]&7, b[3]
	if class < 3 || class > 6 || number > 99 { // section 14.8
		return 0, nil, false
	}
	return Code(class)*100 + Code(number), b[4:], true
}

// AppendUnknown appends to dst the types of the comprehension-required attributes for which known is false, each
// once, until dst's capacity is used up: a hostile message can name thousands.
func (m *Message) AppendUnknown(dst []AttrType, known func(AttrType) bool) []AttrType {
next:
	for at := HeaderLen; at < m.end && len(dst) < cap(dst); {
		t := AttrType(binary.BigEndian.Uint16(m.raw[at:]))
		at += 4 + (int(binary.BigEndian.Uint16(m.raw[at+2:]))+3)&^3
		if !t.Required() || known(t) {
			continue
		}
		for _, u := range dst {
			if u == t {
				continue next
			}
		}
		dst = append(dst, t)
	}
	return dst
}

// UnknownAttributes yields the types that a 420 response lists (section 14.13).
func (m *Message) UnknownAttributes() iter.Seq[AttrType] {
	return func(yield func(AttrType) bool) {
		b, _ := m.Get(AttrUnknownAttributes)
		for ; len(b) >= 2; b = b[2:] {
			if !yield(AttrType(binary.BigEndian.Uint16(b))) {
				return
			}
		}
	}
}
