package loop

import "github.com/parley-rtc/parley/internal/udp"

// Counters is what one loop did. The fields are totals, except for the three that say how many there are now.
type Counters struct {
	UDP udp.Counters

	Turns    uint64 // of the loop
	Parks    uint64 // turns that found nothing to do, and waited if that was still so
	Posts    uint64 // that ran
	Timeouts uint64 // timers that were due
	Stale    uint64 // datagrams, transmits and reports for sockets that were closed
	Starved  uint64 // times that a tenant had something which no empty batch has room for: a defect of the tenant

	StreamFrames      uint64 // received
	StreamFramesSent  uint64
	StreamDrops       uint64 // media frames dropped because a stream was slow
	StreamsOverflowed uint64 // streams closed because more than media was waiting
	StreamsBroken     uint64 // streams closed because what came is no frame, or came too slowly

	Tenants int
	Sockets int // streams included
	Timers  int
}

// Add adds d to c, to sum the loops of a program.
func (c *Counters) Add(d *Counters) {
	c.UDP.Add(&d.UDP)
	c.Turns += d.Turns
	c.Parks += d.Parks
	c.Posts += d.Posts
	c.Timeouts += d.Timeouts
	c.Stale += d.Stale
	c.Starved += d.Starved
	c.StreamFrames += d.StreamFrames
	c.StreamFramesSent += d.StreamFramesSent
	c.StreamDrops += d.StreamDrops
	c.StreamsOverflowed += d.StreamsOverflowed
	c.StreamsBroken += d.StreamsBroken
	c.Tenants += d.Tenants
	c.Sockets += d.Sockets
	c.Timers += d.Timers
}
