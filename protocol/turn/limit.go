package turn

import (
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	// repliesPerSecond is how many unauthenticated replies a source prefix gets: enough for a crowd behind one address
	// that joins at once, too few to be worth forging a victim's address for.
	repliesPerSecond = 50
	replySlot        = 100 * time.Millisecond
	replySlots       = int64(time.Second/replySlot) + 1 // one more, so that no second anywhere has more
	// maxPrefixes bounds the prefixes that are counted at a time; beyond it new ones get no reply.
	maxPrefixes = 1 << 15
)

// replyLimiter counts unauthenticated replies to source prefixes, /24 and /56, over a sliding second.
type replyLimiter struct {
	prefixes map[[8]byte]replyCount
	swept    int64 // the slot of the last sweep
}

type replyCount struct {
	slot  int64 // the newest slot that has a count
	count [replySlots]uint8
}

// take reports whether another reply may go to a, and counts it.
func (l *replyLimiter) take(now mono.Time, a netip.Addr) bool {
	slot := int64(uint64(now) / uint64(replySlot)) // any time is a slot, one before zero too
	key := replyPrefix(a)
	c, known := l.prefixes[key]
	if !known {
		if len(l.prefixes) >= maxPrefixes && !l.sweep(slot) {
			return false
		}
		c.slot = slot
	}
	for c.slot < slot {
		if slot-c.slot >= replySlots {
			c = replyCount{slot: slot}
			break
		}
		c.slot++
		c.count[c.slot%replySlots] = 0
	}
	sum := 0
	for _, n := range c.count {
		sum += int(n)
	}
	if sum >= repliesPerSecond {
		return false
	}
	c.count[slot%replySlots]++
	if l.prefixes == nil {
		l.prefixes = make(map[[8]byte]replyCount)
	}
	l.prefixes[key] = c
	return true
}

// sweep forgets prefixes that had no reply for a second, at most once in each slot, and reports whether there is room.
func (l *replyLimiter) sweep(slot int64) bool {
	if l.swept == slot {
		return false
	}
	l.swept = slot
	for k, c := range l.prefixes {
		if slot-c.slot >= replySlots {
			delete(l.prefixes, k)
		}
	}
	return len(l.prefixes) < maxPrefixes
}

// replyPrefix is the /24 or /56 of an address.
func replyPrefix(a netip.Addr) (key [8]byte) {
	if a.Is4() {
		b := a.As4()
		copy(key[1:], b[:3])
		key[0] = 4
		return key
	}
	b := a.As16()
	copy(key[1:], b[:7])
	key[0] = 6
	return key
}

// quotaAddress is what PerAddress counts by: the address, or the /64 that a subscriber has to himself.
func quotaAddress(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// meter lets bytes through at a rate with a burst of one second. It is the time at which what went through would
// have, had it gone evenly.
type meter mono.Time

func (m *meter) take(now mono.Time, n int, rate int64) bool {
	if rate == 0 {
		return true
	}
	at := max(mono.Time(*m), now)
	if at.Sub(now) >= time.Second {
		return false
	}
	*m = meter(at.Add(time.Duration(int64(n) * int64(time.Second) / rate)))
	return true
}
