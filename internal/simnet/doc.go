// Package simnet is a network in virtual time, for tests only: links with delay, jitter, loss, reordering, duplication,
// rate and MTU, and routers, NATs and firewalls, all seeded, so that the same seed gives the same packets.
//
// A network is a tree. Hosts and routers hang below the internet or below each other, and each link to the router above
// has a [Path] for either direction:
//
//	n := simnet.New(1)
//	server := n.Internet().Host("server", simnet.Path{Delay: 10 * time.Millisecond}, "203.0.113.1")
//	home := n.Internet().NAT("home", simnet.Path{Delay: 5 * time.Millisecond}, simnet.NAT{
//		Mapping: simnet.EndpointIndependent, Filtering: simnet.AddressAndPortDependent,
//	}, "198.51.100.7")
//	alice := home.Host("alice", simnet.Path{}, "192.168.1.2")
//
// On hosts run engines ([Host.Run]), driven in virtual time by [Network.Run] with no goroutine at all, and sockets whose
// datagrams a function handles ([Host.Bind]). After [Network.Live] the network runs by itself on Go's clock, and programs
// with goroutines use it inside a testing/synctest bubble: UDP sockets ([Host.ListenUDP]), byte streams over the same
// links ([Host.Listen], [Host.DialContext]), and a [Proxy]. In a bubble, whoever waits for a mutex stops the clock: a
// tls.Conn that two goroutines share needs its HandshakeContext called before, since its Read and Write would otherwise
// wait for each other's handshake.
//
// The byte streams are a plain TCP (RFC 9293, 5681, 6582, 6298) with the segments of a real one in captures, good enough
// to be slow, stall, fail and recover as TCP does; they are not made to be measured. Multicast reaches
// the hosts below the same router. Not modelled: ICMP, fragments, broadcast, and the time that routers and hosts take.
//
// [Network.Log] and [Host.Capture] show what happened.
package simnet
