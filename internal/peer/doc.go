// Package peer composes the engines of one peer. They meet here and nowhere else.
//
// What there is so far is [Secure]: DTLS and, within it, the SCTP association of the data channels (RFC 8261), on a
// path that the caller knows to be good; and [Demultiplex], which tells by the first byte for whom a datagram is.
// ICE, and SRTP beside DTLS, are still to come.
//
// As every engine, a Secure is told the time and never asks, and is not safe for concurrent use.
package peer
