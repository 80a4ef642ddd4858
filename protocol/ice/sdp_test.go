package ice_test

import (
	"net/netip"
	"testing"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/sdp"
)

func TestCandidatesFromSDP(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       ice.Candidate
	}{
		{"the example of RFC 8839 section 5.1",
			"2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
			ice.Candidate{Type: ice.ServerReflexive, Foundation: "2", Priority: 1694498815, Address: addr("192.0.2.3:45664"), Related: addr("203.0.113.141:8998")}},
		{"active, RFC 6544 appendix C.1",
			"1 1 TCP 2128609279 192.0.2.1 9 typ host tcptype active",
			ice.Candidate{Transport: ice.TCPActive, Foundation: "1", Priority: 2128609279, Address: addr("192.0.2.1:9")}},
		{"passive, RFC 6544 appendix C.1",
			"2 1 TCP 2124414975 192.0.2.1 3478 typ host tcptype passive",
			ice.Candidate{Transport: ice.TCPPassive, Foundation: "2", Priority: 2124414975, Address: addr("192.0.2.1:3478")}},
		{"simultaneous open, RFC 6544 appendix C.1",
			"3 1 TCP 2120220671 192.0.2.1 3482 typ host tcptype so",
			ice.Candidate{Transport: ice.TCPSimultaneousOpen, Foundation: "3", Priority: 2120220671, Address: addr("192.0.2.1:3482")}},
		{"a related address that is kept back",
			"3 1 udp 7 2001:db8::1 5 typ relay raddr :: rport 9",
			ice.Candidate{Type: ice.Relayed, Foundation: "3", Priority: 7, Address: addr("[2001:db8::1]:5")}},
		{"another generation",
			"3 1 udp 7 192.0.2.1 5 typ prflx raddr 192.0.2.2 rport 6 generation 0 ufrag a/b+ network-cost 10",
			ice.Candidate{Type: ice.PeerReflexive, Foundation: "3", Priority: 7, Address: addr("192.0.2.1:5"), Related: addr("192.0.2.2:6"), Ufrag: "a/b+"}},
		{"a name of multicast DNS",
			"4 1 udp 7 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54596 typ host",
			ice.Candidate{Foundation: "4", Priority: 7, Name: "1f4712db-ea17-4bcf-a596-105139dfd8bf.local", Address: netip.AddrPortFrom(netip.Addr{}, 54596)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := ice.FromSDP(parse(t, c.text))
			if !ok || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, ok, c.want)
			}
			if again, ok := ice.FromSDP(parse(t, got.SDP().String())); c.want.Name == "" && (!ok || again != c.want) {
				t.Errorf("written and read again it is %+v, %v", again, ok)
			}
		})
	}
}

func TestCandidatesOfNoUse(t *testing.T) {
	for name, text := range map[string]string{
		"RTCP":                         "1 2 udp 1 192.0.2.1 1 typ host",
		"an unknown transport":         "1 1 sctp 1 192.0.2.1 1 typ host",
		"an unknown type":              "1 1 udp 1 192.0.2.1 1 typ wormhole",
		"tcp of nobody knows who asks": "1 1 tcp 1 192.0.2.1 1 typ host",
		// "An agent processing remote candidates MUST ignore "candidate" lines that include candidates with FQDNs or IP address
		// versions that are not supported or recognized." (RFC 8839 section 5.1)
		"a name":           "1 1 udp 1 peer.example 1 typ host",
		"no name, no IPv4": "1 1 udp 1 192.0.2.256 1 typ host",
	} {
		if c, ok := ice.FromSDP(parse(t, text)); ok {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestCandidatesToSDP(t *testing.T) {
	for _, c := range []struct {
		candidate ice.Candidate
		want      string
	}{
		{ice.Candidate{Foundation: "1", Priority: 2, Address: addr("[fe80::1%eth0]:3"), Ufrag: "abcd"}, "1 1 udp 2 fe80::1 3 typ host ufrag abcd"},
		{ice.Candidate{Foundation: "1", Priority: 2, Address: addr("192.0.2.1:3"), Name: "x.local"}, "1 1 udp 2 x.local 3 typ host"},
		// "In this case the address MUST be set to "0.0.0.0" (for IPv4 candidates) or "::" (for IPv6 candidates) and the port to
		// "9"." (RFC 8839 section 5.1)
		{ice.Candidate{Type: ice.ServerReflexive, Foundation: "1", Priority: 2, Address: addr("192.0.2.1:3")}, "1 1 udp 2 192.0.2.1 3 typ srflx raddr 0.0.0.0 rport 9"},
		{ice.Candidate{Type: ice.Relayed, Foundation: "1", Priority: 2, Address: addr("[2001:db8::1]:3")}, "1 1 udp 2 2001:db8::1 3 typ relay raddr :: rport 9"},
	} {
		if got := c.candidate.SDP().String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func parse(t *testing.T, text string) sdp.Candidate {
	t.Helper()
	c, err := sdp.ParseCandidate(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
