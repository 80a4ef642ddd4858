package webrtc

import "sync"

// A handler is what calls that supersede each other are made to: of several that have not been made yet the newest counts, and
// one that comes before there is a function is kept for it. It is called in the turn of the handlers of the connection that
// the call comes from.
type handler[T any] struct {
	mu     sync.Mutex
	f      func(T)
	from   *dispatcher // of the value that waits; nil: none does
	value  T
	queued bool // it waits for its turn; else for a function
}

// set sets the function; nil removes it.
func (h *handler[T]) set(f func(T)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.f = f
	if f != nil && h.from != nil && !h.queued {
		h.queued = true
		h.from.do(h.deliver)
	}
}

// offer has the function called with a value.
func (h *handler[T]) offer(d *dispatcher, v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.queued && h.from != d: // of another connection, which has its own turn
		if f := h.f; f != nil {
			d.do(func() { f(v) })
		}
		return
	case h.f != nil && !h.queued:
		h.queued = true
		d.do(h.deliver)
	}
	h.from, h.value = d, v
}

func (h *handler[T]) deliver() {
	h.mu.Lock()
	f, v := h.f, h.value
	h.queued = false
	if f != nil {
		h.from = nil
	}
	h.mu.Unlock()
	if f != nil {
		f(v)
	}
}
