// Package peer composes the engines of one peer. They meet here and nowhere else.
//
// A [Peer] is one connection. Package jsep says what its descriptions have come to, and Apply makes it so:
//
//	p, err := peer.New(peer.Config{DTLS: &dtlsConfig, Entropy: rand.Reader})
//	changes, err := session.SetRemote(description)
//	err = p.Apply(now, changes.Transports, changes.Media, changes.Data)
//	p.AddLocalCandidate(now, id, c), p.AddRemote(now, target) // as found, as signalled
//	p.HandleDatagram(now, d)                                  // whatever comes to the sockets
//	for j, ok := p.NextJob(); ok; ...                         // j.Run() anywhere, then p.JobDone(now, j)
//	for ev, ok := p.NextEvent(); ok; ...                      // of ICE, DTLS and SCTP, with the transport's id
//	more := p.AppendTransmit(now, batch)
//	p.HandleTimeout(now)                                      // at p.NextTimeout()
//
// Each [Transport] is an agent of package ice and what it carries: a [Secure], which is DTLS and, within it, the SCTP
// association of the data channels (RFC 8261), and beside it SRTP with the keys of DTLS (RFC 5764), whose packets a
// [session.Session] makes and takes. There is one transport for all sections that the peer bundles, and one for each that it
// does not; a session is made for those alone that carry media.
//
//	err = p.Sender(mid).Send(now, encoding, &packet)         // waits for its turn
//	for r, ok := p.NextPacket(); ok; ...                     // right after HandleDatagram: borrowed
//
// [Demultiplex] tells by the first byte for whom a datagram is (RFC 7983). DTLS is read only from paths that a check with
// the right password has made known, and nothing of the application passes before the certificate is the one that the
// description promised.
//
// As every engine, a Peer is told the time and never asks, and is not safe for concurrent use.
package peer
