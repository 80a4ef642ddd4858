package peer

// Protocol is what a datagram belongs to.
type Protocol uint8

// The protocols that share a path (RFC 7983 section 7). ZRTP and TURN channels have no place on it.
const (
	Unknown Protocol = iota
	STUN
	DTLS
	RTP // or RTCP
)

// Demultiplex tells the protocol of a datagram by its first byte (RFC 7983 section 7).
func Demultiplex(datagram []byte) Protocol {
	if len(datagram) == 0 {
		return Unknown
	}
	switch b := datagram[0]; {
	case b <= 3:
		return STUN
	case b >= 20 && b <= 63:
		return DTLS
	case b >= 128 && b <= 191:
		return RTP
	}
	return Unknown
}
