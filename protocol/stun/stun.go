// Package stun reads and writes the messages of STUN (RFC 8489): the header, the attributes, message integrity and
// fingerprints, long-term and short-term credentials, and the client's side of one transaction.
//
// [Parse] returns a [Message], a view of the bytes it was given: nothing is copied and nothing is allocated. [Builder]
// writes a message into the caller's bytes. A [Hasher] is the scratch space for everything that is hashed, so that
// checking a message's integrity allocates nothing either. [Transaction] is the client's retransmission machine of
// section 6.2, told the time like every engine; [Credential] is the client's half of the long-term mechanism of
// section 9.2.
//
// In scope: RFC 8489 with the test vectors of RFC 5769, the attributes of TURN (RFC 8656) and of ICE (RFC 8445).
// Out of scope: RFC 3489 ("classic STUN", no magic cookie), the DNS discovery of section 8, and the OpaqueString
// profile (RFC 8265): names and passwords are compared and hashed as they are given, so whoever reads them from a
// person normalizes them there; for ASCII the profile changes nothing.
package stun

import "fmt"

// HeaderLen is the number of bytes before the first attribute (section 5).
const HeaderLen = 20

// MagicCookie is the fixed second word of every message (section 5).
const MagicCookie = 0x2112A442

// MaxMessageLen is the largest message the 16-bit length field can describe, a multiple of four.
const MaxMessageLen = HeaderLen + 0xFFFC

// A TransactionID pairs a response with its request. A client takes it from a cryptographic source (section 5).
type TransactionID [12]byte

// A Class is one of the four kinds of message.
type Class uint8

// The classes of section 5.
const (
	Request    Class = 0b00
	Indication Class = 0b01
	Success    Class = 0b10
	Error      Class = 0b11
)

func (c Class) String() string {
	return [...]string{"request", "indication", "success response", "error response"}[c&3]
}

// A Method is what a request asks for; 12 bits.
type Method uint16

// The methods of STUN (RFC 8489) and TURN (RFC 8656 section 17).
const (
	Binding          Method = 0x001
	Allocate         Method = 0x003
	Refresh          Method = 0x004
	Send             Method = 0x006
	Data             Method = 0x007
	CreatePermission Method = 0x008
	ChannelBind      Method = 0x009
)

func (m Method) String() string {
	switch m {
	case Binding:
		return "Binding"
	case Allocate:
		return "Allocate"
	case Refresh:
		return "Refresh"
	case Send:
		return "Send"
	case Data:
		return "Data"
	case CreatePermission:
		return "CreatePermission"
	case ChannelBind:
		return "ChannelBind"
	}
	return fmt.Sprintf("method 0x%03x", uint16(m))
}

// messageType interleaves the bits of class and method as figure 3 of section 5 shows.
func messageType(c Class, m Method) uint16 {
	return uint16(m&0xF80)<<2 | uint16(m&0x070)<<1 | uint16(m&0x00F) | uint16(c&2)<<7 | uint16(c&1)<<4
}

func splitType(t uint16) (Class, Method) {
	return Class(t&0x0100>>7 | t&0x0010>>4), Method(t&0x3E00>>2 | t&0x00E0>>1 | t&0x000F)
}

// An AttrType names an attribute. Those below 0x8000 must be understood by whoever processes the message.
type AttrType uint16

// Required reports whether a message with this attribute cannot be processed without understanding it (section 14).
func (t AttrType) Required() bool { return t < 0x8000 }

// Attributes of STUN (RFC 8489 section 18.3).
const (
	AttrMappedAddress          AttrType = 0x0001
	AttrUsername               AttrType = 0x0006
	AttrMessageIntegrity       AttrType = 0x0008
	AttrErrorCode              AttrType = 0x0009
	AttrUnknownAttributes      AttrType = 0x000A
	AttrRealm                  AttrType = 0x0014
	AttrNonce                  AttrType = 0x0015
	AttrMessageIntegritySHA256 AttrType = 0x001C
	AttrPasswordAlgorithm      AttrType = 0x001D
	AttrUserhash               AttrType = 0x001E
	AttrXORMappedAddress       AttrType = 0x0020
	AttrPasswordAlgorithms     AttrType = 0x8002
	AttrAlternateDomain        AttrType = 0x8003
	AttrSoftware               AttrType = 0x8022
	AttrAlternateServer        AttrType = 0x8023
	AttrFingerprint            AttrType = 0x8028
)

// Attributes of TURN (RFC 8656 section 18).
const (
	AttrChannelNumber           AttrType = 0x000C
	AttrLifetime                AttrType = 0x000D
	AttrXORPeerAddress          AttrType = 0x0012
	AttrData                    AttrType = 0x0013
	AttrXORRelayedAddress       AttrType = 0x0016
	AttrRequestedAddressFamily  AttrType = 0x0017
	AttrEvenPort                AttrType = 0x0018
	AttrRequestedTransport      AttrType = 0x0019
	AttrDontFragment            AttrType = 0x001A
	AttrReservationToken        AttrType = 0x0022
	AttrAdditionalAddressFamily AttrType = 0x8000
	AttrAddressErrorCode        AttrType = 0x8001
	AttrICMP                    AttrType = 0x8004
)

// Attributes of ICE (RFC 8445 section 16.1).
const (
	AttrPriority       AttrType = 0x0024
	AttrUseCandidate   AttrType = 0x0025
	AttrICEControlled  AttrType = 0x8029
	AttrICEControlling AttrType = 0x802A
)

// Address families, as written in every address attribute (section 14.1).
const (
	FamilyIPv4 = 0x01
	FamilyIPv6 = 0x02
)

// A Code is the number in an ERROR-CODE attribute, 300 to 699.
type Code uint16

// The error codes of STUN (section 14.8), TURN (RFC 8656 section 19) and ICE (RFC 8445 section 16.2).
const (
	CodeTryAlternate              Code = 300
	CodeBadRequest                Code = 400
	CodeUnauthenticated           Code = 401
	CodeForbidden                 Code = 403
	CodeUnknownAttribute          Code = 420
	CodeAllocationMismatch        Code = 437
	CodeStaleNonce                Code = 438
	CodeAddressFamilyNotSupported Code = 440
	CodeWrongCredentials          Code = 441
	CodeUnsupportedTransport      Code = 442
	CodePeerFamilyMismatch        Code = 443
	CodeAllocationQuotaReached    Code = 486
	CodeRoleConflict              Code = 487
	CodeServerError               Code = 500
	CodeInsufficientCapacity      Code = 508
)

// Reason returns the recommended reason phrase, or "" for a code without one.
func (c Code) Reason() string {
	switch c {
	case CodeTryAlternate:
		return "Try Alternate"
	case CodeBadRequest:
		return "Bad Request"
	case CodeUnauthenticated:
		return "Unauthenticated"
	case CodeForbidden:
		return "Forbidden"
	case CodeUnknownAttribute:
		return "Unknown Attribute"
	case CodeAllocationMismatch:
		return "Allocation Mismatch"
	case CodeStaleNonce:
		return "Stale Nonce"
	case CodeAddressFamilyNotSupported:
		return "Address Family not Supported"
	case CodeWrongCredentials:
		return "Wrong Credentials"
	case CodeUnsupportedTransport:
		return "Unsupported Transport Protocol"
	case CodePeerFamilyMismatch:
		return "Peer Address Family Mismatch"
	case CodeAllocationQuotaReached:
		return "Allocation Quota Reached"
	case CodeRoleConflict:
		return "Role Conflict"
	case CodeServerError:
		return "Server Error"
	case CodeInsufficientCapacity:
		return "Insufficient Capacity"
	}
	return ""
}

func (c Code) String() string {
	if r := c.Reason(); r != "" {
		return fmt.Sprintf("%d (%s)", uint16(c), r)
	}
	return fmt.Sprint(uint16(c))
}

// Known reports whether t is named in this package. A receiver that only has to understand what its usage defines can
// treat these as known but unexpected, and ignore them (section 6.3).
func Known(t AttrType) bool {
	switch t {
	case AttrMappedAddress, AttrUsername, AttrMessageIntegrity, AttrErrorCode, AttrUnknownAttributes, AttrRealm, AttrNonce,
		AttrMessageIntegritySHA256, AttrPasswordAlgorithm, AttrUserhash, AttrXORMappedAddress, AttrPasswordAlgorithms,
		AttrAlternateDomain, AttrSoftware, AttrAlternateServer, AttrFingerprint,
		AttrChannelNumber, AttrLifetime, AttrXORPeerAddress, AttrData, AttrXORRelayedAddress, AttrRequestedAddressFamily,
		AttrEvenPort, AttrRequestedTransport, AttrDontFragment, AttrReservationToken, AttrAdditionalAddressFamily,
		AttrAddressErrorCode, AttrICMP,
		AttrPriority, AttrUseCandidate, AttrICEControlled, AttrICEControlling:
		return true
	}
	return false
}
