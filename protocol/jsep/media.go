package jsep

import (
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Media is a section of audio or video that an answer covers, as those are told who send and receive it. As with
// Transport it is the whole state: what it does not name any more has ended.
type Media struct {
	MID       string
	Kind      string // "audio" or "video"
	Transport int    // Transport.ID

	Send, Receive bool // the direction in force, as we see it

	// SendCodecs are what we may send, in the order of preference, with the payload types and parameters of the peer's
	// description; ReceiveCodecs what it may send, with those of ours.
	SendCodecs, ReceiveCodecs []Codec
	// Extensions are the header extensions that both descriptions have.
	Extensions []sdp.ExtMap
	// MixedExtensions: both said extmap-allow-mixed (RFC 8285 section 6). ReducedSize: both said rtcp-rsize (RFC 5506).
	MixedExtensions, ReducedSize bool

	// Encodings are what we send: one without a RID, or those of a=simulcast, in its order.
	Encodings []Encoding
	// ReceiveRIDs are those that the peer may send, in its order; none without simulcast.
	ReceiveRIDs []string
	// Sources and Groups are what the peer has declared by a=ssrc and a=ssrc-group (RFC 5576).
	Sources []Source
	Groups  []Group
}

// An Encoding is one stream that a section sends, with what repairs it. The SSRCs are chosen with the transceiver and stay;
// the description may declare them.
type Encoding struct {
	RID  string
	SSRC rtp.SSRC
	RTX  rtp.SSRC // of retransmissions (RFC 4588)
	FEC  rtp.SSRC // of FlexFEC
}

// A Source is one that the peer has declared.
type Source struct {
	SSRC  rtp.SSRC
	CNAME string // "" if it did not say
}

// A Group puts declared sources together: "FID" a stream and its retransmissions, "FEC-FR" a stream and what repairs it,
// "SIM" the streams of one simulcast.
type Group struct {
	Semantics string
	SSRCs     []rtp.SSRC
}
