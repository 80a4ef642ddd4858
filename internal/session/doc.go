// Package session is one RTP session (RFC 3550), that of one transport: streams sent and received, with all that keeps them
// whole.
//
// A [Session] sees packets in the clear; package peer protects them. It is told by Apply which sections there are, as package
// jsep has them.
//
//	s, err := session.New(session.Config{Entropy: rand.Reader, Origin: rtp.NTPAt(start)})
//	s.Apply(now, media), s.Connect(now)
//	err = s.Sender("0").Send(now, 0, &session.Packet{...})   // waits for its turn
//	s.HandleRTP(now, packet, ecn)                            // in place
//	for r, ok := s.NextPacket(); ok; ...                     // what it brought, borrowed
//	s.HandleRTCP(now, packet)
//	for e, ok := s.NextEvent(); ok; ...
//	buf = s.AppendPacket(buf[:0], now)                       // until it is empty
//	s.HandleTimeout(now)                                     // at s.NextTimeout()
//
// # Scope
//
// In: demultiplexing by MID, RID, SSRC and payload type (RFC 8843 section 9.2, RFC 8852); reports by the timing of RFC 3550
// section 6.3, with feedback at once (RFC 4585) and of reduced size (RFC 5506); several streams on either side (RFC 8108);
// retransmission by streams of their own (RFC 4588), asked for and given; requests for key frames (PLI, and FIR of RFC 5104);
// round trips by reports and extended reports (RFC 3611); collisions of SSRCs. What is sent is paced by package cc, which finds out
// what the path bears; it is shared among encodings, whose owner is told a target for each, and with data beside them.
//
// As every engine, a Session is told the time and never asks, and is not safe for concurrent use.
package session
