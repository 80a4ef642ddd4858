package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Bounds of what an encoding keeps: at 10 Mbit/s they are reached after three seconds.
const (
	maxHistoryBytes = 4 << 20
	maxHistoryItems = 8 << 10
	minHistoryBytes = 4 << 10
	minHistoryItems = 32
)

// A history holds what an encoding sends: what waits for its turn, and behind that what may be asked for again. The bytes lie
// in a ring, in which the newest overwrite the oldest; it grows until what is overwritten is older than anybody asks for.
type history struct {
	arena []byte
	end   int64  // where the next one goes: counted from the first byte ever, modulo len(arena) in the arena
	items []item // by number, modulo their length, which is a power of two

	first, unsent, next int64 // numbers: kept from first on, waiting from unsent on
}

// An item is one packet. Its number is its sequence number, not wrapped.
type item struct {
	at           int64 // where its turn is in the arena: what is there goes before those behind are overwritten
	from         int64 // where its bytes are: there, or behind, if it came late. Values of extensions, then the payload
	values, size int
	timestamp    uint32
	payloadType  rtp.PayloadType
	marker       bool
	keyFrame     bool
	hole         bool // it is not here: only its number is taken
	late         bool // it came when its turn was over, and waits to be sent for the first time
	again        bool // it waits to be sent once more
	echoed       bool // it was sent twice for two requests in a row
	queued       mono.Time
	sent         mono.Time // last
}

// begin makes an empty history whose first packet has the given number.
func (h *history) begin(number int64) { h.first, h.unsent, h.next = number, number, number }

func (h *history) item(number int64) *item { return &h.items[int(number)&(len(h.items)-1)] }

// find returns a packet that was sent and is still here, by its sequence number; nil if there is none.
func (h *history) find(seq uint16) (*item, int64) {
	number := h.unsent - 1
	number -= int64(uint16(number) - seq)
	if number < h.first || number >= h.unsent {
		return nil, 0
	}
	return h.item(number), number
}

// values returns the extensions' values and payload the packet was pushed with. They are overwritten sooner or later.
func (h *history) content(i *item) (values, payload []byte) {
	from := int(i.from % int64(len(h.arena)))
	b := h.arena[from : from+i.values+i.size]
	return b[:i.values], b[i.values:]
}

// push takes a packet's place, with room for n bytes, which it returns. It is nil if there is none, because all that is here
// waits to be sent. What was sent less than keep ago is not given up as long as the bounds let the history grow.
func (h *history) push(now mono.Time, n int, keep time.Duration) (*item, []byte) {
	since := now.Add(-keep)
	if h.next-h.first == int64(len(h.items)) && !h.evict(since, len(h.items) < maxHistoryItems, h.growItems) {
		return nil, nil
	}
	at, b := h.room(since, n)
	if b == nil {
		return nil, nil
	}
	i := h.item(h.next)
	*i = item{at: at, from: at, queued: now}
	h.next++
	return i, b
}

// skip leaves numbers free up to one, for packets that may come late. It is false if there is no room for that.
func (h *history) skip(now mono.Time, number int64, keep time.Duration) bool {
	for h.next < number {
		i, _ := h.push(now, 0, keep)
		if i == nil {
			return false
		}
		i.hole, i.sent = true, now
	}
	return true
}

// fill is push for a number that was left free.
func (h *history) fill(now mono.Time, number int64, n int, keep time.Duration) (*item, []byte) {
	at, b := h.room(now.Add(-keep), n)
	if b == nil || number < h.first {
		return nil, nil
	}
	i := h.item(number)
	*i = item{at: i.at, from: at, queued: now, late: number < h.unsent}
	return i, b
}

// room takes n bytes of the arena, and returns where they begin.
func (h *history) room(since mono.Time, n int) (at int64, b []byte) {
	for {
		size := int64(len(h.arena))
		at := h.end
		if size > 0 && at%size+int64(n) > size { // a packet lies in one piece
			at += size - at%size
		}
		if size > 0 && int64(n) <= size && (h.first == h.next || h.item(h.first).at >= at+int64(n)-size) {
			h.end = at + int64(n)
			from := int(at % size)
			return at, h.arena[from : from : from+n]
		}
		if !h.evict(since, size < maxHistoryBytes, func() { h.growArena(n) }) {
			return 0, nil
		}
	}
}

// evict gives up the oldest packet, or lets something grow instead if that may and the packet is still of use.
func (h *history) evict(since mono.Time, mayGrow bool, grow func()) bool {
	oldest := h.first < h.unsent
	switch {
	case mayGrow && (!oldest || h.item(h.first).sent > since):
		grow()
	case !oldest:
		return false
	default:
		h.first++
	}
	return true
}

func (h *history) growItems() {
	items := make([]item, max(2*len(h.items), minHistoryItems))
	for n := h.first; n < h.next; n++ {
		items[int(n)&(len(items)-1)] = *h.item(n)
	}
	h.items = items
}

func (h *history) growArena(n int) {
	arena := make([]byte, min(max(2*len(h.arena), minHistoryBytes, 2*n), maxHistoryBytes))
	end := 0
	for n := h.first; n < h.next; n++ {
		i := h.item(n)
		values, payload := h.content(i)
		i.at, i.from = int64(end), int64(end)
		end += copy(arena[end:], values)
		end += copy(arena[end:], payload)
	}
	h.arena, h.end = arena, int64(end)
}

// drop gives up what waits.
func (h *history) drop() { h.next = h.unsent }
