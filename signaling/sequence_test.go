package signaling

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Two sequences and carriers that lose, repeat and stop anywhere: everything arrives once and in order. This is the mechanism alone, for
// many fates; TestOnceAndInOrder has the carriers around it.
func TestSequence(t *testing.T) {
	random := seeded(t)
	now := time.Time{}
	for range 500 {
		var a, b sequence
		cursor := uint64(0)
		got, total := 0, 1+random.IntN(100)
		for pushed := 0; got < total; {
			if pushed < total && random.IntN(2) == 0 {
				if _, err := a.push("candidate", []byte(`{}`)); err != nil {
					t.Fatal(err)
				}
				pushed++
			}
			switch random.IntN(8) {
			case 0: // the carrier breaks: the next begins where the other side is, as far as resume tells
				cursor = b.taken
				if err := a.acknowledge(b.tell()); err != nil {
					t.Fatal(err)
				}
			case 1: // an older carrier's frames come late
				cursor = uint64(random.IntN(int(b.taken) + 1))
			default:
				batch := a.pull(cursor, 1+random.IntN(200), now)
				if batch.more != (batch.cursor < a.sent) || len(batch.messages) == 0 && batch.more {
					t.Fatalf("%+v of %d sent", batch, a.sent)
				}
				seq := batch.cursor - uint64(len(batch.messages))
				for _, m := range batch.messages[:random.IntN(len(batch.messages)+1)] {
					seq++
					if in, bad := parse(m.appendTo(nil, 0), newClientFrame); bad != nil || in.Seq != seq {
						t.Fatalf("%s in the place of %d: %v", m, seq, bad)
					}
					fresh, err := b.take(seq, now)
					if err != nil {
						t.Fatal(err)
					}
					if fresh {
						if got++; uint64(got) != seq {
							t.Fatalf("%d came in the place of %d", seq, got)
						}
					}
				}
				cursor = min(batch.cursor, b.taken)
			}
		}
		if err := a.acknowledge(b.tell()); err != nil || a.bytes != 0 || len(a.waiting) != 0 {
			t.Fatalf("%v; %d bytes in %d messages are left", err, a.bytes, len(a.waiting))
		}
	}
}

// "At most 1,024 messages or 4 MiB may wait for acknowledgement in one direction." docs/signaling.md, Frames and delivery.
func TestSequenceBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		body string
		fit  int
	}{
		{"messages", `{}`, maxWaiting},
		{"bytes", `{"sdp":"` + strings.Repeat("x", 60<<10) + `"}`, 68},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sequence
			n := 0
			for {
				if _, err := s.push("x", []byte(c.body)); err != nil {
					if !errors.Is(err, errFull) {
						t.Fatal(err)
					}
					break
				}
				n++
			}
			if n != c.fit || s.sent != uint64(n) {
				t.Errorf("%d fit (sent %d), want %d", n, s.sent, c.fit)
			}
			if err := s.acknowledge(1); err != nil {
				t.Fatal(err)
			}
			if _, err := s.push("x", []byte(c.body)); err != nil {
				t.Errorf("after an acknowledgement: %v", err)
			}
		})
	}
}

func TestSequenceErrors(t *testing.T) {
	var s sequence
	s.push("x", []byte(`{}`))
	if err := s.acknowledge(2); !errors.Is(err, errUnsent) {
		t.Errorf("an ack of what was not sent: %v", err)
	}
	if _, err := s.take(0, time.Now()); !errors.Is(err, errNothing) {
		t.Errorf("no seq: %v", err)
	}
	if _, err := s.take(2, time.Now()); !errors.Is(err, errGap) {
		t.Errorf("a gap: %v", err)
	}
	if s.taken != 0 || s.acked != 0 {
		t.Errorf("what was refused counts: %+v", s)
	}
}
