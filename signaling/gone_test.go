package signaling

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
			ICEServers: func(s Seat, _ *http.Request) func() []ICEServer {
				mu.Lock()
				defer mu.Unlock()
				made = append(made, s)
				return func() []ICEServer { return nil }
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

// Credentials for the relay live shorter than some calls: whoever sits long enough is given fresh ones in time, on both carriers and
// after a resume, and nobody is who has left.
func TestICEServersAreRenewed(t *testing.T) {
	for name, carrier := range map[string]Carrier{"WebSocket": WebSocketOnly, "long-poll": LongPollOnly} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const every = 12 * time.Hour
				begun := time.Now()
				var mu sync.Mutex
				made := map[string]int{}
				w := newWorld(t, Config{
					ICERenewal: every,
					ICEServers: func(s Seat, r *http.Request) func() []ICEServer {
						return func() []ICEServer {
							mu.Lock()
							defer mu.Unlock()
							made[s.Peer]++
							return []ICEServer{{URLs: []string{"turn:hub.example"}, Username: time.Since(begun).Round(time.Hour).String()}}
						}
					},
				}, false)
				ann := w.join(Options{Name: "Ann", Carrier: carrier})
				bob := w.join(Options{Name: "Bob", Carrier: carrier})
				defer ann.Close()
				for n := range 4 {
					if got, want := ann.ICEServers()[0].Username, (time.Duration(n) * every).String(); got != want {
						t.Fatalf("after %v Ann has the servers of %s", time.Duration(n)*every, got)
					}
					if n == 1 {
						bob.Close()
					}
					time.Sleep(every + time.Minute/10) // virtual
					synctest.Wait()
				}
				mu.Lock()
				defer mu.Unlock()
				if made[ann.Self().ID] != 5 || made[bob.Self().ID] != 2 {
					t.Errorf("made %v, want 5 for Ann (%s) and 2 for Bob (%s)", made, ann.Self().ID, bob.Self().ID)
				}
			})
		})
	}
}

// A client that does not read what it is told, and one that does not send what it promised, do not keep the hub from closing.
func TestCloseDoesNotWaitForWhoDoesNotRead(t *testing.T) {
	for name, said := range map[string]string{
		"WebSocket": "GET /api/signal HTTP/1.1\r\nHost: hub.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + Subprotocol + "\r\n\r\n",
		"long-poll": "POST /api/signal HTTP/1.1\r\nHost: hub.example\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				conn, err := w.dialer(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprint(conn, said)
				if name == "WebSocket" {
					if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "101") {
						t.Fatalf("upgrade answered with %q, %v", line, err)
					}
				}
				other := w.join(Options{Name: "Bob"})
				defer other.Close()
				synctest.Wait()
				begun := time.Now()
				w.hub.Close()
				if took := time.Since(begun); took > 2*closeWithin {
					t.Errorf("closing took %v, want %v at most", took, 2*closeWithin)
				}
			})
		})
	}
}
