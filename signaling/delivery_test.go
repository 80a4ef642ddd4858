package signaling

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// carriers are the ways in which messages must arrive once and in order.
var carriers = []struct {
	name     string
	carrier  Carrier
	changing bool
}{
	{"websocket", WebSocketOnly, false},
	{"long-poll", LongPollOnly, false},
	{"changing", AutoCarrier, true},
}

// "Messages ... are kept by the sender until the other side has acknowledged them, sent again after a resume, and taken once and in order by the
// receiver." docs/signaling.md, Frames and delivery.
func TestOnceAndInOrder(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				thousandMessages(t, w, Options{Carrier: c.carrier, pollFor: time.Nanosecond}, c.changing)
			})
		})
	}
}

// The same over real sockets.
func TestOnceAndInOrderOverSockets(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{Rate: 100_000, Burst: 100_000}, true)
			thousandMessages(t, w, Options{Carrier: c.carrier, firstRetry: 10 * time.Millisecond, pollFor: time.Nanosecond}, c.changing)
		})
	}
}

// thousandMessages has two peers send 500 messages each to the other, cuts all connections at 50 random moments, and looks at what arrives.
// Changing: WebSockets are blocked and let through again by turns.
func thousandMessages(t *testing.T, w *world, o Options, changing bool) {
	const each, cuts = 500, 50
	random := seeded(t)
	a, b := w.join(o), w.join(o)
	arrived := make(chan struct{})
	done := make(chan error, 4)
	send := func(from, to *Room, window chan struct{}) {
		for i := range each {
			select {
			case window <- struct{}{}:
			case <-t.Context().Done(): // the test has failed
				return
			}
			if _, err := from.Send(&Candidate{To: to.Self().ID, Candidate: ICECandidate{Candidate: fmt.Sprint(i)}}); err != nil {
				done <- fmt.Errorf("sending %d: %w", i, err)
				return
			}
		}
		done <- nil
	}
	receive := func(r *Room, window chan struct{}) {
		want := 0
		for e, err := range r.Events(t.Context()) {
			if err != nil {
				done <- err
				return
			}
			switch e := e.(type) {
			case *Welcome:
				done <- fmt.Errorf("joined again: the session was lost after message %d", want)
				return
			case *Candidate:
				if e.Candidate.Candidate != fmt.Sprint(want) {
					done <- fmt.Errorf("message %s came where %d was due", e.Candidate.Candidate, want)
					return
				}
				select {
				case arrived <- struct{}{}:
				case <-t.Context().Done():
					return
				}
				<-window
				if want++; want == each {
					done <- nil
					return
				}
			}
		}
	}
	for _, p := range [][2]*Room{{a, b}, {b, a}} {
		window := make(chan struct{}, 8) // so that messages flow at every cut
		go send(p[0], p[1], window)
		go receive(p[1], window)
	}
	// Cuts come when a random number of messages have arrived, and a random moment later.
	cutAt := map[int]bool{}
	for _, n := range random.Perm(2 * each)[:cuts] {
		cutAt[n] = true
	}
	made := 0
	for n, left := 0, 4; left > 0; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			left--
		case <-arrived:
			if cutAt[n] {
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
				if changing {
					w.set(func() { w.noSockets = !w.noSockets })
				}
				w.cutLive()
				made++
			}
			n++
		}
	}
	if made != cuts {
		t.Fatalf("%d cuts were made, not %d", made, cuts)
	}
	stats := w.hub.Stats()
	if stats.MessagesIn != 2*each {
		t.Errorf("the hub took %d messages, not %d", stats.MessagesIn, 2*each)
	}
	if stats.Sessions != 2 || stats.Resumes < cuts/2 {
		t.Errorf("%d sessions and %d resumes are not what %d cuts should leave", stats.Sessions, stats.Resumes, cuts)
	}
	w.set(func() {
		if used := [2]bool{w.upgrades > cuts/4, w.posts > cuts/4}; used != [2]bool{o.Carrier != LongPollOnly, o.Carrier != WebSocketOnly} {
			t.Errorf("%d upgrades and %d posts are not the carriers that were to be used", w.upgrades, w.posts)
		}
	})
	t.Logf("%d messages, %d cuts, %d resumes", stats.MessagesIn, made, stats.Resumes)
}
