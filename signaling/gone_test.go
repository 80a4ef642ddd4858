package signaling

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What was made for a seat is taken back once, when the seat ends: by leaving, by being replaced, or by silence.
func TestWhatWasMadeForASeatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var made, gone []Seat
		w := newWorld(t, Config{
			ICEServers: func(s Seat, _ *http.Request) []ICEServer {
				mu.Lock()
				defer mu.Unlock()
				made = append(made, s)
				return nil
			},
			Gone: func(s Seat) {
				mu.Lock()
				defer mu.Unlock()
				gone = append(gone, s)
			},
		}, false)
		ann := w.join(Options{Name: "Ann"})
		w.join(Options{Name: "Ann again", Secret: ann.Secret()})
		bob := w.join(Options{Name: "Bob"})
		bob.Close()
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(made) != 3 || made[0].ID == made[1].ID || made[0].Peer != made[1].Peer {
			t.Fatalf("made for %+v: want three seats, the first two of one peer", made)
		}
		if want := []Seat{made[0], made[2]}; !slices.Equal(gone, want) {
			t.Errorf("taken back of %+v, want %+v", gone, want)
		}
	})
}
