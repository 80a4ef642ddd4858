// Package jsep is offer and answer for WebRTC: RFC 8829 (RFC 9429) with the algorithms of the W3C's webrtc-pc, as data.
//
// A [Session] holds the descriptions (current and pending, local and remote), the signaling state, the transceivers, and
// what the media sections are carried on. [Session.CreateOffer] and [Session.CreateAnswer] write descriptions,
// [Session.SetLocal] and [Session.SetRemote] apply them and return [Changes]: the transports that there are now, whose
// credentials, fingerprints and roles the driver hands to ICE and DTLS, the state of the data section, and what happened to
// transceivers. Nothing is started or stopped here. An error leaves the session as it was.
//
// Errors are of type [*Error] and carry the W3C's name. Descriptions are hostile input; package sdp bounds them.
//
// Out of scope: the operations chain, events and promises (package webrtc); RTP itself. A Session is not safe for
// concurrent use.
package jsep
