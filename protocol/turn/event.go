package turn

import (
	"errors"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// An Event is what a Server wants of its driver or tells it: an OpenRelay, CloseSocket, Allocated or Released.
type Event interface{ event() }

// OpenRelay asks for a socket to relay from. The driver binds a UDP socket and calls RelayOpened, or RelayFailed if it
// cannot, within 10 seconds, with the same Request.
type OpenRelay struct {
	Request uint32
	// Address is the transport address that peers will see: one of Config.Relay, and the port to bind.
	Address netip.AddrPort
	// Token, if not zero, asks for the socket that another shard holds in reserve under this token; Address is not valid
	// then. The driver finds the shard whose TakeReservation knows the token and hands the socket over, or fails.
	Token uint64
}

// CloseSocket says that a socket is not needed any more: a relay socket, or a client's stream that has had no
// allocation for a minute. The driver closes it; its number may be used again. For a stream it calls RemoveSocket.
type CloseSocket struct{ Socket pkt.Socket }

// Allocated says that a client has an allocation.
type Allocated struct {
	User    string // name of the account, without expiry and limits
	Client  pkt.Path
	Relayed [2]netip.AddrPort // IPv4, IPv6; invalid if not allocated
}

// Released says that an allocation is gone, and what it was used for.
type Released struct {
	User   string
	Client pkt.Path
	Age    time.Duration
	Usage  Usage
}

func (OpenRelay) event()   {}
func (CloseSocket) event() {}
func (Allocated) event()   {}
func (Released) event()    {}

// Usage counts relayed datagrams and bytes of application data, up from clients to peers and down.
type Usage struct {
	PacketsUp, BytesUp, PacketsDown, BytesDown uint64
}

// Why a driver could not open a relay socket. Any other error is a lack of capacity.
var (
	// ErrPortTaken makes the server try another port.
	ErrPortTaken = errors.New("turn: the port is taken")
	// ErrQuota says that the user has his share, counted over all shards.
	ErrQuota = errors.New("turn: the user's quota is reached")
)

// A Drop is a reason for which a packet went no further, or a request no further than an error.
type Drop uint8

// The reasons. Where RFC 8656 asks for an error response, a request also gets that.
const (
	DropSocket       Drop = iota // a socket that the server does not know
	DropNotLocal                 // a client from outside, and Config.Public is false
	DropForeign                  // neither STUN nor ChannelData
	DropMalformed                // STUN or ChannelData, but broken
	DropMethod                   // a method or class that a server does not take
	DropReplyLimit               // an unauthenticated reply too many for the source prefix
	DropUnauthorized             // no, wrong or stale credentials
	DropRequest                  // a request that got another error
	DropNoAllocation             // data on a 5-tuple without an allocation
	DropNoChannel                // ChannelData on a channel that is not bound
	DropNoPermission             // from or to a peer without permission
	DropDenied                   // to an address that nothing is relayed to
	DropBandwidth                // more than the user may
	DropTooLong                  // a request of more than 8 KiB, or data that does not fit into the message that it would become
	DropNoRelay                  // to a relay address of ours that no allocation has
	DropICMP                     // an ICMP message of no use to a client
	DropFull                     // the output is full: the driver does not drain it
	numDrops
)

var dropNames = [numDrops]string{
	"unknown socket", "client not local", "foreign protocol", "malformed", "method or class", "reply limit",
	"unauthorized", "request refused", "no allocation", "no channel", "no permission", "denied address", "bandwidth",
	"too long", "no such relay", "ICMP", "output full",
}

func (d Drop) String() string {
	if d < numDrops {
		return dropNames[d]
	}
	return "unknown reason"
}

// Drops lists all reasons, for whoever shows counters.
func Drops() []Drop {
	all := make([]Drop, numDrops)
	for i := range all {
		all[i] = Drop(i)
	}
	return all
}

// Counters are what a Server has done and seen. All but Allocations only grow.
type Counters struct {
	Allocations int    // now
	Allocated   uint64 // ever
	Bindings    uint64 // STUN Binding requests answered
	Challenges  uint64 // requests answered with 401 or 438
	HandedOver  uint64 // datagrams from one allocation to another, inside the process
	Evicted     uint64 // revocations forgotten before their time, see Server.Revoke
	Usage
	Dropped [numDrops]uint64
}
