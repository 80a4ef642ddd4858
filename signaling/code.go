package signaling

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Code is the stable name of a refusal.
type Code string

// The refusals. Those from CodeHostForbidden on are answers of HTTP, before signaling begins.
const (
	// CodeMalformed: not JSON, not an object, a message without `seq` or with a gap before it, or the first frame is neither `join` nor
	// `resume`; the session ends (after a gap: the carrier only).
	CodeMalformed Code = "malformed"
	// CodeMessageTooLarge: a frame is over 256 KiB; the session ends.
	CodeMessageTooLarge Code = "message-too-large"
	// CodeUnknownType: this version has no such type; with `ref` that message is passed over, and a control frame ends the session.
	CodeUnknownType Code = "unknown-type"
	// CodeUnsupportedVersion: `v` is not 1, or the WebSocket's subprotocol is not `parley.v1`; the join is refused.
	CodeUnsupportedVersion Code = "unsupported-version"
	// CodeInvalid: a field is missing, too long or of the wrong kind, and the message names it; the join is refused, or `ref`.
	CodeInvalid Code = "invalid"
	// CodeRateLimited: more than 60 frames a second on average, or 300 at once; the carrier ends without taking the message, resume after
	// `retryAfter`.
	CodeRateLimited Code = "rate-limited"
	// CodeTooManyAttempts: more than 30 joins or 5 wrong passphrases a minute, or 64 connections without a seat, from one address (IPv6: one
	// /64); the join is refused, try after `retryAfter`.
	CodeTooManyAttempts Code = "too-many-attempts"
	// CodeRoomFull: the room has as many peers as it may; the join is refused.
	CodeRoomFull Code = "room-full"
	// CodeTooManyRooms: the server has as many rooms as it may; the join is refused.
	CodeTooManyRooms Code = "too-many-rooms"
	// CodeTooManyPeers: the server has as many peers as it may; the join is refused.
	CodeTooManyPeers Code = "too-many-peers"
	// CodePassphraseRequired: see "Who may join"; the join is refused.
	CodePassphraseRequired Code = "passphrase-required"
	// CodePassphraseWrong: see "Who may join"; the join is refused.
	CodePassphraseWrong Code = "passphrase-wrong"
	// CodeRoomNotOpen: a guest is early; the join is refused, try after `retryAfter`.
	CodeRoomNotOpen Code = "room-not-open"
	// CodeTokenInvalid: the token is not of this server, room and peer, or too old, and nothing else lets the client in; the join is refused,
	// forget the token and join again.
	CodeTokenInvalid Code = "token-invalid"
	// CodeSessionUnknown: a resume of a seat that is gone; join again.
	CodeSessionUnknown Code = "session-unknown"
	// CodeSessionReplaced: the same peer joined again; the session ends, do not come back.
	CodeSessionReplaced Code = "session-replaced"
	// CodeCarrierReplaced: a resume with an attempt at least as large came first; this carrier ends, the session goes on with the other.
	CodeCarrierReplaced Code = "carrier-replaced"
	// CodeNoSuchPeer: `to` is not in the room; `ref`, nothing else happens.
	CodeNoSuchPeer Code = "no-such-peer"
	// CodeTooSlow: too much waits for the client's acknowledgement; the session ends. With `ref`: too much waits for the receiver of that message.
	CodeTooSlow Code = "too-slow"
	// CodeDraining: the server is stopping; the join is refused or the carrier ends, try after `retryAfter`.
	CodeDraining Code = "draining"

	// CodeHostForbidden: 421, Host is not a name or address of this server.
	CodeHostForbidden Code = "host-forbidden"
	// CodeOriginForbidden: 403, Origin is not this server's own.
	CodeOriginForbidden Code = "origin-forbidden"
	// CodeClientForbidden: 403, the client is not on a network that is served.
	CodeClientForbidden Code = "client-forbidden"
	// CodeForwardedUntrusted: 403, the request came through a proxy that was not named by `--trusted-proxy`.
	CodeForwardedUntrusted Code = "forwarded-untrusted"
	// CodeForwardedMalformed: 400, what the trusted proxy says of its client cannot be understood.
	CodeForwardedMalformed Code = "forwarded-malformed"
	// CodeHTTPSRequired: 403, signaling over plain http from another machine; use https.
	CodeHTTPSRequired Code = "https-required"
	// CodeMethod: 405, neither a WebSocket nor a POST.
	CodeMethod Code = "method"
	// CodeMediaType: 415, the body is not application/json.
	CodeMediaType Code = "media-type"
)

// WriteHTTPError answers a request that signaling did not begin for, in the shape of [HTTPError].
func WriteHTTPError(w http.ResponseWriter, status int, e *Error) {
	body, err := json.Marshal(HTTPError{Refusal{Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter}})
	if err != nil {
		panic(err) // strings and a number
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
