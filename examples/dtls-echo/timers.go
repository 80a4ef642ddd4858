package main

import "github.com/parley-rtc/parley/protocol/mono"

func (t *tenant) HandleTimeout(now mono.Time) {
	for _, e := range t.ends {
		if e.HandleTimeout(now); now >= e.until {
			e.Close(now)
		}
	}
}

func (t *tenant) NextTimeout() mono.Time {
	next := mono.Never
	for _, e := range t.ends {
		next = mono.Min(next, mono.Min(e.until, e.NextTimeout()))
	}
	return next
}

// hangUp takes leave of everybody, on the loop and before it closes.
func (t *tenant) hangUp() {
	t.lease.Post(func(now mono.Time) {
		for _, e := range t.ends {
			e.Close(now)
		}
	})
}
