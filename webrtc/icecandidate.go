package webrtc

import (
	"encoding/json"
	"strings"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// An ICECandidate is RTCIceCandidate, and in JSON what browsers make of one. A nil *ICECandidate, in
// [PeerConnection.OnICECandidate] and [PeerConnection.AddICECandidate], says that there are no more; one whose Candidate
// is empty says so of its generation.
//
// What the methods return is read from Candidate; where that cannot be read they return zero values, as the W3C's
// attributes are null.
type ICECandidate struct {
	Candidate string `json:"candidate"`
	// SDPMid and SDPMLineIndex say which section of the description it is for; one of the two must be there unless
	// Candidate is empty.
	SDPMid        *string `json:"sdpMid"`
	SDPMLineIndex *uint16 `json:"sdpMLineIndex"`
	// UsernameFragment is the generation that it belongs to; nil: the newest, or what Candidate says.
	UsernameFragment *string `json:"usernameFragment"`

	relayProtocol, url string // of a local candidate
}

// NewICECandidate is the constructor of RTCIceCandidate: a candidate that is for no section is a TypeError.
func NewICECandidate(init ICECandidate) (*ICECandidate, error) {
	if init.SDPMid == nil && init.SDPMLineIndex == nil {
		return nil, fail(TypeError, "a candidate needs an SDPMid or an SDPMLineIndex")
	}
	if c := init.parse(); init.UsernameFragment == nil {
		if u := c.Extension("ufrag"); u != "" {
			init.UsernameFragment = &u
		}
	}
	return &init, nil
}

// parse reads Candidate, as often as it is asked for: candidates are read once or twice, and kept by the dozen.
func (c *ICECandidate) parse() sdp.Candidate {
	if c.Candidate == "" {
		return sdp.Candidate{}
	}
	p, err := sdp.ParseCandidate(c.Candidate)
	if err != nil {
		return sdp.Candidate{}
	}
	return p
}

// Foundation is the same for candidates of one type, base, server and protocol.
func (c *ICECandidate) Foundation() string { return c.parse().Foundation }

// Component is "rtp" or "rtcp".
func (c *ICECandidate) Component() string {
	switch c.parse().Component {
	case 1:
		return "rtp"
	case 2:
		return "rtcp"
	}
	return ""
}

// Priority is the priority (RFC 8445 section 5.1.2).
func (c *ICECandidate) Priority() uint32 { return c.parse().Priority }

// Address is an IP address, or a name such as "….local".
func (c *ICECandidate) Address() string { return c.parse().Address }

// Protocol is "udp" or "tcp".
func (c *ICECandidate) Protocol() string {
	if p := strings.ToLower(c.parse().Transport); p == "udp" || p == "tcp" {
		return p
	}
	return ""
}

// Port is the port.
func (c *ICECandidate) Port() uint16 { return c.parse().Port }

// Type is "host", "srflx", "prflx" or "relay".
func (c *ICECandidate) Type() string {
	switch t := c.parse().Type; t {
	case "host", "srflx", "prflx", "relay":
		return t
	}
	return ""
}

// TCPType is "active", "passive" or "so", and empty if the protocol is not tcp.
func (c *ICECandidate) TCPType() string {
	if c.Protocol() != "tcp" {
		return ""
	}
	switch t := c.parse().TCPType; t {
	case "active", "passive", "so":
		return t
	}
	return ""
}

// RelatedAddress is the address that a candidate which is not a host's was obtained from.
func (c *ICECandidate) RelatedAddress() string { return c.parse().RelatedAddress }

// RelatedPort is the port of RelatedAddress.
func (c *ICECandidate) RelatedPort() uint16 { return c.parse().RelatedPort }

// RelayProtocol is how we reach the TURN server of a local relayed candidate: "udp", "tcp", "tls" or "dtls".
func (c *ICECandidate) RelayProtocol() string { return c.relayProtocol }

// URL is that of the server that a local candidate was obtained from.
func (c *ICECandidate) URL() string { return c.url }

// ToJSON is toJSON(): the four fields that are to be signalled, as encoding/json has them too.
func (c *ICECandidate) ToJSON() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return b
}

// init returns what AddICECandidate passes on; nil is the end of all candidates.
func (c *ICECandidate) init() jsep.CandidateInit {
	if c == nil {
		return jsep.CandidateInit{}
	}
	return jsep.CandidateInit{Candidate: c.Candidate, SDPMid: c.SDPMid, Index: c.SDPMLineIndex, Ufrag: c.UsernameFragment}
}
