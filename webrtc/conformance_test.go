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
		{dictionary, "certificates", "Certificates", "TestCertificateInDescription", "all are named in descriptions, the first one is used"},
		{throws, "InvalidAccessError: an expired certificate", "Certificates", "TestExpiredCertificate", ""},
		{dictionary, "iceCandidatePoolSize", "ICECandidatePoolSize", "TestICECandidatePool", ""},
		{throws, "TypeError: a value of no enumeration", "BundlePolicy", "TestPolicies", ""},
	}},
	{"RTCPeerConnection", (*PeerConnection)(nil), []member{
		{method, "constructor", "-", "TestNewPeerConnection TestConfigurationDefaults", "NewPeerConnection, Network.NewPeerConnection"},
		{method, "createOffer", "CreateOffer", "TestOfferAnswer", "the end of an operation has its place among the events: After, `TestAfter`"},
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
		{throws, "InvalidAccessError: invalid content", "SetRemoteDescription", "TestDescriptionErrors TestHandOver", "also another fingerprint or tls-id without an ICE restart (RFC 8829 section 5.11)"},
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
		{method, "restartIce", "RestartICE", "TestRestartICE TestRestartIsAskedForUntilDone", ""},
		{method, "getConfiguration", "GetConfiguration", "TestGetConfigurationCopies", ""},
		{method, "setConfiguration", "SetConfiguration", "TestSetConfiguration", ""},
		{throws, "InvalidModificationError: what cannot be changed", "SetConfiguration", "TestSetConfiguration", ""},
		{method, "close", "Close", "TestAClosedConnection TestTheLastCloseLeavesNothing TestCloseInAHandler", ""},
		{throws, "InvalidStateError: any call once closed", "Close", "TestAClosedConnection", ""},
		{attribute, "sctp", "SCTP", "TestConnectionStates TestHandOver", ""},
		{method, "createDataChannel", "CreateDataChannel", "TestDataChannelDefaults TestAChannelIsConnectingAtFirst", ""},
		{throws, "TypeError: label, protocol, id, both limits", "CreateDataChannel", "TestCreateDataChannelErrors", ""},
		{throws, "OperationError: an id that is taken", "CreateDataChannel", "TestCreateDataChannelErrors TestDataChannelIDs", ""},
		{method, "getStats", "GetStats", "TestGetStats TestMandatoryStats TestStreamStatsBegin", "and GetTrackStats, with a selector"},
		{throws, "InvalidAccessError: a selector of no sender or receiver, or of several", "GetTrackStats", "TestTrackStats", ""},
		{method, "generateCertificate", "-", "TestGenerateCertificate", "GenerateCertificate"},
		{throws, "NotSupportedError: an algorithm", "-", "TestGenerateCertificate", "GenerateCertificate"},
		{event, "negotiationneeded", "OnNegotiationNeeded", "TestEventNegotiationNeeded TestAfter TestDataRejected", ""},
		{event, "icecandidate", "OnICECandidate", "TestEventICECandidate", ""},
		{event, "icecandidateerror", "OnICECandidateError", "TestEventICECandidateError", ""},
		{event, "signalingstatechange", "OnSignalingStateChange", "TestOfferAnswer", ""},
		{event, "iceconnectionstatechange", "OnICEConnectionStateChange", "TestConnectionStates", ""},
		{event, "icegatheringstatechange", "OnICEGatheringStateChange", "TestEventICECandidate", ""},
		{event, "connectionstatechange", "OnConnectionStateChange", "TestConnectionStates", ""},
		{event, "datachannel", "OnDataChannel", "TestEventDataChannel", ""},
		{event, "track", "OnTrack", "TestMedia TestDirection TestTrackEvents TestRolledBackTrackComesAgain", "RTCTrackEvent: see there"},
		{method, "addTransceiver", "AddTransceiver", "TestAddTransceiver", "of a kind; AddTransceiverTrack of a track"},
		{throws, "TypeError: a kind, direction, rid", "AddTransceiver", "TestAddTransceiver", ""},
		{throws, "RangeError: scaleResolutionDownBy, maxFramerate, maxBitrate", "AddTransceiver", "TestAddTransceiver", ""},
		{throws, "OperationError: codec, scalabilityMode", "AddTransceiver", "TestAddTransceiver", ""},
		{throws, "InvalidStateError: closed", "AddTransceiverTrack", "TestAddTransceiver", ""},
		{method, "addTrack", "AddTrack", "TestAddTrack TestRemoteTransceiver TestTransceiversPair TestTrackAddedAgain", ""},
		{throws, "InvalidAccessError: is sent already", "AddTrack", "TestAddTrack", ""},
		{throws, "InvalidStateError: closed", "AddTrack", "TestAddTrack", ""},
		{method, "removeTrack", "RemoveTrack", "TestAddTrack TestMediaRollback TestStopBeforeTheOffer", ""},
		{throws, "InvalidAccessError: another connection's", "RemoveTrack", "TestAddTrack", ""},
		{throws, "InvalidStateError: closed", "RemoveTrack", "TestAddTrack", ""},
		{method, "getTransceivers", "GetTransceivers", "TestAddTransceiver TestDirection TestMediaRollback TestLocalRollback TestRemoteRollback TestSectionReuse", ""},
		{method, "getSenders", "GetSenders", "TestAddTransceiver", ""},
		{method, "getReceivers", "GetReceivers", "TestAddTransceiver", ""},
	}},
	{"RTCRtpTransceiverInit", RTPTransceiverInit{}, []member{
		{dictionary, "direction", "Direction", "TestAddTransceiver", ""},
		{dictionary, "streams", "Streams", "TestDirection TestTrackEvents", ""},
		{dictionary, "sendEncodings", "SendEncodings", "TestSendEncodings TestEncodingDefaults TestSimulcast TestSimulcastIsNarrowed TestSimulcastIsProposed", ""},
	}},
	{"RTCRtpTransceiver", (*RTPTransceiver)(nil), []member{
		{attribute, "mid", "MID", "TestAddTransceiver TestRemoteTransceiver TestMediaRollback", "\"\" is null"},
		{attribute, "sender", "Sender", "TestAddTransceiver", ""},
		{attribute, "receiver", "Receiver", "TestAddTransceiver", ""},
		{attribute, "direction", "Direction", "TestDirection", "and SetDirection"},
		{throws, "InvalidStateError: direction of a stopped one", "SetDirection", "TestDirection TestClosedMedia", ""},
		{throws, "TypeError: direction stopped", "SetDirection", "TestDirection", ""},
		{attribute, "currentDirection", "CurrentDirection", "TestDirection TestRemoteTransceiver TestCurrentDirection", "\"\" is null"},
		{method, "stop", "Stop", "TestDirection TestStopDuringNegotiation TestStopBeforeTheOffer TestByeMutes", ""},
		{throws, "InvalidStateError: closed", "Stop", "TestDirection", ""},
		{method, "setCodecPreferences", "SetCodecPreferences", "TestSetCodecPreferences", ""},
		{throws, "InvalidModificationError: not among the capabilities, or nothing but repair", "SetCodecPreferences", "TestSetCodecPreferences", ""},
	}},
	{"RTCRtpSender", (*RTPSender)(nil), []member{
		{attribute, "track", "Track", "TestAddTrack TestReplaceTrack", ""},
		{attribute, "transport", "Transport", "TestRemoteTransceiver TestMediaRollback", ""},
		{attribute, "dtmf", "DTMF", "TestAddTransceiver TestDTMF", ""},
		{method, "getCapabilities", "-", "TestCapabilities", "RTPSenderCapabilities"},
		{method, "setParameters", "SetParameters", "TestSetParameters TestInactiveEncoding TestSimulcast TestCodecOfAnEncoding", "with parameters that GetParameters has returned since the last offer, answer or description: there are no turns of an event loop here"},
		{throws, "InvalidStateError: stopped, or without getParameters", "SetParameters", "TestSetParameters TestDirection", ""},
		{throws, "InvalidModificationError: what cannot be changed, another transaction, a codec that is not negotiated", "SetParameters", "TestSetParameters TestCodecOfAnEncoding", ""},
		{throws, "TypeError: no transactionId, no encodings, an enumeration's value", "SetParameters", "TestSetParameters", ""},
		{throws, "RangeError: scaleResolutionDownBy, maxFramerate, maxBitrate", "SetParameters", "TestSetParameters", ""},
		{throws, "OperationError: scalabilityMode", "SetParameters", "TestSetParameters TestScalabilityMode", ""},
		{method, "getParameters", "GetParameters", "TestParameters TestSetParameters TestSimulcastEnvelope TestNegotiatedCodecs TestCodecsOfTheRemoteDescription", ""},
		{method, "replaceTrack", "ReplaceTrack", "TestReplaceTrack", ""},
		{throws, "TypeError: another kind", "ReplaceTrack", "TestReplaceTrack", ""},
		{throws, "InvalidModificationError: a codec beyond the negotiated envelope", "ReplaceTrack", "TestPeerTakesAnotherCodec", ""},
		{throws, "InvalidStateError: stopped, closed", "ReplaceTrack", "TestDirection TestClosedMedia", ""},
		{method, "setStreams", "SetStreams", "TestDirection", ""},
		{throws, "InvalidStateError: closed", "SetStreams", "TestClosedMedia", ""},
		{method, "getStats", "GetStats", "TestMediaStats", ""},
		{event, "(not the W3C's) the source's bitrate", "OnTargetBitrate", "TestTargetBitrate", ""},
		{event, "(not the W3C's) a key frame is needed", "OnKeyFrameRequest", "TestKeyFrameRequest", ""},
	}},
	{"RTCRtpReceiver", (*RTPReceiver)(nil), []member{
		{attribute, "track", "Track", "TestAddTransceiver TestMedia", ""},
		{attribute, "transport", "Transport", "TestRemoteTransceiver", ""},
		{attribute, "jitterBufferTarget", "JitterBufferTarget", "TestJitterBufferTarget", "a Duration, nil is null; and SetJitterBufferTarget"},
		{throws, "RangeError: jitterBufferTarget beyond 4 s", "SetJitterBufferTarget", "TestJitterBufferTarget", ""},
		{method, "getCapabilities", "-", "TestCapabilities", "RTPReceiverCapabilities"},
		{method, "getParameters", "GetParameters", "TestParameters TestNegotiatedCodecs", ""},
		{method, "getContributingSources", "GetContributingSources", "TestForward TestAudioLevel", ""},
		{method, "getSynchronizationSources", "GetSynchronizationSources", "TestForward TestAudioLevel", ""},
		{method, "getStats", "GetStats", "TestMediaStats", ""},
	}},
	{"RTCDTMFSender", (*DTMFSender)(nil), []member{
		{method, "insertDTMF", "InsertDTMF", "TestDTMF", ""},
		{throws, "InvalidStateError: canInsertDTMF is false", "InsertDTMF", "TestDTMF TestClosedMedia", ""},
		{throws, "InvalidCharacterError: what is no tone", "InsertDTMF", "TestDTMF", ""},
		{attribute, "canInsertDTMF", "CanInsertDTMF", "TestDTMF", ""},
		{attribute, "toneBuffer", "ToneBuffer", "TestDTMF TestToneChanges", ""},
		{event, "tonechange", "OnToneChange", "TestDTMF TestToneChanges", "RTCDTMFToneChangeEvent: the handler's argument is its tone"},
	}},
	{"RTCTrackEvent", (*RTPReceiver)(nil), []member{
		{attribute, "receiver", "-", "TestMedia", "the handler's second argument"},
		{attribute, "track", "-", "TestMedia", "the handler's first argument"},
		{attribute, "streams", "Streams", "TestMedia TestDirection TestStreamsOfARemoteTrack", "of the receiver"},
		{attribute, "transceiver", "Transceiver", "TestAddTransceiver", "of the receiver"},
	}},
	{"RTCRtpCapabilities", RTPCapabilities{}, []member{
		{dictionary, "codecs", "Codecs", "TestCapabilities", ""},
		{dictionary, "headerExtensions", "HeaderExtensions", "TestCapabilities", ""},
	}},
	{"RTCRtpCodec", RTPCodec{}, []member{
		{dictionary, "mimeType", "MimeType", "TestSetCodecPreferences", ""},
		{dictionary, "clockRate", "ClockRate", "TestSetCodecPreferences", ""},
		{dictionary, "channels", "Channels", "TestSetCodecPreferences", ""},
		{dictionary, "sdpFmtpLine", "SDPFmtpLine", "TestSetCodecPreferences", ""},
	}},
	{"RTCRtpSendParameters", RTPSendParameters{}, []member{
		{dictionary, "transactionId", "TransactionID", "TestSetParameters", ""},
		{dictionary, "encodings", "Encodings", "TestSetParameters TestSendEncodings", ""},
		{dictionary, "headerExtensions", "HeaderExtensions", "TestParameters", "of RTCRtpParameters, as those below"},
		{dictionary, "rtcp", "RTCP", "TestParameters", "cname and reducedSize"},
		{dictionary, "codecs", "Codecs", "TestParameters TestSetCodecPreferences", "payloadType and those of RTCRtpCodec"},
		{dictionary, "degradationPreference", "DegradationPreference", "TestSetParameters", "of mst-content-hint; for the source to keep to"},
	}},
	{"RTCRtpEncodingParameters", RTPEncodingParameters{}, []member{
		{dictionary, "rid", "RID", "TestSendEncodings TestEncodingDefaults", ""},
		{dictionary, "active", "Active", "TestInactiveEncoding", "nil is true"},
		{dictionary, "maxBitrate", "MaxBitrate", "TestTargetBitrate", ""},
		{dictionary, "maxFramerate", "MaxFramerate", "TestSetParameters", "for the source to keep to"},
		{dictionary, "scaleResolutionDownBy", "ScaleResolutionDownBy", "TestSendEncodings TestSetParameters", "for the source to keep to"},
		{dictionary, "codec", "Codec", "TestSetParameters TestCodecOfAnEncoding", ""},
		{dictionary, "scalabilityMode", "ScalabilityMode", "TestSetParameters TestScalabilityMode", "of webrtc-svc; for the source to keep to"},
		{dictionary, "priority", "Priority", "TestSendEncodings", "of webrtc-priority"},
		{dictionary, "networkPriority", "NetworkPriority", "TestSetParameters", "of webrtc-priority"},
	}},
	{"RTCRtpContributingSource", RTPContributingSource{}, []member{
		{dictionary, "timestamp", "Timestamp", "TestSources", "a time.Time"},
		{dictionary, "source", "Source", "TestSources TestForward", ""},
		{dictionary, "audioLevel", "AudioLevel", "TestSources TestForward TestAudioLevel", "nil if it is not there"},
		{dictionary, "rtpTimestamp", "RTPTimestamp", "TestSources", ""},
		{dictionary, "captureTimestamp", "CaptureTimestamp", "TestSources", "of webrtc-extensions; a time.Time"},
		{dictionary, "senderCaptureTimeOffset", "SenderCaptureTimeOffset", "TestSources", "of webrtc-extensions"},
	}},
	{"MediaStreamTrack", (*RemoteTrack)(nil), []member{
		{attribute, "kind", "Kind", "TestMedia", "of the peer's; one of ours is a Track: RTPTrack, SampleTrack"},
		{attribute, "id", "ID", "TestSimulcast", ""},
		{attribute, "label", "Label", "TestAddTransceiver", ""},
		{attribute, "enabled", "Enabled", "TestInactiveEncoding", "and SetEnabled"},
		{attribute, "muted", "Muted", "TestAddTransceiver TestRollbackRestoresReceptiveness TestMedia", ""},
		{event, "mute", "OnMute", "TestDirection TestByeMutes", ""},
		{event, "unmute", "OnUnmute", "TestDirection", ""},
		{attribute, "readyState", "ReadyState", "TestDirection TestClosedMedia", ""},
		{event, "ended", "OnEnded", "TestDirection TestMediaRollback", ""},
		{event, "(not the W3C's) tones that the peer sends", "OnToneChange", "TestTonesAreHeard TestLostTones", ""},
		{method, "stop", "Stop", "TestStopRemoteTrack", ""},
	}},
	{"MediaStream", (*MediaStream)(nil), []member{
		{method, "constructor", "-", "TestMedia", "NewMediaStream"},
		{attribute, "id", "ID", "TestMedia", ""},
		{method, "getTracks", "GetTracks", "TestMediaStream", "of the peer's; LocalTracks of ours"},
		{method, "addTrack", "AddTrack", "TestMediaStream", ""},
		{method, "removeTrack", "RemoveTrack", "TestMediaStream", ""},
		{event, "addtrack", "OnAddTrack", "TestMediaStream TestStreamsOutliveTheirTracks TestStreamsChange", ""},
		{event, "removetrack", "OnRemoveTrack", "TestDirection TestStreamsOutliveTheirTracks TestStreamsChange", ""},
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
		{event, "open", "OnOpen", "TestEventDataChannel TestCloseInTheEventDataChannel", ""},
		{event, "bufferedamountlow", "OnBufferedAmountLow", "TestBufferedAmount", ""},
		{event, "error", "OnError", "TestAClosedConnection TestDataRejected", "RTCError with errorDetail and sctpCauseCode"},
		{event, "closing", "OnClosing", "TestCloseDataChannel TestEventDataChannel TestStateInTheEventClosing", ""},
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
		{attribute, "state", "State", "TestConnectionStates TestFingerprintMismatch TestRapidHandOvers TestHandOverFails", ""},
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

// dictionaries of webrtc-stats: their members are read off their types.
var statistics = []iface{
	{"RTCPeerConnectionStats", PeerConnectionStats{}, nil}, {"RTCDataChannelStats", DataChannelStats{}, nil}, {"RTCTransportStats", TransportStats{}, nil},
	{"RTCIceCandidatePairStats", ICECandidatePairStats{}, nil}, {"RTCIceCandidateStats", ICECandidateStats{}, nil}, {"RTCCertificateStats", CertificateStats{}, nil},
	{"RTCCodecStats", CodecStats{}, nil}, {"RTCInboundRtpStreamStats", InboundRTPStreamStats{}, nil}, {"RTCOutboundRtpStreamStats", OutboundRTPStreamStats{}, nil},
	{"RTCRemoteInboundRtpStreamStats", RemoteInboundRTPStreamStats{}, nil}, {"RTCRemoteOutboundRtpStreamStats", RemoteOutboundRTPStreamStats{}, nil},
	{"RTCAudioSourceStats, RTCVideoSourceStats", MediaSourceStats{}, nil},
}

// members lists the members of a dictionary, as JSON has them.
func members(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Type != reflect.TypeFor[StatsBase]():
			names = append(names, members(f.Type)...)
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}

// The table in docs names what there is: each member is a method or field here, each test exists, and what is exported and
// handled in the W3C's way is in the table.
func TestConformanceTable(t *testing.T) {
	tests := testNames(t)
	var doc bytes.Buffer
	doc.WriteString("# Conformance to webrtc-pc\n\nEvery attribute, method, event and exception of the W3C's interfaces that package `webrtc` has, and the test that shows it.\n" +
		"Written by `go test ./webrtc -run Conformance -update`; the same test checks that the names here exist.\n")
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
	doc.WriteString("\n## Statistics\n\nThe dictionaries of webrtc-stats that reports have, and their members beside id, type and timestamp; shown by `TestGetStats`, `TestMediaStats` and `TestMandatoryStats`. " +
		"What only an encoder, decoder or playout device inside knows is not among them: the program encodes, decodes and plays.\n\n| dictionary | in Go | members |\n|---|---|---|\n")
	for _, i := range statistics {
		typ := reflect.TypeOf(i.goType)
		fmt.Fprintf(&doc, "| %s | `%s` | %s |\n", i.name, typ.Name(), strings.Join(members(typ), ", "))
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
