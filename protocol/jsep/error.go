package jsep

import (
	"errors"
	"fmt"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// The W3C's names of errors.
const (
	InvalidStateError        = "InvalidStateError"
	InvalidAccessError       = "InvalidAccessError"
	InvalidModificationError = "InvalidModificationError"
	OperationError           = "OperationError"
	TypeError                = "TypeError"
)

// SyntaxError is the detail of an OperationError for text that is no session description (RTCErrorDetailType).
const SyntaxError = "sdp-syntax-error"

// An Error is why a call was refused. The session is as it was before.
type Error struct {
	Name   string // the W3C's
	Detail string // RTCErrorDetailType, or ""
	Line   int    // sdpLineNumber; 0 if none
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("jsep: %s: %s", e.Name, e.Reason) }

func fail(name, format string, args ...any) error {
	return &Error{Name: name, Reason: fmt.Sprintf(format, args...)}
}

// syntax wraps an error of package sdp.
func syntax(err error) error {
	var e *sdp.Error
	if errors.As(err, &e) {
		return &Error{OperationError, SyntaxError, max(e.Line, 1), e.Error()}
	}
	return &Error{Name: OperationError, Reason: err.Error()}
}
