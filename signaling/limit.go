package signaling

import (
	"net/netip"
	"time"
)

// Bounds of what addresses may do before they have a seat.
const (
	maxAddresses      = 10_000
	maxPendingPerAddr = 64
	maxPending        = 1024
)

// A bucket limits a rate: it leaks perSecond and holds burst. The zero value is empty, which permits a burst.
type bucket struct {
	level float64
	at    time.Time
}

// wait is how long until one more is permitted: 0 if it is now.
func (b *bucket) wait(now time.Time, perSecond float64, burst int) time.Duration {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.level = max(0, b.level-passed*perSecond)
	}
	b.at = now
	if over := b.level + 1 - float64(burst); over > 0 {
		return time.Duration(over / perSecond * float64(time.Second))
	}
	return 0
}

// take counts one if it is permitted, and else says how long it is not.
func (b *bucket) take(now time.Time, perSecond float64, burst int) time.Duration {
	w := b.wait(now, perSecond, burst)
	if w == 0 {
		b.level++
	}
	return w
}

// An address is what the hub remembers of one client address, or one IPv6 /64.
type address struct {
	joins   bucket
	wrong   bucket // passphrases
	pending int    // requests that are not bound to a seat
	seats   int
}

func (a *address) idle() bool { return a.pending == 0 && a.seats == 0 }

// addresses is bounded: when it is full, some address that has nothing open is forgotten.
type addresses map[netip.Prefix]*address

func (t addresses) get(addr netip.Addr) *address {
	bits := 64
	if addr = addr.Unmap(); addr.Is4() {
		bits = 32
	}
	key, _ := addr.Prefix(bits) // an invalid address has the zero key; they share it
	if a := t[key]; a != nil {
		return a
	}
	if len(t) >= maxAddresses {
		for k, a := range t { // in random order
			if a.idle() {
				delete(t, k)
				break
			}
		}
	}
	a := &address{}
	t[key] = a
	return a
}

// seconds rounds up, to 1 at least, for RetryAfter.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }
