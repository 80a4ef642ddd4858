package main

import "testing"

// Half a second of the game: what is heard is the newest, and the channel is one that loses rather than waits.
func TestGame(t *testing.T) {
	const ticks = 30
	a, b, err := pair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.ch.Ordered() || a.ch.MaxRetransmits() == nil || *a.ch.MaxRetransmits() != 0 {
		t.Error("the channel waits for what was lost")
	}
	done := make(chan error, 1)
	go func() { done <- b.play(t.Context(), ticks) }()
	if err := a.play(t.Context(), ticks); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a.tick != ticks || a.received == 0 || a.newest == 0 || a.newest > ticks || a.received > ticks {
		t.Errorf("after %d ticks %d states had come, the newest of tick %d", a.tick, a.received, a.newest)
	}
}

func TestStaleStatesAreNotTheNewest(t *testing.T) {
	var p player
	for _, tick := range []byte{1, 3, 2, 3, 4} {
		p.hear([]byte{0, 0, 0, tick, 0, 0, 0, 0})
	}
	p.hear([]byte("no state"[:3]))
	if p.newest != 4 || p.received != 5 || p.stale != 2 {
		t.Errorf("the player has %+v", p)
	}
}
