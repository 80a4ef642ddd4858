package loop

import (
	"sync"
	"sync/atomic"

	"github.com/parley-rtc/parley/protocol/mono"
)

// inbox is what others hand to a loop.
//
// No wake-up is lost: the loop publishes that it parks, sets its deadline, and then looks into the inbox a last time; a
// poster appends, and then swaps the flag. Whichever comes second sees the other. Waking moves the deadline into the
// past, so a wake-up that comes too late for one park ends the next one early, which costs a turn and nothing else.
type inbox struct {
	parked atomic.Bool
	wake   func()

	mu     sync.Mutex
	posts  []post
	spare  []post // the buffer that the loop works on
	closed bool
}

// post is something to run, and the lease that it is about, or nil.
type post struct {
	lease *Lease
	run   func(now mono.Time)
	ran   chan struct{} // closed at the end of the turn, if it is not nil
}

// spareLimit is how many posts a buffer may have room for and be used again: beyond it a flood would be paid for ever.
const spareLimit = 64 << 10

func (b *inbox) post(p post) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.posts = append(b.posts, p)
	b.mu.Unlock()
	if b.parked.Swap(false) {
		b.wake()
	}
	return true
}

// take returns the posts so far; they are valid until the next take.
func (b *inbox) take() []post {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.posts) == 0 {
		return nil
	}
	taken := b.posts
	b.posts = b.spare[:0]
	b.spare = nil
	if cap(taken) <= spareLimit {
		b.spare = taken
	}
	return taken
}

func (b *inbox) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.posts) == 0
}

// close takes the last posts; none is accepted from now on.
func (b *inbox) close() []post {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	taken := b.posts
	b.posts, b.spare = nil, nil
	return taken
}
