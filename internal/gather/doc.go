// Package gather finds, opens and keeps the addresses of an ICE agent: the machine's own, those that STUN servers see, and
// those that TURN servers relay for (RFC 8445 section 5.1.1).
//
// # Scope
//
// In: host candidates for every address of the machine, which may come and go; server-reflexive candidates (RFC 8489);
// relayed candidates (RFC 8656) over UDP, DTLS (RFC 7350), TCP and TLS, the last two also through a proxy that knows
// CONNECT; active and passive TCP candidates (RFC 6544); 1:1 NAT mappings; filters. Out: checks, which are the agent's.
//
// # Driving it
//
// A [Gatherer] has one agent, and lives in its owner's lease on a loop. The owner is the loop's tenant and passes on what
// it gets:
//
//	g.Start(now)
//	g.Handle(now, d)                    // first of all: it unwraps what comes through a relay
//	for ev, ok := g.NextEvent(); ok; ...  // Candidate, ServerError, Complete, SocketLost, AddressLost, Connected, ...
//	more := g.AppendTransmit(now, b)
//	g.Wrap(now, t, b)                   // instead of sending t, where t.Socket is negative
//	g.HandleTimeout(now)                // at g.NextTimeout()
//	g.HandleClose(now, socket)
//	g.HandleICMP(now, m)                // of its sockets, where the system tells
//	g.Connect(now, c)                   // the agent's event
//	g.Verify(now)                       // at the agent's event Searching
//	g.Keep(socket)                      // at PathKnown
//	g.Close(now)                        // and go on until Closed, or let the lease end
//
// A relay's name is a negative number: the agent has it as the socket of a relayed candidate, and what is to be sent from
// that candidate names it. [NumberOf] says whose it is, where a connection has several Gatherers.
//
// What takes time (names, TCP, TLS) happens on goroutines that end within ten seconds, and so Complete comes within twice that.
//
// Everything but UDP sockets comes from a [Host].
package gather
