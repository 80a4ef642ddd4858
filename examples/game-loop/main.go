// Command game-loop shows what a game needs: 60 times a second each side tells the other where it is, over a channel that
// neither repeats what was lost nor waits for it, so that the newest position is never late because of an older one.
//
//	go run ./examples/game-loop
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"time"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/webrtc"
)

const tick = time.Second / 60

// A player is one side: it moves, tells, and keeps the newest that it has heard of the other.
type player struct {
	ch       *webrtc.DataChannel
	tick     uint32
	newest   uint32 // of the other's ticks
	received int
	stale    int // came after a newer one, or twice
}

// play runs the loop for a number of ticks.
func (p *player) play(ctx context.Context, ticks int) error {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	heard := make(chan []byte, 64)
	p.ch.OnMessage(func(m webrtc.Message) {
		select {
		case heard <- m.Data:
		default: // the loop is late: newer ones follow
		}
	})
	for range ticks {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for len(heard) > 0 {
			p.hear(<-heard)
		}
		p.tick++
		state := binary.BigEndian.AppendUint32(nil, p.tick)
		state = binary.BigEndian.AppendUint32(state, p.tick*7) // where the player is
		if err := p.ch.Send(state); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) hear(state []byte) {
	if len(state) != 8 {
		return
	}
	p.received++
	if t := binary.BigEndian.Uint32(state); t > p.newest {
		p.newest = t
	} else {
		p.stale++
	}
}

func main() {
	usage.Words(0, 0, "game-loop")
	ctx := context.Background()
	a, b, err := pair(ctx)
	if err != nil {
		log.Fatal(err)
	}
	go b.play(ctx, 300)
	if err := a.play(ctx, 300); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("300 ticks: %d states came, %d of them late, the newest is of tick %d\n", a.received, a.stale, a.newest)
}
