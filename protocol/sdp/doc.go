// Package sdp reads and writes session descriptions (RFC 8866) as WebRTC uses them.
//
// [Parse] keeps every line, known or not, in its order, so a description that is parsed and written again is the same
// text, byte for byte. What the lines mean is read from them when it is asked for: [Section.Attr] and [Section.Attrs] give
// attributes as text, and the typed accessors ([Section.Fingerprints], [Section.Candidates], [Media.RTPMaps] and so on)
// parse the attributes that JSEP and ICE need. A typed value never drops what it does not know: unknown parameters stay
// in it as text.
//
// Errors are of type [*Error] and say line and column. The parser is strict where a mistake would change what a line
// means, and lenient where real browsers err: both CRLF and LF end lines, attributes may refer to payload types that are
// not on the m= line (Firefox leaves such rtcp-fb lines after setCodecPreferences), and lines of no meaning to WebRTC
// (i, u, e, p, b, r, z, k) are checked for their form only.
//
// A description is hostile input. [MaxLen], [MaxLine] and [MaxMedia] bound it.
//
// Attributes: RFC 8839 (ICE), 8840 (trickle), 8841 and its predecessors (SCTP), 8842 and 8122 (DTLS), 4145 and 5763
// (setup), 9143 (BUNDLE), 5888 (group, mid), 8830 (msid), 8851 and 8853 (rid, simulcast), 8285 (extmap), 5576 (ssrc),
// 4585 (rtcp-fb), 5761 and 8858 (rtcp-mux), 3605 (rtcp).
package sdp
