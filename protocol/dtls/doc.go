// Package dtls is DTLS 1.3 (RFC 9147) and 1.2 (RFC 6347) without sockets, clocks or goroutines: one engine for both
// versions, as client and as server.
//
// # Scope
//
// In: mutual authentication by self-signed certificates and their fingerprints (RFC 8122), X25519MLKEM768 and the usual
// curves, AES-GCM and ChaCha20-Poly1305, DTLS-SRTP (RFC 5764), exporters (RFC 5705), ALPN, connection IDs (RFC 9146), key
// updates, cookies; for servers that strangers call, as those of TURN are: a certificate chosen by the name that the client
// says, and clients without one. Out: sessions that are resumed, pre-shared keys, early data, renegotiation, chains of
// trust, names in certificates.
//
// # Driving it
//
// A [Conn] is handed datagrams and the time, and asked what it has to say:
//
//	conn.HandleDatagram(now, payload)          // decrypts in place
//	conn.RunJobs(now)                          // or NextJob, Job.Run on any goroutine, JobDone
//	for ev, ok := conn.NextEvent(); ok; ...    // PeerCertificate, Connected, Data, Closed
//	buf = conn.AppendDatagram(buf[:0], now)    // until it appends nothing
//	conn.HandleTimeout(now)                    // at conn.NextTimeout()
//
// Application data is sent by [Conn.AppendRecord]. Nothing but the handshake happens until the caller, who knows what
// fingerprint was promised, answers the event [PeerCertificate] by [Conn.Accept].
//
// # What can go wrong
//
// Bad input is dropped and counted in [Stats]. Once there are keys nobody but the peer can end a connection. Before, what
// cannot be read is dropped too, and an alert is only a hint; but a hello that can be read and offers nothing we can do, or
// chooses what was not offered, ends the handshake, as nothing tells it from the peer's. What ends a connection is told
// once, by [Closed] with an [*Error].
//
// # Where things are
//
//	conn.go            what the caller sees
//	handshake.go       the two hellos, where the versions part
//	handshake13.go     DTLS 1.3 in the order of the protocol; handshake12.go likewise
//	posthandshake.go   key updates, connection IDs
//	flight.go          how messages get across: ACKs, repetition; with inbox.go, outbox.go
//	record.go          records of both versions; with protection.go, replay.go
//	keys.go            key schedules; keyexchange.go, signature.go, certificate.go
//	messages.go        bytes of the messages; with extensions.go
package dtls
