// Package webrtc is the W3C's API for WebRTC (webrtc-pc, webrtc-stats) in Go: connections between this program and a
// browser, or another program, with data channels.
//
// # Scope
//
// In: RTCPeerConnection, RTCDataChannel, RTCIceTransport, RTCDtlsTransport, RTCSctpTransport, RTCCertificate, RTCIceCandidate
// and getStats, with the W3C's names (without the prefix RTC, and with initialisms as Go has them), states, events and errors;
// docs/w3c-conformance.md has the table. Sections of audio and video in a peer's offer are negotiated, so that they stay in
// their places; that is all that happens to them yet.
//
// # How it goes
//
// One side makes a channel and an offer, the other an answer; how descriptions and candidates get across is up to the
// program. See the Example.
//
//	a.CreateDataChannel, a.SetLocalDescription(nil) -> a.LocalDescription --> b.SetRemoteDescription
//	a.SetRemoteDescription <-- b.LocalDescription <- b.SetLocalDescription(nil)
//	a.OnICECandidate --> b.AddICECandidate, and the other way round; or GatheringComplete before LocalDescription
//
// What JavaScript does with promises, calls that wait do here: they wait for the connection, never for a handler. Handlers
// are called one after the other, on a goroutine that exists only while there is one to call, and may call anything. Events wait
// for their first handler. Beside the events there is a way without handlers: [DataChannel.Receive], [DataChannel.Messages],
// [DataChannel.SendContext] and [DataChannel.ReadWriteCloser], and [PeerConnection.GatheringComplete].
//
// All connections of a program share one goroutine and its sockets; it ends with the last of them. A [Network] has
// settings: one port for many connections, filters, limits, a logger, a packet observer.
//
// # Where things are
//
//	peerconnection.go  what the caller sees; with configuration.go, description.go, icecandidate.go, certificate.go, error.go
//	datachannel.go     channels; with send.go, receive.go
//	transport.go       the transports and the states that the connection derives from them; stats.go
//	dispatcher.go      handlers and the order of events
//	tenant.go          a connection on its loop; with negotiation.go, channels.go
//	network.go         what connections share; with port.go, pcap.go
package webrtc
