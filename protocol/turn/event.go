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
	// User is whose it will be, and Limit how many he may have: a driver of several shards counts over all of them and fails with
	// ErrQuota where he has them already.
	User  string
	Limit int
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

// Why a driver could not open a relay socket. Any other error is a lack of capacity.
var (
	// ErrPortTaken makes the server try another port.
	ErrPortTaken = errors.New("turn: the port is taken")
	// ErrQuota says that the user has his share, counted over all shards.
	ErrQuota = errors.New("turn: the user's quota is reached")
)
