package peer

import "github.com/parley-rtc/parley/protocol/dtls"

// Security is what DTLS of a transport has come to.
type Security struct {
	dtls.ConnectionState
	Role         dtls.Role // 0 before the handshake
	Certificates [][]byte  // that the peer has proved to own, in DER, the leaf first
}

// Security returns what the newest association of DTLS has come to, with zero values for what is not known yet.
func (x *Transport) Security() Security {
	s := x.secure
	if s == nil {
		return Security{}
	}
	return Security{s.Negotiated(), s.Role(), s.PeerCertificates()}
}
