// Package ice is Interactive Connectivity Establishment without sockets, clocks or goroutines: which of the addresses of
// two machines reach each other, and whether the peer still agrees to be sent to.
//
// # Scope
//
// In: full and lite agents (RFC 8445) for one component, trickled candidates (RFC 8838), patience (RFC 8863), IPv6 and
// IPv4 in turn (RFC 8421), active and passive TCP candidates (RFC 6544), consent (RFC 7675), restarts, renomination
// (draft-thatcher-ice-renomination). Out: gathering, which is its owner's; several components; simultaneous-open TCP; two
// agents that are both lite.
//
// # Driving it
//
//	a.AddLocalCandidate(now, c)         // as found; the result is what to signal
//	a.SetRemoteCredentials(now, r)      // from the description; checks that came before were kept
//	a.AddRemoteCandidate(now, c)        // as signalled
//	a.HandleDatagram(now, d)            // STUN; DTLS and SRTP are for those for whom a.Knows(d.Path)
//	for ev, ok := a.NextEvent(); ok; ...  // StateChanged, SelectedPairChanged, Connect, ...
//	more := a.AppendTransmit(now, batch)
//	a.HandleTimeout(now)                // at a.NextTimeout()
//
// Data goes along [Agent.Path], and comes from wherever [Agent.Knows].
//
// # What can go wrong
//
// Bad input is dropped and counted in [Dropped]. A request without integrity is answered by the shortest of errors. A
// connection that finds no path is StateFailed, and a Restart leads on.
//
// # Where things are
//
//	agent.go       what the caller sees
//	generation.go  credentials, restarts, the checklist
//	check.go       our checks and their answers
//	request.go     the peer's checks
//	selection.go   which pair, consent, and what is due
//	candidate.go   priorities, foundations, what may be paired; with pair.go, event.go
//	sdp.go         candidates as a description has them
//	statistics.go  what webrtc-stats asks for
package ice
