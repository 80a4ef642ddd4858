package turn

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
