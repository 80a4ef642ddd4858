// Package fec repairs lost RTP packets without asking for them again, by parity: a repair packet is the exclusive or of some
// media packets, and gives back one of them that is lost if it has all others.
//
// There are three formats of repair packets, see [Format]: flexfec-03 and its successor RFC 8627, which have a stream of their
// own (an SSRC, and ssrc-group:FEC-FR), and ULPFEC (RFC 5109), which travels in the media's stream inside of RED (RFC 2198) and
// is received only.
//
// An [Encoder] is told each media packet that is sent, and makes the payloads of repair packets at the ends of frames, as many as
// a [Protection] says. A [Decoder] is told each media and repair packet that comes, and gives back whole packets, header and
// extensions included. What a repaired packet makes possible is repaired too. [Advise] says how much is worth it.
//
//	e.Protect(fec.Advise(path))
//	e.Media(packet)                                 // for each media packet, before it is protected by SRTP
//	e.EndFrame()                                    // after a frame's last one
//	payload, ok := e.AppendRepair(buf[:0])          // until false; the RTP header is the caller's
//
//	d.Media(packet)
//	d.Repair(&p)
//	packet, ok := d.Next()                          // until false
//
// Out of scope: retransmission in this package's formats is read (RFC 8627 section 4.2.2.3), but not sent, because WebRTC has RTX
// for it; several media streams in one repair stream are read, not sent; of ULPFEC's levels the first is read, the only one that
// is in use.
package fec
