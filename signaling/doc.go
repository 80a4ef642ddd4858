// Package signaling is how peers find each other and exchange descriptions and candidates before a path between them exists: the part that WebRTC leaves
// to its users (RFC 8825, section 2). The protocol is Parley's own, and docs/signaling.md is its specification: JSON over a WebSocket
// (RFC 6455) or over HTTP long-poll, with the same frames, between which a client may change at any moment.
//
// A [Hub] is the server's side, an [net/http.Handler]. It has rooms, peers, limits and tokens; it does not listen, and does not know what a session
// description means. [Dial] is the client's side: it joins a [Room] and keeps the connection, whatever happens to network and server. [Negotiate] sets up
// and keeps a webrtc.PeerConnection to a peer of the room, and [Meet] one to everybody in it.
//
// Out of scope: messages between peers that are not about setting up a connection.
package signaling
