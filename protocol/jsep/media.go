package jsep

import (
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Media is a section of audio or video as it is in force, for those who send and receive it. As with Transport it is the
// whole state: what it does not name any more has ended.
type Media struct {
	MID         string
	Kind        string // "audio" or "video"
	Transport   int    // Transport.ID
	Transceiver *Transceiver

	Sends, Receives bool // in force now. Receives is true from our offer on, as media may come before the answer

	// Send are the codecs that we may send, in the peer's order and with its payload types; Receive those that it may, with
	// ours.
	Send, Receive                     []Codec
	SendExtensions, ReceiveExtensions []sdp.ExtMap
	// Mixed: both said extmap-allow-mixed (RFC 8285 section 6). ReducedSize: both said rtcp-rsize (RFC 5506).
	Mixed, ReducedSize bool

	CNAME     string     // ours, one for a Session
	Encodings []Encoding // what we send, at least one
	RIDs      []string   // what the peer sends by RID, in its order; none without simulcast
	Sources   []Source   // declared by the peer
}

// An Encoding is one stream that a section sends, with what repairs it. The SSRCs are chosen with the transceiver, and stay;
// a zero one is left to whoever sends.
type Encoding struct {
	RID    string // "" without simulcast
	SSRC   rtp.SSRC
	RTX    rtp.SSRC // of retransmissions (RFC 4588)
	FEC    rtp.SSRC // of FlexFEC
	Paused bool     // the peer has said "~" of it (RFC 8853 section 5.1)
}

// A Source is a stream that the peer has declared by a=ssrc and a=ssrc-group (RFC 5576).
type Source struct {
	SSRC  rtp.SSRC
	RTX   rtp.SSRC // of a group FID; 0: none
	FEC   rtp.SSRC // of a group FEC-FR
	CNAME string
}
