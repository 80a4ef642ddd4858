package webrtc

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/w3c-conformance.md")

// member is one attribute, method, event, exception or dictionary member of an interface of the W3C's.
type member struct {
	kind, name string // in the W3C's words
	here       string // the method or field of the type; "-": see the note
	tests      string
	note       string
}

// An interface of the W3C's and what it is here.
type iface struct {
	name    string
	goType  any
	members []member
}

const (
	attribute, method, event, throws, dictionary = "attribute", "method", "event", "exception", "member"
)

var interfaces = []iface{
	{"RTCConfiguration", Configuration{}, []member{
		{dictionary, "iceServers", "ICEServers", "TestICEServers", ""},
		{throws, "SyntaxError: a URL, or none", "ICEServers", "TestICEServers", ""},
		{throws, "InvalidAccessError: no credentials for turn", "ICEServers", "TestICEServers", ""},
		{dictionary, "iceTransportPolicy", "ICETransportPolicy", "TestRelayOnly TestPolicies", ""},
		{dictionary, "bundlePolicy", "BundlePolicy", "TestSetConfiguration TestPolicies", ""},
		{dictionary, "rtcpMuxPolicy", "RTCPMuxPolicy", "TestConfigurationDefaults TestPolicies", ""},
		{throws, "NotSupportedError: rtcpMuxPolicy negotiate", "RTCPMuxPolicy", "TestPolicies", ""},
		{dictionary, "certificates", "Certificates", "TestCertificateInDescription", ""},
		{throws, "InvalidAccessError: an expired certificate", "Certificates", "TestExpiredCertificate", ""},
		{dictionary, "iceCandidatePoolSize", "ICECandidatePoolSize", "TestICECandidatePool", ""},
		{throws, "TypeError: a value of no enumeration", "BundlePolicy", "TestPolicies", ""},
	}},
	{"RTCPeerConnection", (*PeerConnection)(nil), []member{
		{method, "constructor", "-", "TestNewPeerConnection TestConfigurationDefaults", "NewPeerConnection, Network.NewPeerConnection"},
		{method, "createOffer", "CreateOffer", "TestOfferAnswer", ""},
		{method, "createAnswer", "CreateAnswer", "TestOfferAnswer", ""},
		{throws, "InvalidStateError: createAnswer without an offer", "CreateAnswer", "TestDescriptionErrors", ""},
		{method, "setLocalDescription", "SetLocalDescription", "TestOfferAnswer TestRollback TestPerfectNegotiation", "nil is no argument"},
		{throws, "InvalidModificationError: not what was created", "SetLocalDescription", "TestDescriptionErrors", ""},
		{throws, "InvalidStateError: not in this state", "SetLocalDescription", "TestDescriptionErrors", ""},
		{attribute, "localDescription", "LocalDescription", "TestOfferAnswer", ""},
		{attribute, "currentLocalDescription", "CurrentLocalDescription", "TestOfferAnswer", ""},
		{attribute, "pendingLocalDescription", "PendingLocalDescription", "TestOfferAnswer", ""},
		{method, "setRemoteDescription", "SetRemoteDescription", "TestOfferAnswer TestRollback TestRemoteMedia", ""},
		{throws, "OperationError, sdp-syntax-error with sdpLineNumber", "SetRemoteDescription", "TestDescriptionErrors", ""},
		{throws, "InvalidAccessError: invalid content", "SetRemoteDescription", "TestDescriptionErrors", ""},
		{throws, "InvalidStateError: not in this state", "SetRemoteDescription", "TestDescriptionErrors", ""},
		{throws, "TypeError: no type of description", "SetRemoteDescription", "TestDescriptionErrors", ""},
		{attribute, "remoteDescription", "RemoteDescription", "TestOfferAnswer", ""},
		{attribute, "currentRemoteDescription", "CurrentRemoteDescription", "TestOfferAnswer", ""},
		{attribute, "pendingRemoteDescription", "PendingRemoteDescription", "TestOfferAnswer", ""},
		{method, "addIceCandidate", "AddICECandidate", "TestAddICECandidate TestProhibitedCandidates", "nil is the end of candidates"},
		{throws, "TypeError: for no section", "AddICECandidate", "TestAddICECandidate TestProhibitedCandidates", ""},
		{throws, "InvalidStateError: no remote description", "AddICECandidate", "TestAddICECandidate TestProhibitedCandidates", ""},
		{throws, "OperationError: mid, index, generation, syntax", "AddICECandidate", "TestAddICECandidate TestProhibitedCandidates", ""},
		{attribute, "signalingState", "SignalingState", "TestOfferAnswer", ""},
		{attribute, "iceGatheringState", "ICEGatheringState", "TestEventICECandidate", ""},
		{attribute, "iceConnectionState", "ICEConnectionState", "TestConnectionStates TestStateTables", ""},
		{attribute, "connectionState", "ConnectionState", "TestConnectionStates TestStateTables TestLostConnection", ""},
		{attribute, "canTrickleIceCandidates", "CanTrickleICECandidates", "TestOfferAnswer", ""},
		{method, "restartIce", "RestartICE", "TestRestartICE", ""},
		{method, "getConfiguration", "GetConfiguration", "TestGetConfigurationCopies", ""},
		{method, "setConfiguration", "SetConfiguration", "TestSetConfiguration", ""},
		{throws, "InvalidModificationError: what cannot be changed", "SetConfiguration", "TestSetConfiguration", ""},
		{method, "close", "Close", "TestAClosedConnection TestTheLastCloseLeavesNothing TestCloseInAHandler", ""},
		{throws, "InvalidStateError: any call once closed", "Close", "TestAClosedConnection", ""},
		{attribute, "sctp", "SCTP", "TestConnectionStates", ""},
		{method, "createDataChannel", "CreateDataChannel", "TestDataChannelDefaults", ""},
		{throws, "TypeError: label, protocol, id, both limits", "CreateDataChannel", "TestCreateDataChannelErrors", ""},
		{throws, "OperationError: an id that is taken", "CreateDataChannel", "TestCreateDataChannelErrors TestDataChannelIDs", ""},
		{method, "getStats", "GetStats", "TestGetStats", ""},
		{method, "generateCertificate", "-", "TestGenerateCertificate", "GenerateCertificate"},
		{throws, "NotSupportedError: an algorithm", "-", "TestGenerateCertificate", "GenerateCertificate"},
		{event, "negotiationneeded", "OnNegotiationNeeded", "TestEventNegotiationNeeded", ""},
		{event, "icecandidate", "OnICECandidate", "TestEventICECandidate", ""},
		{event, "icecandidateerror", "OnICECandidateError", "TestEventICECandidateError", ""},
		{event, "signalingstatechange", "OnSignalingStateChange", "TestOfferAnswer", ""},
		{event, "iceconnectionstatechange", "OnICEConnectionStateChange", "TestConnectionStates", ""},
		{event, "icegatheringstatechange", "OnICEGatheringStateChange", "TestEventICECandidate", ""},
		{event, "connectionstatechange", "OnConnectionStateChange", "TestConnectionStates", ""},
		{event, "datachannel", "OnDataChannel", "TestEventDataChannel", ""},
		{event, "track", "OnTrack", "TestMedia", "RTCTrackEvent: the track and its receiver, which has the streams and the transceiver"},
	}},
	{"RTCDataChannelInit", DataChannelInit{}, []member{
		{dictionary, "ordered", "Ordered", "TestDataChannelAtThePeer", ""},
		{dictionary, "maxPacketLifeTime", "MaxPacketLifeTime", "TestDataChannelAtThePeer", ""},
		{dictionary, "maxRetransmits", "MaxRetransmits", "TestDataChannelAtThePeer", ""},
		{dictionary, "protocol", "Protocol", "TestDataChannelAtThePeer", ""},
		{dictionary, "negotiated", "Negotiated", "TestNegotiatedDataChannel", ""},
		{dictionary, "id", "ID", "TestNegotiatedDataChannel TestDataChannelIDs", ""},
		{dictionary, "priority", "Priority", "TestDataChannelAtThePeer", "of webrtc-priority"},
	}},
	{"RTCDataChannel", (*DataChannel)(nil), []member{
		{attribute, "label", "Label", "TestDataChannelDefaults", ""},
		{attribute, "ordered", "Ordered", "TestDataChannelDefaults", ""},
		{attribute, "maxPacketLifeTime", "MaxPacketLifeTime", "TestDataChannelDefaults", ""},
		{attribute, "maxRetransmits", "MaxRetransmits", "TestDataChannelDefaults", ""},
		{attribute, "protocol", "Protocol", "TestDataChannelDefaults", ""},
		{attribute, "negotiated", "Negotiated", "TestDataChannelDefaults", ""},
		{attribute, "id", "ID", "TestDataChannelIDs", ""},
		{attribute, "priority", "Priority", "TestDataChannelDefaults", "of webrtc-priority"},
		{attribute, "readyState", "ReadyState", "TestCloseDataChannel TestEventDataChannel", ""},
		{attribute, "bufferedAmount", "BufferedAmount", "TestBufferedAmount", ""},
		{attribute, "bufferedAmountLowThreshold", "BufferedAmountLowThreshold", "TestBufferedAmount", "and SetBufferedAmountLowThreshold"},
		{attribute, "binaryType", "-", "TestMessages", "a message is bytes, and says whether it is text"},
		{method, "close", "Close", "TestCloseDataChannel TestCloseBeforeOpen", ""},
		{method, "send", "Send", "TestMessages", "and SendText, SendContext, SendTextContext"},
		{throws, "InvalidStateError: send while not open", "Send", "TestSendErrors", ""},
		{throws, "TypeError: over maxMessageSize", "Send", "TestSendErrors", ""},
		{throws, "OperationError: the buffer is full", "Send", "TestBackPressure", ""},
		{event, "open", "OnOpen", "TestEventDataChannel", ""},
		{event, "bufferedamountlow", "OnBufferedAmountLow", "TestBufferedAmount", ""},
		{event, "error", "OnError", "TestAClosedConnection", "RTCError with errorDetail and sctpCauseCode"},
		{event, "closing", "OnClosing", "TestCloseDataChannel TestEventDataChannel", ""},
		{event, "close", "OnClose", "TestCloseDataChannel TestAClosedConnection", ""},
		{event, "message", "OnMessage", "TestMessages TestHandlerThenReceive", "and Receive, Messages, ReadWriteCloser"},
	}},
	{"RTCIceCandidate", (*ICECandidate)(nil), []member{
		{method, "constructor", "-", "TestNewICECandidate", "NewICECandidate"},
		{throws, "TypeError: for no section", "-", "TestNewICECandidate", "NewICECandidate"},
		{attribute, "candidate", "Candidate", "TestICECandidateAttributes", ""},
		{attribute, "sdpMid", "SDPMid", "TestICECandidateJSON", ""},
		{attribute, "sdpMLineIndex", "SDPMLineIndex", "TestICECandidateJSON", ""},
		{attribute, "foundation", "Foundation", "TestICECandidateAttributes", ""},
		{attribute, "component", "Component", "TestICECandidateAttributes", ""},
		{attribute, "priority", "Priority", "TestICECandidateAttributes", ""},
		{attribute, "address", "Address", "TestICECandidateAttributes", ""},
		{attribute, "protocol", "Protocol", "TestICECandidateAttributes", ""},
		{attribute, "port", "Port", "TestICECandidateAttributes", ""},
		{attribute, "type", "Type", "TestICECandidateAttributes", ""},
		{attribute, "tcpType", "TCPType", "TestICECandidateAttributes", ""},
		{attribute, "relatedAddress", "RelatedAddress", "TestICECandidateAttributes", ""},
		{attribute, "relatedPort", "RelatedPort", "TestICECandidateAttributes", ""},
		{attribute, "usernameFragment", "UsernameFragment", "TestICECandidateAttributes", ""},
		{attribute, "relayProtocol", "RelayProtocol", "TestRelayOnly", ""},
		{attribute, "url", "URL", "TestRelayOnly", ""},
		{method, "toJSON", "ToJSON", "TestICECandidateJSON", ""},
	}},
	{"RTCIceTransport", (*ICETransport)(nil), []member{
		{attribute, "role", "Role", "TestConnectionStates", ""},
		{attribute, "component", "Component", "TestConnectionStates", ""},
		{attribute, "state", "State", "TestConnectionStates TestAClosedConnection", ""},
		{attribute, "gatheringState", "GatheringState", "TestConnectionStates", ""},
		{method, "getLocalCandidates", "GetLocalCandidates", "TestConnectionStates", ""},
		{method, "getRemoteCandidates", "GetRemoteCandidates", "TestConnectionStates", ""},
		{method, "getSelectedCandidatePair", "GetSelectedCandidatePair", "TestConnectionStates", ""},
		{method, "getLocalParameters", "GetLocalParameters", "TestConnectionStates TestRestartICE", ""},
		{method, "getRemoteParameters", "GetRemoteParameters", "TestConnectionStates", ""},
		{event, "statechange", "OnStateChange", "TestConnectionStates", ""},
		{event, "gatheringstatechange", "OnGatheringStateChange", "TestTransportGatheringState", ""},
		{event, "selectedcandidatepairchange", "OnSelectedCandidatePairChange", "TestConnectionStates", ""},
	}},
	{"RTCDtlsTransport", (*DTLSTransport)(nil), []member{
		{attribute, "iceTransport", "ICETransport", "TestConnectionStates", ""},
		{attribute, "state", "State", "TestConnectionStates TestFingerprintMismatch", ""},
		{method, "getRemoteCertificates", "GetRemoteCertificates", "TestConnectionStates", ""},
		{event, "statechange", "OnStateChange", "TestConnectionStates", ""},
		{event, "error", "OnError", "TestFingerprintMismatch", ""},
	}},
	{"RTCSctpTransport", (*SCTPTransport)(nil), []member{
		{attribute, "transport", "Transport", "TestConnectionStates", ""},
		{attribute, "state", "State", "TestConnectionStates TestAClosedConnection", ""},
		{attribute, "maxMessageSize", "MaxMessageSize", "TestSendErrors TestMaxMessageSize", ""},
		{attribute, "maxChannels", "MaxChannels", "TestMaxChannels TestDataChannelIDs", ""},
		{event, "statechange", "OnStateChange", "TestConnectionStates", ""},
	}},
	{"RTCCertificate", (*Certificate)(nil), []member{
		{attribute, "expires", "Expires", "TestGenerateCertificate", ""},
		{method, "getFingerprints", "GetFingerprints", "TestGenerateCertificate", ""},
	}},
}

// The table in docs names what there is: each member is a method or field here, each test exists, and what is exported and
// handled in the W3C's way is in the table.
func TestConformanceTable(t *testing.T) {
	tests := testNames(t)
	var doc bytes.Buffer
	doc.WriteString("# Conformance to webrtc-pc\n\nEvery attribute, method, event and exception of the W3C's interfaces that package `webrtc` has, and the test that shows it.\n" +
		"Written by `go test ./webrtc -run Conformance -update`; the same test checks that the names here exist. Media (senders, receivers, transceivers, tracks) is not there yet.\n")
	for _, i := range interfaces {
		typ := reflect.TypeOf(i.goType)
		fmt.Fprintf(&doc, "\n## %s\n\n| | | in Go | shown by |\n|---|---|---|---|\n", i.name)
		seen := map[string]bool{}
		for _, m := range i.members {
			here := "`" + m.here + "`"
			if m.here == "-" {
				here = m.note
			} else {
				if !has(typ, m.here) {
					t.Errorf("%s.%s: there is no %v.%s", i.name, m.name, typ, m.here)
				}
				seen[m.here] = true
				if m.note != "" {
					here += "; " + m.note
				}
			}
			var shown []string
			for _, name := range strings.Fields(m.tests) {
				if !tests[name] {
					t.Errorf("%s.%s: there is no test %s", i.name, m.name, name)
				}
				shown = append(shown, "`"+name+"`")
			}
			fmt.Fprintf(&doc, "| %s | %s | %s | %s |\n", m.kind, m.name, here, strings.Join(shown, ", "))
		}
		for k := range typ.NumMethod() {
			if name := typ.Method(k).Name; strings.HasPrefix(name, "On") && !seen[name] {
				t.Errorf("%v.%s is not in the table", typ, name)
			}
		}
	}
	const file = "../docs/w3c-conformance.md"
	if *update {
		if err := os.WriteFile(file, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(there, []byte("\r\n"), []byte("\n")), doc.Bytes()) {
		t.Errorf("%s is not what the table says (%v): run this test with -update", file, err)
	}
}

// has reports whether a type has a method or field.
func has(t reflect.Type, name string) bool {
	if _, ok := t.MethodByName(name); ok {
		return true
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	_, ok := t.FieldByName(name)
	return ok && token.IsExported(name)
}

// testNames returns the tests of this folder.
func testNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}
