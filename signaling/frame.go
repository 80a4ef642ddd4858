package signaling

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// An incoming frame was parsed. Frame is nil if the type is unknown; bad says what is wrong with its fields, if anything.
type incoming struct {
	Type string `json:"type"`
	Seq  uint64 `json:"seq"`
	Ack  uint64 `json:"ack"`

	frame Frame
	bad   *Error
}

// parse reads a frame. newFrame makes an empty one by type, nil if unknown. The error is what makes it no frame at all.
func parse(raw []byte, newFrame func(string) Frame) (in incoming, err *Error) {
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(raw) {
		return in, malformed("a frame must be a JSON object in UTF-8")
	}
	if e := json.Unmarshal(raw, &in); e != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(e, &kind) {
			return in, malformed("type must be a string, seq and ack whole numbers")
		}
		return in, malformed("a frame must be JSON: " + e.Error())
	}
	if in.frame = newFrame(in.Type); in.frame == nil {
		return in, nil
	}
	if e := json.Unmarshal(raw, in.frame); e != nil {
		in.bad = invalid("a field is of the wrong kind: " + e.Error())
		var kind *json.UnmarshalTypeError
		if errors.As(e, &kind) {
			in.bad = invalid(kind.Field + " is of the wrong kind: a " + kind.Value)
		}
		return in, nil
	}
	in.bad = in.frame.check()
	return in, nil
}

func newClientFrame(typ string) Frame {
	switch typ {
	case "join":
		return new(Join)
	case "resume":
		return new(Resume)
	case "leave":
		return new(Leave)
	case "ack":
		return new(Ack)
	case "presence":
		return new(Presence)
	case "description":
		return new(Description)
	case "candidate":
		return new(Candidate)
	}
	return nil
}

func newServerFrame(typ string) Frame {
	switch typ {
	case "ack":
		return new(Ack)
	case "presence":
		return new(Presence)
	case "description":
		return new(Description)
	case "candidate":
		return new(Candidate)
	case "welcome":
		return new(Welcome)
	case "resumed":
		return new(Resumed)
	case "ping":
		return new(Ping)
	case "joined":
		return new(Joined)
	case "left":
		return new(Left)
	case "token":
		return new(Token)
	case "iceServers":
		return new(ICEServers)
	case "draining":
		return new(Draining)
	case "error":
		return new(Error)
	}
	return nil
}

// encodeBody is the JSON object of a frame's own fields. The error is one of the caller's json.RawMessage.
func encodeBody(f Frame) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // frames must not grow on their way
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// control is a control frame with an ack.
func control(f Frame, ack uint64) []byte {
	body, err := encodeBody(f)
	if err != nil {
		panic(err) // what it is made of was checked
	}
	return queued(appendBody(appendHeader(nil, f.frameType(), 0), body)).appendTo(nil, ack)
}

func malformed(message string) *Error { return &Error{Code: CodeMalformed, Message: message} }
