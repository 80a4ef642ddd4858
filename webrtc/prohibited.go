package webrtc

import (
	"slices"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// prohibited reports whether a remote candidate is "administratively prohibited": it is taken without a word, and nothing is ever sent
// there, so that a description is no way to have other services spoken to.
func (pc *PeerConnection) prohibited(c *sdp.Candidate) bool {
	// "If the iceTransportPolicy member of the RTCConfiguration is relay, candidates requiring external resolution, such as mDNS
	// candidates and DNS candidates, MUST be prohibited."
	if isName(c.Address) && pc.config.Load().ICETransportPolicy == ICETransportPolicyRelay {
		return true
	}
	// "The UA MUST prohibit connections to addresses on the [Fetch] block bad port list". An active candidate is none to connect to,
	// and has the port 9 (RFC 6544 section 4.5).
	return slices.Contains(badPorts[:], c.Port) && c.TCPType != "active"
}

// badPorts are those of the Fetch standard's section 2.9.
var badPorts = [...]uint16{
	0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113,
	115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556,
	563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
	6668, 6669, 6679, 6697, 10080,
}
