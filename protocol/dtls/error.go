package dtls

import (
	"errors"
	"fmt"
)

// Alert is the description of an alert (RFC 8446 section 6, RFC 5246 section 7.2).
type Alert uint8

const (
	AlertCloseNotify           Alert = 0
	AlertUnexpectedMessage     Alert = 10
	AlertHandshakeFailure      Alert = 40
	AlertBadCertificate        Alert = 42
	AlertUnsupportedCert       Alert = 43
	AlertIllegalParameter      Alert = 47
	AlertDecodeError           Alert = 50
	AlertDecryptError          Alert = 51
	AlertTooManyCIDsRequested  Alert = 52
	AlertProtocolVersion       Alert = 70
	AlertInternalError         Alert = 80
	AlertUserCanceled          Alert = 90
	AlertNoRenegotiation       Alert = 100
	AlertMissingExtension      Alert = 109
	AlertUnsupportedExtension  Alert = 110
	AlertCertificateRequired   Alert = 116
	AlertNoApplicationProtocol Alert = 120
)

var alertNames = map[Alert]string{
	AlertCloseNotify: "close_notify", AlertUnexpectedMessage: "unexpected_message", AlertHandshakeFailure: "handshake_failure",
	AlertBadCertificate: "bad_certificate", AlertUnsupportedCert: "unsupported_certificate", AlertIllegalParameter: "illegal_parameter",
	AlertDecodeError: "decode_error", AlertDecryptError: "decrypt_error", AlertTooManyCIDsRequested: "too_many_cids_requested",
	AlertProtocolVersion: "protocol_version", AlertInternalError: "internal_error", AlertUserCanceled: "user_canceled",
	AlertNoRenegotiation: "no_renegotiation", AlertMissingExtension: "missing_extension",
	AlertUnsupportedExtension: "unsupported_extension", AlertCertificateRequired: "certificate_required",
	AlertNoApplicationProtocol: "no_application_protocol",
}

// String returns the name that the RFC gives the alert.
func (a Alert) String() string {
	if s, ok := alertNames[a]; ok {
		return s
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Fault says whose doing the end of a connection was.
type Fault uint8

const (
	FaultLocal   Fault = iota + 1 // ours: the caller refused, or something here failed
	FaultPeer                     // the peer broke the protocol, or offered nothing that we can do
	FaultNetwork                  // nothing came in time
)

func (f Fault) String() string {
	switch f {
	case FaultLocal:
		return "our side"
	case FaultPeer:
		return "the peer"
	case FaultNetwork:
		return "the network"
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}

// An Error ended a connection. Nothing else does, but for [Conn.Close] and the peer's close_notify.
type Error struct {
	Alert    Alert  // what was sent to the peer, or came from it if Received
	Reason   string // what was wrong, in words
	Fault    Fault
	Received bool // the peer ended the connection by this alert
}

func (e *Error) Error() string {
	if e.Received {
		return fmt.Sprintf("dtls: the peer ended the connection: %s: %s", e.Alert, e.Reason)
	}
	return fmt.Sprintf("dtls: %s: %s (%s)", e.Reason, e.Alert, e.Fault)
}

// Errors of calls, which end nothing.
var (
	ErrNotConnected = errors.New("dtls: the handshake is not complete, or the peer's certificate not accepted yet")
	ErrClosed       = errors.New("dtls: the connection is closed")
	ErrTooLong      = errors.New("dtls: a record holds 16384 bytes at most")
	ErrKeysSpent    = errors.New("dtls: the keys have protected as many records as they may: DTLS 1.2 has no others, or the peer does not acknowledge new ones")
	ErrKeyUpdate    = errors.New("dtls: no key update is possible now: DTLS 1.2 has none, or one is under way")
)

// peerError blames the peer, by the alert.
func peerError(a Alert, format string, args ...any) error {
	return &Error{Alert: a, Reason: fmt.Sprintf(format, args...), Fault: FaultPeer}
}

// localError blames us.
func localError(format string, args ...any) error {
	return &Error{Alert: AlertInternalError, Reason: fmt.Sprintf(format, args...), Fault: FaultLocal}
}

// malformed says that a handshake message cannot be read, or has no place here. If it came unprotected anybody may have
// sent it: it is dropped, as if it never came. If it came protected it is the peer's, and fatal.
type malformed struct {
	alert  Alert
	reason string
}

func (m *malformed) Error() string { return m.reason }

func errMalformed(t handshakeType) error {
	return &malformed{AlertDecodeError, fmt.Sprintf("the %s cannot be parsed", t)}
}

func errUnexpected(got handshakeType, want string) error {
	return &malformed{AlertUnexpectedMessage, fmt.Sprintf("%s where %s was due", got, want)}
}
