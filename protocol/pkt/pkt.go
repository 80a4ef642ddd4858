// Package pkt is the shape of what comes in and goes out of every engine: one [Datagram] at a time in, a [Batch] of
// transmits out.
//
// Both say which socket, by the small number that the engine's driver gave it, which pair of addresses, and the two
// markings of the IP header: ECN (RFC 3168) and DSCP (RFC 2474; for WebRTC RFC 8837). Neither owns memory that an engine
// may keep: a Datagram is borrowed for the call that passes it, and a Batch is the driver's own arena, which the engine
// writes straight into.
package pkt

import "net/netip"

// Socket names a socket of the driver: a UDP socket, or a stream that carries whole frames. Names are small numbers from
// zero up, so an engine may use them as indices. The name of a closed socket is used again, but not soon. Negative
// numbers are never sockets: they are for an engine and its driver to agree upon.
type Socket int32

// ECN is the explicit congestion notification field of the IP header (RFC 3168 section 5).
type ECN uint8

// The four code points of RFC 3168 section 5; ECT1 marks L4S traffic (RFC 9331).
const (
	NotECT ECN = 0b00
	ECT1   ECN = 0b01
	ECT0   ECN = 0b10
	CE     ECN = 0b11
)

// DSCP is a differentiated services code point, 0 to 63 (RFC 2474 section 3).
type DSCP uint8

// The code points that RFC 8837 section 5 gives to WebRTC's flows.
const (
	DefaultForwarding DSCP = 0
	LowerEffort       DSCP = 1  // LE, RFC 8622, which replaces the CS1 of RFC 8837
	AF11              DSCP = 10 // data, medium and high priority
	AF21              DSCP = 18
	AF41              DSCP = 34 // interactive video, high priority
	AF42              DSCP = 36 // interactive video, medium priority
	EF                DSCP = 46 // audio
)

// Path is where a datagram came from or goes to: a socket of the driver, an address of ours and one of theirs.
//
// In a Datagram, Local is the destination that the sender used, also on a socket bound to a wildcard address. In a
// Transmit it is the source to use; an invalid Local leaves the choice to the system. Addresses are never IPv4-mapped
// IPv6 addresses. Path is comparable and may be the key of a map.
type Path struct {
	Socket Socket
	Local  netip.AddrPort
	Remote netip.AddrPort
}

// Datagram is one datagram that was received.
//
// It is borrowed: the engine that gets a *Datagram may overwrite the payload (decryption happens in place) and must not
// keep the Datagram or any part of the payload beyond the call.
type Datagram struct {
	Path
	ECN     ECN
	DSCP    DSCP
	Payload []byte
}

// ICMP is an ICMP or ICMPv6 message that reports the fate of a datagram sent earlier. It says that, and no more: anyone
// can forge it, so it ends nothing.
type ICMP struct {
	// Path is that of the datagram the message is about: Remote is where it went, not who reported it. Local may be
	// invalid, where the system does not say.
	Path
	// Type and Code are those of RFC 792 if Remote is an IPv4 address, of RFC 4443 if it is an IPv6 address.
	Type, Code uint8
	// Data is the second word of the message: the MTU in "fragmentation needed" (RFC 1191) and "packet too big", else 0.
	Data uint32
}
