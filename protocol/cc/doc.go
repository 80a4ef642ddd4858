// Package cc is congestion control for real-time media: how much may be sent, when each packet leaves, who gets what of it, and
// what receivers tell senders so that they know.
//
// # Scope
//
// The sender's side is a [Controller]: from transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), feedback
// by streams (RFC 8888), REMB or bare reports it finds the rate that the path bears. Delay leads (draft-ietf-rmcat-gcc-02, with a line
// through the delays in place of its filter), a model of losses and the ECN marks of congestion limit, probes make it quick, and a pacer
// releases packets. [Allocate] shares the rate among streams by priority, and within a simulcast set from low to high. The receiver's
// side is a [TransportRecorder], a [StreamRecorder] for RFC 8888, or a [Receiver] that estimates itself and tells by REMB.
//
// Rates and sizes are those on the wire, headers of IP included.
//
// # Driving it
//
//	c.Push(now, kind, ref, size)             // a packet is to be sent; it stays with the caller
//	for r, ok := c.Pop(now); ok; ...         // it may leave: write it, or padding
//	        number := c.Sent(now, packet)    //   its transport-wide sequence number
//	c.HandleTransportFeedback(now, f)        // or another Handle
//	c.HandleTimeout(now)                     // at c.NextTimeout(); then Pop
//	rate := c.Target()                       // after each Handle
//
// # Where things are
//
//	controller.go  what the caller sees; feedback.go what is made of feedback
//	path.go        delays, the queue, and whose it is
//	history.go     packets sent
//	arrival.go     groups of packets; trendline.go the slope of their delay, and overuse
//	aimd.go        the rate by delay; loss.go by losses; acked.go what arrives
//	probe.go       when to probe; limited.go whether the application limits
//	pacer.go       who leaves when
//	allocate.go    who gets what
//	recorder.go    what receivers tell; receiver.go REMB
//
// docs/congestion-control.md says why it is as it is.
package cc
