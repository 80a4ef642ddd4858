package signaling

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:generate go run github.com/parley-rtc/parley/signaling/internal/gen

// Version is the protocol's version, the `v` of [Join].
const Version = 1

// Subprotocol is the WebSocket subprotocol of [Version].
const Subprotocol = "parley.v1"

// maxRequest bounds the body of a long-poll request, and about that of its answer.
const maxRequest = 1 << 20

// Bounds of the fields, in bytes unless said otherwise. docs/signaling.md states them for clients.
const (
	maxNameLength    = 64 // characters
	maxStateLength   = 4 << 10
	maxLabelLength   = 64
	minSecretLength  = 16
	maxSecretLength  = 64
	maxTokenLength   = 2 << 10
	maxPassphrase    = 256
	maxSessionLength = 64
)

// The directives below ("wire:frame", "wire:object") steer the generator: who sends a frame (client, server or both), and whether it is a
// control frame, a message with a seq, or either. A field with `wire:"client"` or `wire:"server"` travels only in that direction.

// A Frame is one JSON object of the protocol, without its `seq` and `ack`: *[Join], *[Welcome], *[Description] and so on.
type Frame interface {
	// frameType is the `type` on the wire.
	frameType() string
	// check says what is wrong with a frame that came in, nil if nothing.
	check() *Error
}

// Join asks for a seat in a room. It is the first frame of a session.
//
//wire:frame client control
type Join struct {
	// V is the protocol's version: 1.
	V int `json:"v"`
	// Room is the name of the room.
	Room string `json:"room"`
	// Name is what the others see: up to 64 characters, no control characters, may be empty.
	Name string `json:"name"`
	// State is what the application tells the others about this peer, such as "the camera is off": a JSON object of up to 4 KiB.
	State json.RawMessage `json:"state,omitempty" ts:"Record<string, unknown>"`
	// Secret is 16 to 64 printable ASCII characters that the peer made at random. Its id is derived from it.
	Secret string `json:"secret"`
	// Token is the latest token that the peer was given in this room.
	Token string `json:"token,omitempty"`
	// Passphrase is the host's, to open a room from the internet.
	Passphrase string `json:"passphrase,omitempty"`
}

// Resume takes up a session on a new WebSocket. Its `ack` says what arrived.
//
//wire:frame client control
type Resume struct {
	// Session is the handle from `welcome`.
	Session string `json:"session"`
	// Attempt is larger than that of every resume of this session before.
	Attempt uint64 `json:"attempt"`
}

// Leave ends the session: the others see the peer leave at once. It is the last frame, so it needs no seq.
//
//wire:frame client control
type Leave struct{}

// Ack carries nothing but its `ack`: it answers a ping, and acknowledges where nothing else is to be said.
//
//wire:frame both control
type Ack struct{}

// Presence tells a peer's new name and state. The client sends all of both; the server passes them to the others.
//
//wire:frame both message
type Presence struct {
	// From is the peer that changed.
	From string `json:"from,omitempty" wire:"server"`
	// Name is as in `join`.
	Name string `json:"name"`
	// State is as in `join`; absent: none.
	State json.RawMessage `json:"state,omitempty" ts:"Record<string, unknown>"`
}

// Description carries an offer or an answer from one peer to another.
//
//wire:frame both message
type Description struct {
	// To is the id of the peer that it is for.
	To string `json:"to,omitempty" wire:"client"`
	// From is the id of the peer that sent it.
	From string `json:"from,omitempty" wire:"server"`
	// Connection names the sender's RTCPeerConnection object: up to 64 printable ASCII characters.
	Connection string `json:"connection,omitempty"`
	// ReplyTo names the receiver's object, as far as the sender knows it.
	ReplyTo string `json:"replyTo,omitempty"`
	// Description is the W3C's RTCSessionDescriptionInit.
	Description SessionDescription `json:"description"`
}

// Candidate carries an ICE candidate from one peer to another.
//
//wire:frame both message
type Candidate struct {
	// To is the id of the peer that it is for.
	To string `json:"to,omitempty" wire:"client"`
	// From is the id of the peer that sent it.
	From string `json:"from,omitempty" wire:"server"`
	// Connection names the sender's RTCPeerConnection object: up to 64 printable ASCII characters.
	Connection string `json:"connection,omitempty"`
	// ReplyTo names the receiver's object, as far as the sender knows it.
	ReplyTo string `json:"replyTo,omitempty"`
	// Candidate is the W3C's RTCIceCandidateInit.
	Candidate ICECandidate `json:"candidate"`
}

// Welcome answers `join`: the client has its seat.
//
//wire:frame server control
type Welcome struct {
	// Session is the secret handle of the seat.
	Session string `json:"session"`
	// Self is the client as the others see it.
	Self Peer `json:"self"`
	// Peers are the others in the room, those who came first first.
	Peers []Peer `json:"peers"`
	// Link is the invitation, with an address that others can reach.
	Link string `json:"link"`
	// Token is the proof that the client was let in.
	Token string `json:"token"`
	// ResumeFor is how long the seat is held when the connection drops, in seconds.
	ResumeFor int `json:"resumeFor"`
	// Limits are the bounds that the server sets.
	Limits Limits `json:"limits"`
	// ICEServers are ready for RTCPeerConnection.
	ICEServers []ICEServer `json:"iceServers"`
}

// Resumed answers `resume`. Its `ack` says which messages arrived; the client sends the rest again.
//
//wire:frame server control
type Resumed struct{}

// Ping asks for an `ack`, when there was nothing else to say for 10 seconds.
//
//wire:frame server control
type Ping struct{}

// Joined tells that a peer came into the room.
//
//wire:frame server message
type Joined struct {
	// Peer is who came.
	Peer Peer `json:"peer"`
}

// Left tells that a peer is gone from the room.
//
//wire:frame server message
type Left struct {
	// Peer is the id of who went.
	Peer string `json:"peer"`
	// Reason says how.
	Reason Reason `json:"reason"`
}

// Token brings a fresh token, every half hour. The client forgets the one before.
//
//wire:frame server message
type Token struct {
	// Token is for the next join.
	Token string `json:"token"`
}

// ICEServers brings fresh servers and credentials before those told before end. They are for connections to come and for
// ICE restarts of those that are there (RTCPeerConnection.setConfiguration).
//
//wire:frame server message
type ICEServers struct {
	// ICEServers are ready for RTCPeerConnection.
	ICEServers []ICEServer `json:"iceServers"`
}

// Draining tells that the server stops soon.
//
//wire:frame server message
type Draining struct {
	// Seconds are left, at most.
	Seconds int `json:"seconds"`
}

// Error refuses something. With `ref` it is a message with a seq and answers the message of that seq; without, it is a control frame.
//
//wire:frame server either
type Error struct {
	// Code is stable, for programs.
	Code Code `json:"code"`
	// Message is for people: what was wrong and what to do.
	Message string `json:"message"`
	// Ref is the seq of the message that is refused.
	Ref uint64 `json:"ref,omitempty"`
	// RetryAfter is when trying again makes sense, in seconds.
	RetryAfter int `json:"retryAfter,omitempty"`
}

func (e *Error) Error() string { return "signaling: " + e.Message + " (" + string(e.Code) + ")" }

// Peer is a participant as the others see it.
//
//wire:object
type Peer struct {
	// ID is derived from the peer's secret.
	ID string `json:"id"`
	// Name is what the peer calls itself.
	Name string `json:"name"`
	// State is what its application told.
	State json.RawMessage `json:"state,omitempty" ts:"Record<string, unknown>"`
}

// SessionDescription is the W3C's RTCSessionDescriptionInit.
//
//wire:object
type SessionDescription struct {
	// Type is the kind of description.
	Type SDPType `json:"type"`
	// SDP is the text; absent only in a rollback.
	SDP string `json:"sdp,omitempty"`
}

// ICECandidate is the W3C's RTCIceCandidateInit. An empty Candidate says that this generation has no more.
//
//wire:object
type ICECandidate struct {
	// Candidate is the candidate-attribute.
	Candidate string `json:"candidate,omitempty"`
	// SDPMid is the media section's identification.
	SDPMid *string `json:"sdpMid,omitempty"`
	// SDPMLineIndex is the media section's index.
	SDPMLineIndex *uint16 `json:"sdpMLineIndex,omitempty"`
	// UsernameFragment tells the ICE generation.
	UsernameFragment *string `json:"usernameFragment,omitempty"`
}

// ICEServer is the W3C's RTCIceServer.
//
//wire:object
type ICEServer struct {
	// URLs are stun:, turn: and turns: addresses.
	URLs []string `json:"urls"`
	// Username is for TURN.
	Username string `json:"username,omitempty"`
	// Credential is for TURN.
	Credential string `json:"credential,omitempty"`
}

// Limits are the bounds that a client should know.
//
//wire:object
type Limits struct {
	// MessageSize is the largest frame, in bytes.
	MessageSize int `json:"messageSize"`
	// Rate is how many frames a second the server takes on average.
	Rate int `json:"rate"`
	// Burst is how many it takes at once after a silence.
	Burst int `json:"burst"`
	// PeersPerRoom is how many seats this room has.
	PeersPerRoom int `json:"peersPerRoom"`
}

// PollRequest is the body of a long-poll request.
//
//wire:object
type PollRequest struct {
	// Session is the handle from `welcome`; absent in the first request, whose only frame is `join`.
	Session string `json:"session,omitempty"`
	// Attempt names the carrier: the same in all its requests, larger than that of every carrier of this session before.
	Attempt uint64 `json:"attempt,omitempty"`
	// Ack is the highest seq that the client has taken.
	Ack uint64 `json:"ack,omitempty"`
	// Wait is for how long the server may keep the request while there is nothing to say: 0 to 25 seconds.
	Wait int `json:"wait,omitempty"`
	// Frames are what the client says.
	Frames []json.RawMessage `json:"frames,omitempty" ts:"ClientFrame[]"`
}

// PollResponse is the answer to a long-poll request.
//
//wire:object
type PollResponse struct {
	// Frames are what the server says: every message after the request's ack, as far as they fit into 1 MiB.
	Frames []json.RawMessage `json:"frames" ts:"ServerFrame[]"`
	// Ack is the highest seq that the server has taken.
	Ack uint64 `json:"ack"`
}

// HTTPError is the body of an answer whose status is not 200.
//
//wire:object
type HTTPError struct {
	// Error says what was refused.
	Error Refusal `json:"error"`
}

// Refusal is what is said where signaling did not begin.
//
//wire:object
type Refusal struct {
	// Code is stable, for programs.
	Code Code `json:"code"`
	// Message is for people: what was wrong and what to do.
	Message string `json:"message"`
	// RetryAfter is when trying again makes sense, in seconds.
	RetryAfter int `json:"retryAfter,omitempty"`
}

// SDPType is the W3C's RTCSdpType.
type SDPType string

// The kinds of description.
const (
	SDPOffer    SDPType = "offer"
	SDPPranswer SDPType = "pranswer"
	SDPAnswer   SDPType = "answer"
	SDPRollback SDPType = "rollback"
)

// Reason says how a peer left.
type Reason string

// How peers leave.
const (
	ReasonLeft  Reason = "left"  // said so
	ReasonLost  Reason = "lost"  // dropped and did not come back in time
	ReasonEnded Reason = "ended" // the server ended the session, for instance because too much waited for the peer
)

func (*Join) frameType() string        { return "join" }
func (*Resume) frameType() string      { return "resume" }
func (*Leave) frameType() string       { return "leave" }
func (*Ack) frameType() string         { return "ack" }
func (*Presence) frameType() string    { return "presence" }
func (*Description) frameType() string { return "description" }
func (*Candidate) frameType() string   { return "candidate" }
func (*Welcome) frameType() string     { return "welcome" }
func (*Resumed) frameType() string     { return "resumed" }
func (*Ping) frameType() string        { return "ping" }
func (*Joined) frameType() string      { return "joined" }
func (*Left) frameType() string        { return "left" }
func (*Token) frameType() string       { return "token" }
func (*ICEServers) frameType() string  { return "iceServers" }
func (*Draining) frameType() string    { return "draining" }
func (*Error) frameType() string       { return "error" }

func (*Leave) check() *Error      { return nil }
func (*Ack) check() *Error        { return nil }
func (*Resumed) check() *Error    { return nil }
func (*Ping) check() *Error       { return nil }
func (*Joined) check() *Error     { return nil }
func (*Left) check() *Error       { return nil }
func (*Token) check() *Error      { return nil }
func (*ICEServers) check() *Error { return nil }
func (*Draining) check() *Error   { return nil }
func (*Error) check() *Error      { return nil }

func (f *Join) check() *Error {
	switch {
	case f.V != Version:
		return &Error{Code: CodeUnsupportedVersion, Message: fmt.Sprintf("this server speaks version %d of the protocol, the client version %d: reload the page, or update the program", Version, f.V)}
	case !ValidRoomName(f.Room):
		return invalid("room must be 1 to 64 of a-z, 0-9 and -, beginning and ending with a letter or digit")
	case len(f.Secret) < minSecretLength || len(f.Secret) > maxSecretLength || !printable(f.Secret):
		return invalid("secret must be 16 to 64 printable ASCII characters")
	case len(f.Token) > maxTokenLength:
		return invalid("token is longer than any that this server makes")
	case len(f.Passphrase) > maxPassphrase:
		return invalid("passphrase is longer than 256 bytes")
	}
	return checkAbout(f.Name, f.State)
}

func (f *Resume) check() *Error {
	if f.Session == "" || len(f.Session) > maxSessionLength {
		return invalid("session must be the handle from welcome")
	}
	return nil
}

func (f *Presence) check() *Error { return checkAbout(f.Name, f.State) }

func (f *Description) check() *Error {
	switch f.Description.Type {
	case SDPOffer, SDPPranswer, SDPAnswer:
		if f.Description.SDP == "" {
			return invalid("description.sdp is missing")
		}
	case SDPRollback:
	default:
		return invalid("description.type must be offer, pranswer, answer or rollback")
	}
	return checkLabels(f.Connection, f.ReplyTo)
}

func (f *Candidate) check() *Error { return checkLabels(f.Connection, f.ReplyTo) }

func (f *Welcome) check() *Error {
	if f.Session == "" || f.Self.ID == "" {
		return invalid("welcome lacks session or self")
	}
	return nil
}

func checkAbout(name string, state json.RawMessage) *Error {
	switch {
	case utf8.RuneCountInString(name) > maxNameLength || strings.ContainsFunc(name, unicode.IsControl):
		return invalid("name must be at most 64 characters, none of them a control character")
	case len(state) > maxStateLength || (len(state) > 0 && state[0] != '{'):
		return invalid("state must be a JSON object of at most 4 KiB")
	}
	return nil
}

func checkLabels(labels ...string) *Error {
	for _, l := range labels {
		if len(l) > maxLabelLength || !printable(l) {
			return invalid("connection and replyTo must be at most 64 printable ASCII characters")
		}
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func invalid(message string) *Error { return &Error{Code: CodeInvalid, Message: message} }
