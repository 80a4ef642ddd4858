// Package jitter makes frames of the packets of one received RTP stream, and says when each is to be played.
//
// A [Buffer] puts packets in order, joins the payloads of each frame by its format (package payload), and keeps frames for as
// long as the path's jitter asks for, so that they come out evenly. What is lost is waited for as long as a retransmission may
// bring it; then audio is reported as lost, so that a decoder can conceal it, while of video all is left out that cannot be
// decoded, and a key frame is asked for. Of temporal layers (VP8, VP9) and with dependency descriptors frames go on that did not
// need what was lost.
//
// It takes original packets only: retransmissions (RFC 4588) and repaired packets are put in their stream's place before, by
// whoever sends the requests for them. Redundant audio (RFC 2198) it unpacks itself.
//
// Like every engine here it is told the time, and has no lock: one goroutine at a time drives it.
//
//	b.Push(now, packet)                                  // for each that comes; then, and at NextTimeout:
//	for f, ok := b.Pop(now); ok; f, ok = b.Pop(now) { }  // frames that are due
//	if b.KeyFrameWanted(now) { }                         // send a PLI
//
// A [Sync] joins the streams of one sender, so that lips and voice go together.
package jitter
