// Package payload is how encoded audio and video travel in RTP packets: what a payload holds, and back. It knows Opus (RFC
// 7587), G.711 (RFC 3551), VP8 (RFC 7741), VP9 (RFC 9628), H.264 (RFC 6184), H.265 (RFC 7798) and AV1 (the Alliance for
// Open Media's "RTP Payload Format For AV1"), all behind [Format]; redundant audio (RFC 2198) and telephone events (RFC
// 4733) have types of their own, as they are no frames.
//
// Towards the network a [Packetizer] cuts a frame into payloads, each appended to the caller's buffer:
//
//	err := packetizer.Begin(&frame, payload.Limit{Max: 1200})
//	for more := err == nil; more; {
//		buf, more = packetizer.Append(buf[:0])
//		send(buf, !more) // the last one of a picture has the marker
//	}
//
// From the network a [Format] tells what each payload is ([Part]), so that whoever orders packets knows where frames begin
// and end, and joins the payloads of one frame to what a decoder takes. It has no state and keeps nothing.
//
// Nothing here reads headers of RTP, counts packets or waits for missing ones. Memory is borrowed in both directions, and
// nothing is allocated for a packet.
package payload
