package webrtc

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// closed closes a connection when the test ends.
func closed(t testing.TB, pc *PeerConnection, err error) *PeerConnection {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

func fresh(t testing.TB, cfg Configuration) *PeerConnection {
	t.Helper()
	pc, err := NewPeerConnection(cfg)
	return closed(t, pc, err)
}

// "RTCConfiguration": the defaults of the dictionary.
func TestConfigurationDefaults(t *testing.T) {
	c := fresh(t, Configuration{}).GetConfiguration()
	if c.ICETransportPolicy != "all" || c.BundlePolicy != "balanced" || c.RTCPMuxPolicy != "require" || c.ICECandidatePoolSize != 0 || len(c.ICEServers) != 0 {
		t.Errorf("the defaults are %+v", c)
	}
}

// "Validate ... urls": an invalid URL, a scheme that is not implemented and an empty list are SyntaxErrors; turn and turns
// without username or credential an InvalidAccessError.
func TestICEServers(t *testing.T) {
	long := strings.Repeat("u", 509)
	for _, c := range []struct {
		server ICEServer
		name   ErrorName // "": none
	}{
		{ICEServer{URLs: []string{"stun:stun.example.net"}}, ""},
		{ICEServer{URLs: []string{"stun:stun.example.net:1234"}}, ""},
		{ICEServer{URLs: []string{"stuns:stun.example.net"}}, ""},
		{ICEServer{URLs: []string{"stun:[2001:db8::1]:3478"}}, ""},
		{ICEServer{URLs: []string{"turn:turn.example.net"}, Username: "u", Credential: "c"}, ""},
		{ICEServer{URLs: []string{"turns:turn.example.net?transport=tcp", "turn:turn.example.net?transport=udp"}, Username: "u", Credential: "c"}, ""},
		{ICEServer{}, SyntaxError},
		{ICEServer{URLs: []string{}}, SyntaxError},
		{ICEServer{URLs: []string{""}}, SyntaxError},
		{ICEServer{URLs: []string{"relative-url"}}, SyntaxError},
		{ICEServer{URLs: []string{"http://example.com"}}, SyntaxError},
		{ICEServer{URLs: []string{"stun://example.com/foo"}}, SyntaxError},
		{ICEServer{URLs: []string{"stun:"}}, SyntaxError},
		{ICEServer{URLs: []string{"stun:host:99999"}}, SyntaxError},
		{ICEServer{URLs: []string{"stun:host?transport=udp"}}, SyntaxError},
		{ICEServer{URLs: []string{"turn:host?transport=sctp"}, Username: "u", Credential: "c"}, SyntaxError},
		{ICEServer{URLs: []string{"stun:stun.example.net", "bad"}}, SyntaxError},
		{ICEServer{URLs: []string{"turn:turn.example.net"}}, InvalidAccessError},
		{ICEServer{URLs: []string{"turn:turn.example.net"}, Username: "u"}, InvalidAccessError},
		{ICEServer{URLs: []string{"turns:turn.example.net"}, Credential: "c"}, InvalidAccessError},
		{ICEServer{URLs: []string{"turn:turn.example.net"}, Username: long, Credential: "c"}, InvalidAccessError},
	} {
		cfg := Configuration{ICEServers: []ICEServer{c.server}}
		pc, err := NewPeerConnection(cfg)
		if err == nil {
			if got := pc.GetConfiguration().ICEServers; !reflect.DeepEqual(got, cfg.ICEServers) {
				t.Errorf("%v: GetConfiguration returns %v", c.server.URLs, got)
			}
			pc.Close()
		}
		if c.name == "" {
			if err != nil {
				t.Errorf("%v: %v", c.server.URLs, err)
			}
			continue
		}
		is(t, "NewPeerConnection with "+strings.Join(c.server.URLs, ","), err, c.name)
		is(t, "SetConfiguration with "+strings.Join(c.server.URLs, ","), fresh(t, Configuration{}).SetConfiguration(cfg), c.name)
	}
}

// Web IDL: a value outside an enumeration is a TypeError. "negotiate" is a NotSupportedError.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		cfg  Configuration
		name ErrorName
	}{
		{Configuration{ICETransportPolicy: "nohost"}, TypeError},
		{Configuration{BundlePolicy: "none"}, TypeError},
		{Configuration{RTCPMuxPolicy: "never"}, TypeError},
		{Configuration{RTCPMuxPolicy: RTCPMuxPolicyNegotiate}, NotSupportedError},
		{Configuration{Certificates: []*Certificate{nil}}, TypeError},
	} {
		_, err := NewPeerConnection(c.cfg)
		is(t, "NewPeerConnection", err, c.name)
	}
}

// "set a configuration": what cannot be changed is an InvalidModificationError.
func TestSetConfiguration(t *testing.T) {
	one, err := GenerateCertificate(KeygenAlgorithm{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := GenerateCertificate(KeygenAlgorithm{})
	if err != nil {
		t.Fatal(err)
	}
	initial := Configuration{BundlePolicy: BundlePolicyMaxBundle, Certificates: []*Certificate{one}}
	for name, cfg := range map[string]Configuration{
		"bundlePolicy":             {BundlePolicy: BundlePolicyMaxCompat},
		"the default bundlePolicy": {},
		"certificates":             {BundlePolicy: BundlePolicyMaxBundle, Certificates: []*Certificate{two}},
		"more certificates":        {BundlePolicy: BundlePolicyMaxBundle, Certificates: []*Certificate{one, two}},
		"no certificates":          {BundlePolicy: BundlePolicyMaxBundle, Certificates: []*Certificate{}},
	} {
		pc := fresh(t, initial)
		is(t, "SetConfiguration with other "+name, pc.SetConfiguration(cfg), InvalidModificationError)
		if got := pc.GetConfiguration().BundlePolicy; got != BundlePolicyMaxBundle {
			t.Errorf("after a refused %s the policy is %s", name, got)
		}
	}
	pc := fresh(t, initial)
	change := Configuration{BundlePolicy: BundlePolicyMaxBundle, ICETransportPolicy: ICETransportPolicyRelay,
		ICEServers: []ICEServer{{URLs: []string{"stun:127.0.0.1"}}}, ICECandidatePoolSize: 3}
	if err := pc.SetConfiguration(change); err != nil {
		t.Fatal(err)
	}
	got := pc.GetConfiguration()
	if got.ICETransportPolicy != "relay" || got.ICECandidatePoolSize != 3 || len(got.ICEServers) != 1 || len(got.Certificates) != 1 || got.Certificates[0] != one {
		t.Errorf("the configuration is %+v", got)
	}
	// 5. "If the value of configuration.iceCandidatePoolSize differs ..., and setLocalDescription has already been called,
	// throw an InvalidModificationError."
	if _, err := pc.CreateDataChannel("x", nil); err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(nil); err != nil {
		t.Fatal(err)
	}
	change.ICECandidatePoolSize = 4
	is(t, "SetConfiguration with another pool", pc.SetConfiguration(change), InvalidModificationError)
	pc.Close()
	is(t, "SetConfiguration of a closed connection", pc.SetConfiguration(change), InvalidStateError)
}

// What GetConfiguration returns is a copy.
func TestGetConfigurationCopies(t *testing.T) {
	servers := []ICEServer{{URLs: []string{"stun:127.0.0.1"}}}
	pc := fresh(t, Configuration{ICEServers: servers})
	servers[0].URLs[0] = "changed"
	pc.GetConfiguration().ICEServers[0].URLs[0] = "changed"
	if got := pc.GetConfiguration().ICEServers[0].URLs[0]; got != "stun:127.0.0.1" {
		t.Errorf("the URL is %q", got)
	}
}

// generateCertificate: "If ... the algorithm is not supported, reject with a NotSupportedError".
func TestGenerateCertificate(t *testing.T) {
	for _, a := range []KeygenAlgorithm{
		{}, {Name: "ECDSA", NamedCurve: "P-256"}, {Name: "ECDSA", NamedCurve: "P-384"},
		{Name: "RSASSA-PKCS1-v1_5", ModulusLength: 2048, PublicExponent: 65537, Hash: "SHA-256"},
	} {
		c, err := GenerateCertificate(a)
		if err != nil {
			t.Errorf("%+v: %v", a, err)
			continue
		}
		if left := time.Until(c.Expires()); left < 29*24*time.Hour || left > 30*24*time.Hour {
			t.Errorf("%+v: it expires in %v", a, left)
		}
		f := c.GetFingerprints()
		if len(f) != 1 || f[0].Algorithm != "sha-256" || len(f[0].Value) != 95 || f[0].Value != strings.ToLower(f[0].Value) {
			t.Errorf("%+v: the fingerprints are %v", a, f)
		}
		kept, err := NewCertificate(c.Chain(), c.PrivateKey())
		if err != nil || !kept.equal(c) || !kept.Expires().Equal(c.Expires()) {
			t.Errorf("%+v: kept and read again it is %v, %v", a, kept, err)
		}
	}
	for _, a := range []KeygenAlgorithm{
		{Name: "invalid-algo"}, {Name: "ECDSA", NamedCurve: "P-521"}, {Name: "RSASSA-PKCS1-v1_5", ModulusLength: 1024},
		{Name: "RSASSA-PKCS1-v1_5", PublicExponent: 3}, {Name: "RSASSA-PKCS1-v1_5", Hash: "SHA-1"},
	} {
		_, err := GenerateCertificate(a)
		is(t, "GenerateCertificate", err, NotSupportedError)
	}
	_, err := GenerateCertificate(KeygenAlgorithm{Expires: -1})
	is(t, "GenerateCertificate", err, TypeError)
	c, err := GenerateCertificate(KeygenAlgorithm{Expires: 100 * 365 * 24 * time.Hour})
	if err != nil || time.Until(c.Expires()) > 365*24*time.Hour {
		t.Errorf("it expires %v: %v", c.Expires(), err)
	}
	_, err = NewCertificate(nil, nil)
	is(t, "NewCertificate", err, NotSupportedError)
}

// constructor: "If the value of certificate.expires is less than the current time, throw an InvalidAccessError."
func TestExpiredCertificate(t *testing.T) {
	c, err := GenerateCertificate(KeygenAlgorithm{Expires: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewPeerConnection(Configuration{Certificates: []*Certificate{c}})
	is(t, "NewPeerConnection", err, InvalidAccessError)
}

// "all "m=" sections MUST use any and all certificates that have been specified" (RFC 8829 section 5.2.1).
func TestCertificateInDescription(t *testing.T) {
	var all []*Certificate
	for range 2 {
		c, err := GenerateCertificate(KeygenAlgorithm{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	pc := fresh(t, Configuration{Certificates: all})
	if _, err := pc.CreateDataChannel("x", nil); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if want := "a=fingerprint:sha-256 " + strings.ToUpper(c.GetFingerprints()[0].Value); !strings.Contains(offer.SDP, want) {
			t.Errorf("%q is not in\n%s", want, offer.SDP)
		}
	}
	// Any of them lets the peer know us.
	inWorld(t, func(w *world) {
		a, b, _, _ := w.connect(Configuration{Certificates: all}, nil)
		for _, pc := range []*PeerConnection{a, b} {
			if got := pc.SCTP().Transport().GetRemoteCertificates(); len(got) != 1 || string(got[0]) != string(all[0].Chain()[0]) {
				t.Error("the certificate in use is not the first one")
			}
		}
	})
}

const hostCandidate = "candidate:1905690388 1 udp 2113937151 192.168.0.1 58041 typ host generation 0 ufrag thC8 network-cost 50"

// "RTCIceCandidate": the attributes are parsed from candidate.
func TestICECandidateAttributes(t *testing.T) {
	c, err := NewICECandidate(ICECandidate{Candidate: hostCandidate, SDPMid: new("0")})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Foundation(), c.Component(), c.Priority(), c.Address(), c.Protocol(), c.Port(), c.Type(), c.TCPType(), c.RelatedAddress(), c.RelatedPort(),
		*c.UsernameFragment, c.RelayProtocol(), c.URL()}
	want := []any{"1905690388", "rtp", uint32(2113937151), "192.168.0.1", "udp", uint16(58041), "host", "", "", uint16(0), "thC8", "", ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the attributes are %v, not %v", got, want)
	}
	c = &ICECandidate{Candidate: "candidate:1 2 TCP 1518280447 198.51.100.1 9 typ srflx raddr 10.0.0.1 rport 5000 tcptype active"}
	got = []any{c.Component(), c.Protocol(), c.Type(), c.TCPType(), c.RelatedAddress(), c.RelatedPort()}
	want = []any{"rtcp", "tcp", "srflx", "active", "10.0.0.1", uint16(5000)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the attributes are %v, not %v", got, want)
	}
	// "If any of the fields ... is not valid, ... null": nothing of it is told.
	for _, bad := range []string{"", "candidate", "arbitrary string[0];", "candidate:1 1 udp 1 192.0.2.1 x typ host"} {
		c := &ICECandidate{Candidate: bad}
		if c.Foundation() != "" || c.Component() != "" || c.Priority() != 0 || c.Address() != "" || c.Protocol() != "" || c.Port() != 0 || c.Type() != "" {
			t.Errorf("%q has attributes", bad)
		}
	}
}

// constructor: "If both the sdpMid and sdpMLineIndex members of candidateInitDict are null, throw a TypeError."
func TestNewICECandidate(t *testing.T) {
	_, err := NewICECandidate(ICECandidate{})
	is(t, "NewICECandidate", err, TypeError)
	_, err = NewICECandidate(ICECandidate{Candidate: hostCandidate})
	is(t, "NewICECandidate", err, TypeError)
	for _, init := range []ICECandidate{{SDPMid: new("")}, {SDPMLineIndex: new(uint16(0))}, {Candidate: "arbitrary string[0];", SDPMid: new("0"), UsernameFragment: new("u")}} {
		if c, err := NewICECandidate(init); err != nil || c.Candidate != init.Candidate {
			t.Errorf("%+v: %v", init, err)
		}
	}
}

// toJSON has the four members of RTCIceCandidateInit, and JSON of browsers is read.
func TestICECandidateJSON(t *testing.T) {
	c := &ICECandidate{Candidate: hostCandidate, SDPMid: new("data"), SDPMLineIndex: new(uint16(1))}
	want := `{"candidate":"` + hostCandidate + `","sdpMid":"data","sdpMLineIndex":1,"usernameFragment":null}`
	if got := string(c.ToJSON()); got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
	var d ICECandidate
	if err := json.Unmarshal([]byte(want), &d); err != nil || !reflect.DeepEqual(&d, c) {
		t.Errorf("read again it is %+v: %v", d, err)
	}
	var s SessionDescription
	if err := json.Unmarshal([]byte(`{"type":"offer","sdp":"v=0\r\n"}`), &s); err != nil || s != (SessionDescription{SDPTypeOffer, "v=0\r\n"}) {
		t.Errorf("a description read is %+v: %v", s, err)
	}
}
