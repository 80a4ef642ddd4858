package sctp

import (
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
)

// nested makes the laws' engine of an association whose program reads all messages.
func nested(a *Association, got map[string]int) laws.Engine {
	return &laws.Nested{
		Handle:  a.HandlePacket,
		Timeout: a.HandleTimeout,
		Next:    a.NextTimeout,
		Append:  a.AppendPacket,
		Event: func() (laws.Event, bool) {
			e, ok := a.NextEvent()
			if !ok {
				return laws.Event{}, false
			}
			if e.Kind == Message {
				if got != nil {
					got[string(e.Data)]++
				}
				a.Consume(len(e.Data))
			}
			return laws.Event{Text: fmt.Sprintf("%v %d %t %.20q %v", e.Kind, e.Stream, e.Text, e.Data, e.Err), Closing: e.Kind == Closed}, true
		},
	}
}

func TestLaws(t *testing.T) { laws.Run(t, subject(t, false)) }

// Without checksums, what is spoiled on the way reaches the association, as it would from a hostile peer.
func TestLawsWithoutChecksums(t *testing.T) { laws.Run(t, subject(t, true)) }

func subject(t *testing.T, zeroChecksum bool) laws.Subject {
	return laws.Subject{
		New: func(seed uint64) *laws.Specimen {
			small := func(n uint64, server bool) *Association {
				a, err := New(Config{
					Rand: entropy(seed*2 + n), Server: server,
					ZeroChecksum: zeroChecksum,
					SendBuffer:   32 << 10, ReceiveBuffer: 64 << 10, MaxMessageSize: 32 << 10, MaxChannels: 64,
				})
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			a, b := small(0, false), small(1, true)
			got := map[string]int{}
			const messages = 12
			var ids []StreamID
			s := &laws.Specimen{
				Engine: nested(a, got), Peer: nested(b, got),
				Steps: []func(mono.Time){func(now mono.Time) {
					for i := range 3 {
						cfg := ChannelConfig{Label: fmt.Sprint("label", i), Unordered: i == 1}
						if i == 2 {
							cfg.Reliability, cfg.Limit = MaxRetransmits, 100
						}
						id, err := a.Open(now, cfg)
						if err != nil {
							t.Fatal(err)
						}
						ids = append(ids, id)
					}
					a.Connect(now)
					b.Connect(now)
				}},
				Done: func() error {
					for i := range messages {
						for _, end := range "ab" {
							if n := got[text(end, i)]; n != 1 {
								return fmt.Errorf("message %c%d came %d times", end, i, n)
							}
						}
					}
					if a.channels[ids[0]] != nil {
						return fmt.Errorf("channel %d is not closed", ids[0])
					}
					return nil
				},
				Fatal: []func(mono.Time){
					func(mono.Time) { a.Abort("enough") },
					func(mono.Time) { a.violate("a test") },
				},
				Flood: func(now mono.Time, i int) {
					a.Send(now, ids[1+i%2], i%3 == 0, make([]byte, i%3000))
					if id, err := a.Open(now, ChannelConfig{Label: "flood"}); err == nil && i%2 == 0 {
						a.Close(now, id)
					}
				},
			}
			for i := range messages {
				s.Steps = append(s.Steps, func(now mono.Time) {
					a.Send(now, ids[i%3], false, []byte(text('a', i)))
					// What b may send on is what a has opened, and that may not have come to it yet.
					if b.channels[ids[1]] == nil || !b.channels[ids[1]].claimed {
						got[text('b', i)] = 1
					} else if err := b.Send(now, ids[1], true, []byte(text('b', i))); err != nil {
						t.Error(err)
					}
				})
			}
			s.Steps = append(s.Steps, func(now mono.Time) { a.Close(now, ids[0]) })
			return s
		},
		Crowd: func(n int) (laws.Engine, mono.Time) {
			a, b := quietPair(t, 2*n+2)
			now := mono.Time(1e9)
			for range n {
				if _, err := a.Open(now, ChannelConfig{}); err != nil {
					t.Fatal(err)
				}
			}
			now = settle(t, now, a, b)
			return nested(a, nil), now
		},
	}
}

// text is a message, of which some need several packets.
func text(end rune, i int) string {
	return fmt.Sprintf("%c%0*d", end, 1+i%4*900, i)
}

// quietPair returns two ends that are connected and have nothing to do.
func quietPair(t testing.TB, channels int, configure ...func(*Config)) (a, b *Association) {
	t.Helper()
	for i, p := range []**Association{&a, &b} {
		cfg := Config{Rand: entropy(uint64(i)), Server: i == 1, MaxChannels: channels}
		for _, c := range configure {
			c(&cfg)
		}
		var err error
		if *p, err = New(cfg); err != nil {
			t.Fatal(err)
		}
	}
	a.Connect(1e9)
	settle(t, 1e9, a, b)
	return a, b
}

// settle passes packets to and fro without delay until there are none, and reads all events.
func settle(t testing.TB, now mono.Time, a, b *Association) mono.Time {
	t.Helper()
	buf := make([]byte, 0, 2000)
	for round := 0; ; round++ {
		moved := false
		for _, way := range [][2]*Association{{a, b}, {b, a}} {
			for {
				p := way[0].AppendPacket(buf[:0], now)
				if len(p) == 0 {
					break
				}
				moved = true
				way[1].HandlePacket(now, p)
			}
			for {
				e, ok := way[0].NextEvent()
				if !ok {
					break
				}
				if e.Kind == Message {
					way[0].Consume(len(e.Data))
				}
			}
		}
		if !moved {
			// What is left are delayed acknowledgements.
			if next := min(a.NextTimeout(), b.NextTimeout()); next <= now.Add(sackDelay) {
				now = next
				a.HandleTimeout(now)
				b.HandleTimeout(now)
				continue
			}
			return now
		}
		if round > 1_000_000 {
			t.Fatal("the two never come to rest")
		}
	}
}
