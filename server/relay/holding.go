package relay

import (
	"net/netip"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/turn"
)

// holding is a relayed address and the user who has it.
type holding struct {
	address netip.AddrPort
	user    string
}

// holdings are a user's relayed addresses on all shards, those in reserve included: an engine sees its own only, and the limits of
// an account are for all of them.
type holdings struct {
	count int
	on    map[*shard]int
}

// claim gives an address to a user of a shard, who may have so many. The error is ErrPortTaken or ErrQuota.
func (r *Relay) claim(h holding, s *shard, limit int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owners[h.address] != nil {
		return turn.ErrPortTaken
	}
	u := r.users[h.user]
	if u == nil {
		u = &holdings{on: map[*shard]int{}}
		r.users[h.user] = u
	}
	if u.count >= limit {
		return turn.ErrQuota
	}
	r.owners[h.address] = s
	u.count++
	if u.on[s]++; u.on[s] == 1 {
		u.share(h.user)
	}
	return nil
}

// unclaim takes it back.
func (r *Relay) unclaim(h holding, s *shard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owners[h.address] != s {
		return
	}
	delete(r.owners, h.address)
	u := r.users[h.user]
	if u.count--; u.count == 0 {
		delete(r.users, h.user)
		return
	}
	if u.on[s]--; u.on[s] == 0 {
		delete(u.on, s)
		u.share(h.user)
	}
}

// share tells the shards of a user that they are others.
func (u *holdings) share(name string) {
	n := len(u.on)
	for s := range u.on {
		s.lease.Post(func(mono.Time) { s.engine.Share(name, n) })
	}
}
