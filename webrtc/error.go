package webrtc

import (
	"errors"
	"fmt"

	"github.com/parley-rtc/parley/protocol/jsep"
)

// An ErrorName is the name of an exception of the W3C's.
type ErrorName string

// The names. TypeError, SyntaxError and RangeError are those of JavaScript and Web IDL; the others are of DOMException.
const (
	InvalidAccessError       ErrorName = "InvalidAccessError"
	InvalidCharacterError    ErrorName = "InvalidCharacterError"
	InvalidModificationError ErrorName = "InvalidModificationError"
	InvalidStateError        ErrorName = "InvalidStateError"
	NotSupportedError        ErrorName = "NotSupportedError"
	OperationError           ErrorName = "OperationError"
	RangeError               ErrorName = "RangeError"
	SyntaxError              ErrorName = "SyntaxError"
	TypeError                ErrorName = "TypeError"
)

// An ErrorDetail says more of an OperationError (RTCErrorDetailType).
type ErrorDetail string

// The details.
const (
	DataChannelFailure ErrorDetail = "data-channel-failure"
	DTLSFailure        ErrorDetail = "dtls-failure"
	FingerprintFailure ErrorDetail = "fingerprint-failure"
	SCTPFailure        ErrorDetail = "sctp-failure"
	SDPSyntaxError     ErrorDetail = "sdp-syntax-error"
)

// An Error is what every call of this package that fails returns, and what the events OnError tell: an exception of the
// W3C's by its name, or an RTCError if Detail is set.
//
//	var e *webrtc.Error
//	if errors.As(err, &e) && e.Name == webrtc.InvalidStateError { ... }
type Error struct {
	Name ErrorName
	// Message is a sentence without its end, for people.
	Message string

	Detail ErrorDetail // "" if there is none
	// SDPLineNumber is the line of the description, from 1, that could not be read; only with SDPSyntaxError.
	SDPLineNumber int
	// SCTPCauseCode is the cause in the ABORT that the peer sent (RFC 9260 section 3.3.10); only with SCTPFailure.
	SCTPCauseCode int
	// ReceivedAlert and SentAlert are the number of the alert of DTLS that ended the connection; only with DTLSFailure
	// and FingerprintFailure, 0 if none.
	ReceivedAlert, SentAlert int
}

// Error returns the name and the message.
func (e *Error) Error() string { return fmt.Sprintf("webrtc: %s: %s", e.Name, e.Message) }

// ErrBufferFull is what [DataChannel.Send] returns when as much is buffered as may be: wait with
// [DataChannel.SendContext], or for [DataChannel.OnBufferedAmountLow].
var ErrBufferFull = &Error{Name: OperationError, Message: "the send buffer is full"}

// ErrCodec is what [SampleTrack.WriteSample] and [RTPTrack.WriteRTP] return when everybody to whom the track goes has agreed to other
// codecs than its own: [RTPSender.GetParameters] says to which.
var ErrCodec = &Error{Name: OperationError, Message: "no peer takes the track's codec"}

func fail(name ErrorName, format string, args ...any) error {
	return &Error{Name: name, Message: fmt.Sprintf(format, args...)}
}

var errClosed = &Error{Name: InvalidStateError, Message: "the connection is closed"}

// exception makes an error of offer and answer one of ours.
func exception(err error) error {
	if err == nil {
		return nil
	}
	var e *jsep.Error
	if errors.As(err, &e) {
		return &Error{Name: ErrorName(e.Name), Message: e.Reason, Detail: ErrorDetail(e.Detail), SDPLineNumber: e.Line}
	}
	return &Error{Name: OperationError, Message: err.Error()}
}
