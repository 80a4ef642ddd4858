// Package webrtc is the W3C's API for WebRTC (webrtc-pc, webrtc-stats) in Go: connections between this program and a
// browser, or another program, with data channels, audio and video.
//
// # Scope
//
// In: RTCPeerConnection, RTCDataChannel, RTCRtpTransceiver, RTCRtpSender, RTCRtpReceiver, RTCDTMFSender, RTCIceTransport,
// RTCDtlsTransport, RTCSctpTransport, RTCCertificate, RTCIceCandidate and getStats, with the W3C's names (without the prefix RTC,
// and with initialisms as Go has them), states, events and errors; docs/w3c-conformance.md has the table. Out: encoding and
// decoding. What a [Track] is given is encoded, and so is what a [RemoteTrack] brings.
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
// # Media
//
// A track of ours takes encoded frames ([SampleTrack]) or packets ([RTPTrack]) and feeds any number of senders. Its source is
// asked for key frames and told what bitrate there is. Of simulcast each part of a track feeds the encodings of one RID.
//
//	track, _ := webrtc.NewSampleTrack(webrtc.VP8, "camera")
//	sender, _ := pc.AddTrack(track)
//	sender.OnTargetBitrate(func(bps int) { encoder.SetBitrate(bps) })
//	sender.OnKeyFrameRequest(encoder.ForceKeyFrame)
//	track.WriteSample(webrtc.Sample{Data: frame, Duration: time.Second / 30})
//
// What the peer sends is read as packets ([RemoteTrack.ReadRTP]), or as frames that are whole, in order and due
// ([RemoteTrack.ReadSample]). Of simulcast [RemoteTrack.Encodings] has a track for each RID.
//
// All connections of a program share one goroutine and its sockets; it ends with the last of them. A [Network] has
// settings: one port for many connections, filters, limits, a logger, a packet observer.
//
// # Where things are
//
//	peerconnection.go  what the caller sees; with configuration.go, description.go, icecandidate.go, certificate.go, error.go
//	datachannel.go     channels; with send.go, receive.go
//	transport.go       the transports and the states that the connection derives from them; stats.go
//	transceiver.go     transceivers; with sender.go, receiver.go, dtmf.go, parameters.go, codec.go, mediastream.go
//	track.go           what is sent: with sample.go, mediabox.go (the way to the loop), handler.go (what the source is told)
//	remotetrack.go     what is received: with playout.go, tone.go
//	media.go           what descriptions and the RTP session make of all these; mediastats.go
//	dispatcher.go      handlers and the order of events
//	tenant.go          a connection on its loop; with negotiation.go, channels.go
//	network.go         what connections share; with port.go, pcap.go
package webrtc
