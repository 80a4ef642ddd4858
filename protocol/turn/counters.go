package turn

// Usage counts relayed datagrams and bytes of application data, up from clients to peers and down.
type Usage struct {
	PacketsUp, BytesUp, PacketsDown, BytesDown uint64
}

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
	DropUnauthorized             // wrong credentials
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

// Add adds d to c, to sum the shards of a server.
func (c *Counters) Add(d *Counters) {
	c.Allocations += d.Allocations
	c.Allocated += d.Allocated
	c.Bindings += d.Bindings
	c.Challenges += d.Challenges
	c.HandedOver += d.HandedOver
	c.Evicted += d.Evicted
	c.PacketsUp += d.PacketsUp
	c.BytesUp += d.BytesUp
	c.PacketsDown += d.PacketsDown
	c.BytesDown += d.BytesDown
	for i, n := range d.Dropped {
		c.Dropped[i] += n
	}
}
