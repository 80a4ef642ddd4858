package peer

import (
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// EventKind says what an [Event] tells.
type EventKind uint8

const (
	// OfICE: Event.ICE is an event of the transport's agent.
	OfICE EventKind = iota + 1
	// OfDTLS: the state of the transport's DTLS is Event.DTLS now, with Event.Err if it failed.
	OfDTLS
	// OfSCTP: Event.SCTP is an event of the association.
	OfSCTP
	// OfRTP: Event.RTP is an event of the transport's session of RTP.
	OfRTP
	// TransportClosed: the transport is gone; the last event of a transport.
	TransportClosed
	// Closed: the last event of a [Peer], after Close.
	Closed
)

// An Event is something that the owner must know.
type Event struct {
	Kind      EventKind
	Transport int // the id of jsep; 0 with those of a [Secure] alone, and with Closed
	ICE       ice.Event
	DTLS      DTLSState
	SCTP      sctp.Event // its data are valid until the next call of NextEvent
	RTP       session.Event
	Err       error
}

// A DTLSState is that of the W3C's RTCDtlsTransport (RTCDtlsTransportState).
type DTLSState uint8

// The states of RTCDtlsTransportState, with their meanings there.
const (
	// DTLSNew: the handshake has not begun.
	DTLSNew DTLSState = iota
	// DTLSConnecting: the handshake runs, or is complete and the certificate not judged yet.
	DTLSConnecting
	// DTLSConnected: the peer's certificate is the one that was promised.
	DTLSConnected
	// DTLSClosed: by Close, or by the peer's close_notify.
	DTLSClosed
	// DTLSFailed: by an alert, or because the certificate is not the one that was promised.
	DTLSFailed
)

// String returns the W3C's name.
func (s DTLSState) String() string {
	return [...]string{"new", "connecting", "connected", "closed", "failed"}[s]
}
