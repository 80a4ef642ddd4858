// Package sctp is the association under WebRTC's data channels, and the channels themselves: SCTP (RFC 9260) over a
// datagram channel (RFC 8261), partial reliability (RFC 3758 with the policies of RFC 7496), stream reset (RFC 6525),
// interleaved messages (RFC 8260), zero checksums over DTLS (RFC 9653), associations that stand without a handshake (SNAP,
// draft-hancke-tsvwg-snap), and data channels with their establishment protocol (RFC 8831 and 8832).
//
// An [Association] is told the time and never asks, as every engine here: packets go in by HandlePacket and come out of
// AppendPacket, timers are NextTimeout and HandleTimeout, and what happens comes out of NextEvent. It lives inside a
// DTLS connection, so there is one peer at one address: no multi-homing, no address parameters, no ECN. Both ends call
// Connect at the same time, or one alone.
//
// A channel is opened by Open, before or after the association stands, and known by its stream's id. Send never waits:
// it returns [ErrBufferFull] where the buffer's limit is. What is received counts against the window that the peer is
// given until Consume says that a program has read it: a message that NextEvent has told and nobody has consumed is still
// counted. So a program that does not read closes the window of the association, for all its channels, and no more than
// that: control chunks, acknowledgements and what is sent the other way go on.
//
// Streams are many and cheap; they share by the priority of their channels (weighted fair queuing, RFC 8831 section 6.4).
// If both ends can, messages are interleaved (RFC 8260), so a large message does not delay what is sent on other
// channels. If not, a message's fragments follow each other, and turns are taken at the boundaries of messages.
//
// The window of congestion is that of CUBIC (RFC 9438), beginning with ten packets. Losses are found by gap reports, by
// time as RACK does, and by a probe before the timer T3 (RFC 8985). Packets are paced, in bursts of 1 to 5 ms.
package sctp
