package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestPeersMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{ICEServers: func(s Seat, r *http.Request) func() []ICEServer {
			return func() []ICEServer {
				return []ICEServer{{URLs: []string{"stun:hub.example"}, Username: s.Room + " " + s.Peer}}
			}
		}}, false)
		ann := w.join(Options{Name: "Ann", State: json.RawMessage(`{"camera":true}`)})
		bob := w.join(Options{Name: "Bob", Carrier: LongPollOnly})

		if want := PeerID("kitchen", ann.Secret()); ann.Self().ID != want {
			t.Errorf("Ann is %s, want %s", ann.Self().ID, want)
		}
		if got, want := fmt.Sprintf("%s", bob.Peers()), fmt.Sprintf("%s", []Peer{ann.Self()}); got != want {
			t.Errorf("Bob sees %s, want %s", got, want)
		}
		if j := until[*Joined](t, ann); j.Peer.ID != bob.Self().ID || j.Peer.Name != "Bob" {
			t.Errorf("Ann was told %+v", j)
		}
		if got := bob.ICEServers(); len(got) != 1 || got[0].Username != "kitchen "+bob.Self().ID {
			t.Errorf("Bob's ICE servers are %+v", got)
		}
		if bob.Link() != "http://hub.example/r/kitchen" {
			t.Errorf("the link is %q", bob.Link())
		}

		index := uint16(0)
		sent := &Candidate{To: bob.Self().ID, Connection: "c1", ReplyTo: "c2", Candidate: ICECandidate{Candidate: "candidate:<&>", SDPMLineIndex: &index}}
		if _, err := ann.Send(sent); err != nil {
			t.Fatal(err)
		}
		got := until[*Candidate](t, bob)
		if got.From != ann.Self().ID || got.To != "" || got.Connection != "c1" || got.ReplyTo != "c2" || got.Candidate.Candidate != "candidate:<&>" || *got.Candidate.SDPMLineIndex != 0 || got.Candidate.SDPMid != nil {
			t.Errorf("Bob got %+v", got)
		}

		if _, err := bob.Send(&Presence{Name: "Robert", State: json.RawMessage(`{"hand":"up"}`)}); err != nil {
			t.Fatal(err)
		}
		if p := until[*Presence](t, ann); p.From != bob.Self().ID || p.Name != "Robert" || string(p.State) != `{"hand":"up"}` {
			t.Errorf("Ann was told %+v", p)
		}
		if p := ann.Peers()[0]; p.Name != "Robert" || bob.Self().Name != "Robert" {
			t.Errorf("Ann sees %+v", p)
		}

		seq, err := ann.Send(&Description{To: "nobody", Description: SessionDescription{SDPOffer, "v=0"}})
		if err != nil {
			t.Fatal(err)
		}
		if e := until[*Error](t, ann); e.Code != CodeNoSuchPeer || e.Ref != seq {
			t.Errorf("Ann was told %+v of message %d", e, seq)
		}

		bob.Close()
		if l := until[*Left](t, ann); l.Peer != bob.Self().ID || l.Reason != ReasonLeft {
			t.Errorf("Ann was told %+v", l)
		}
		if _, err := bob.Receive(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := bob.Send(sent); !errors.Is(err, ErrClosed) {
			t.Errorf("sending after Close: %v", err)
		}
		ann.Close()
		if s := w.hub.Stats(); s.Rooms != 0 || s.Peers != 0 || s.Sessions != 2 {
			t.Errorf("what is left: %+v", s)
		}
	})
}

// "The hub keeps nothing else: after a restart each client ... joins again with the same secret and its token, and the others see the same id."
// docs/signaling.md, Who may join. From the internet, where a guest cannot open a room, the guests come back before the host.
func TestRestart(t *testing.T) {
	for _, c := range carriers[:2] {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{
					Passphrase: "open sesame",
					TokenKey:   bytes.Repeat([]byte{7}, 32),
					Access:     func(r *http.Request) Access { return Access{Addr: netip.MustParseAddr("2001:db8::7")} },
				}
				w := newWorld(t, cfg, false)
				room := NewRoomName()
				join := func(o Options) *Room {
					o.Carrier = c.carrier
					r, err := w.tryJoin(room, o)
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				if _, err := w.tryJoin(room, Options{Name: "Eve"}); !refusedWith(err, CodeRoomNotOpen) {
					t.Fatalf("a guest opened the room: %v", err)
				}
				var hostIsDown atomic.Bool
				host := join(Options{Name: "host", Passphrase: "open sesame", HTTPClient: w.clientWith(func() bool { return !hostIsDown.Load() })})
				ann, bob := join(Options{Name: "Ann"}), join(Options{Name: "Bob"})
				ids := []string{host.Self().ID, ann.Self().ID, bob.Self().ID}

				// The server is killed, without a farewell. The host's own network comes back later than that of the guests.
				hostIsDown.Store(true)
				w.restart(cfg)
				until[*Welcome](t, ann)
				until[*Welcome](t, bob)

				if got := []string{ann.Self().ID, bob.Self().ID}; !slices.Equal(got, ids[1:]) {
					t.Errorf("the guests are %v, want %v", got, ids[1:])
				}
				synctest.Wait()
				if a, b := ann.Peers(), bob.Peers(); len(a) != 1 || len(b) != 1 || a[0].ID != ids[2] || b[0].ID != ids[1] {
					t.Errorf("the guests see %v and %v", a, b)
				}
				hostIsDown.Store(false)
				if back := until[*Welcome](t, host); len(back.Peers) != 2 || back.Self.ID != ids[0] {
					t.Errorf("the host came back to %+v", back)
				}
				synctest.Wait()
				for _, guest := range []*Room{ann, bob} {
					if p := guest.Peers(); len(p) != 2 || p[1].ID != ids[0] {
						t.Errorf("a guest sees %v", p)
					}
				}
				unaffected(t, ann, bob)
				unaffected(t, host, ann)
				// A program that is started again is the same peer, too.
				again := join(Options{Name: "Ann", Secret: ann.Secret(), Token: ann.Token()})
				if again.Self().ID != ids[1] {
					t.Errorf("Ann is %s, want %s", again.Self().ID, ids[1])
				}
				unaffected(t, host, again)
				// A stranger is still one.
				if _, err := w.tryJoin(NewRoomName(), Options{Name: "Eve", Token: ann.Token()}); !refusedWith(err, CodeRoomNotOpen) {
					t.Errorf("a stranger with another's token: %v", err)
				}
			})
		})
	}
}

func refusedWith(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// "Who may join", docs/signaling.md.
func TestWhoMayJoin(t *testing.T) {
	const minted, plain = "abcd-efgh-2345-mnop", "kitchen"
	key := bytes.Repeat([]byte{7}, 32)
	id := PeerID(minted, secretOf("Eve"))
	good := newTokens(key).make(minted, id)
	for _, c := range []struct {
		name             string
		local, open      bool // the client; the server's --open
		room             string
		exists           bool
		passphrase       string
		token            string
		serverPassphrase string
		want             Code
	}{
		{name: "local opens", local: true, room: plain},
		{name: "local with a wrong passphrase", local: true, room: plain, passphrase: "no", serverPassphrase: "yes"},
		{name: "--open", open: true, room: plain},
		{name: "host opens", room: plain, passphrase: "yes", serverPassphrase: "yes"},
		{name: "no passphrase exists", room: minted, passphrase: "", want: CodeRoomNotOpen},
		{name: "empty passphrases do not match", room: plain, passphrase: "any", serverPassphrase: "", want: CodePassphraseRequired},
		{name: "wrong passphrase", room: minted, exists: true, passphrase: "no", serverPassphrase: "yes", want: CodePassphraseWrong},
		{name: "guest", room: minted, exists: true},
		{name: "early guest", room: minted, want: CodeRoomNotOpen},
		{name: "guessable room", room: plain, exists: true, want: CodePassphraseRequired},
		{name: "token opens", room: minted, token: good},
		{name: "token before a wrong passphrase", room: minted, token: good, passphrase: "no", serverPassphrase: "yes"},
		{name: "token of another server", room: minted, token: newTokens(bytes.Repeat([]byte{8}, 32)).make(minted, id), want: CodeTokenInvalid},
		{name: "token of another room", room: minted, token: newTokens(key).make(plain, id), want: CodeTokenInvalid},
		{name: "token of another peer", room: minted, token: newTokens(key).make(minted, "somebody"), want: CodeTokenInvalid},
		{name: "bad token of a guest in time", room: minted, exists: true, token: "ey.ey.ey"},
		{name: "token without signature", room: minted, token: "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", want: CodeTokenInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub, err := NewHub(Config{Open: c.open, Passphrase: c.serverPassphrase, TokenKey: key})
			if err != nil {
				t.Fatal(err)
			}
			defer hub.Close()
			if c.exists {
				if _, _, _, e := hub.sit(Access{Local: true}, &Join{Room: c.room, Secret: "host"}, webSocket); e != nil {
					t.Fatal(e)
				}
			}
			_, _, _, refusal := hub.sit(Access{Local: c.local, Addr: netip.MustParseAddr("203.0.113.7")},
				&Join{Room: c.room, Secret: secretOf("Eve"), Passphrase: c.passphrase, Token: c.token}, webSocket)
			var got Code
			if refusal != nil {
				got = refusal.Code
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// "It is good for an hour; the server sends a fresh one as a token message every half hour." docs/signaling.md, Joining.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		ann := w.join(Options{Name: "Ann"})
		first := ann.Token()
		verify := func(token string) error { return w.hub.tokens.verify(token, "kitchen", ann.Self().ID) }
		time.Sleep(29 * time.Minute)
		if ann.Token() != first {
			t.Error("the token changed early")
		}
		time.Sleep(2 * time.Minute)
		second := ann.Token()
		if second == first {
			t.Error("the token did not change")
		}
		time.Sleep(30 * time.Minute)
		if verify(first) == nil {
			t.Error("the first token is still good after an hour")
		}
		if err := verify(second); err != nil {
			t.Errorf("the second is not: %v", err)
		}
		if err := verify(ann.Token()); err != nil {
			t.Error(err)
		}
	})
}

// "A seat is held for 30 s when the connection drops", docs/signaling.md, The words; and the others see how it ended.
func TestSeatIsHeld(t *testing.T) {
	for _, c := range carriers[:2] {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				ann := w.join(Options{Name: "Ann"})
				bob := w.join(Options{Name: "Bob", Carrier: c.carrier})
				until[*Joined](t, ann)
				w.set(func() { w.down = true })
				began := time.Now()
				w.cut()
				time.Sleep(22 * time.Second)
				w.set(func() { w.down = false })
				until[State](t, bob) // reconnecting
				if s := until[State](t, bob); s != Online {
					t.Fatalf("Bob is %v", s)
				}
				if held := time.Since(began); held > 28*time.Second {
					t.Errorf("Bob came back after %v", held)
				}
				time.Sleep(time.Minute) // and for good
				unaffected(t, ann, bob)
				if n := w.hub.Stats().Sessions; n != 2 {
					t.Errorf("%d sessions were begun", n)
				}

				bob.stop(errors.New("killed"))
				began = time.Now()
				if l := until[*Left](t, ann); l.Reason != ReasonLost {
					t.Errorf("Bob %s", l.Reason)
				}
				if held := time.Since(began); held < 29*time.Second || held > 31*time.Second {
					t.Errorf("the seat was held for %v", held)
				}
			})
		})
	}
}

// "A client whose WebSocket ... if neither welcome nor resumed came within 5 s, it tries long-poll." docs/signaling.md, Frames and delivery.
func TestFallback(t *testing.T) {
	for _, c := range []struct {
		name  string
		block func(w *world)
	}{
		{"refused", func(w *world) { w.noSockets = true }},
		{"deaf", func(w *world) { w.deaf = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				w.set(func() { c.block(w) })
				ann, bob := w.join(Options{}), w.join(Options{})
				unaffected(t, ann, bob)
				if s := w.hub.Stats(); s.LongPolls != 2 || s.WebSockets != 0 {
					t.Errorf("the carriers are %+v", s)
				}
				// In the middle of a session, too, and back after a while.
				w.set(func() { w.noSockets, w.deaf = false, false })
				time.Sleep(11 * time.Minute)
				w.cut()
				unaffected(t, ann, bob)
				if s := w.hub.Stats(); s.LongPolls != 0 || s.WebSockets != 2 {
					t.Errorf("the carriers are %+v", s)
				}
				w.set(func() { c.block(w) })
				w.cut()
				unaffected(t, ann, bob)
				if s := w.hub.Stats(); s.LongPolls != 2 || s.WebSockets != 0 || s.Sessions != 2 {
					t.Errorf("the carriers are %+v", s)
				}
			})
		})
	}
	// A proxy that lets WebSockets open and breaks them soon.
	t.Run("short-lived", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{}, false)
			ann, bob := w.join(Options{}), w.join(Options{})
			for range maxShort {
				time.Sleep(time.Second)
				w.cut()
				unaffected(t, ann, bob)
			}
			if s := w.hub.Stats(); s.LongPolls != 2 {
				t.Errorf("the carriers are %+v", s)
			}
		})
	})
}

// "A join with the secret of a seat that is taken replaces it." docs/signaling.md, Who may join.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MaxPeersPerRoom: 2}, false)
		ann := w.join(Options{Name: "Ann"})
		bob := w.join(Options{Name: "Bob"})
		again := w.join(Options{Name: "Bob again", Secret: bob.Secret()})
		if again.Self().ID != bob.Self().ID {
			t.Errorf("Bob became %s", again.Self().ID)
		}
		until[*Joined](t, ann)
		if p := until[*Presence](t, ann); p.From != bob.Self().ID || p.Name != "Bob again" {
			t.Errorf("Ann was told %+v", p)
		}
		<-bob.done
		if err := bob.err; !refusedWith(err, CodeSessionReplaced) {
			t.Errorf("the older session ended with %v", err)
		}
		unaffected(t, ann, again)
	})
}

// "Each resume carries an attempt larger than the one before, so that a late request of an older carrier cannot take the seat back." docs/signaling.md,
// Frames and delivery.
func TestLateAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		first := w.webSocket()
		first.say(joinFrame("kitchen", "Ann"))
		session := first.hear().Session
		resume := func(attempt int) *wsTalker {
			c := w.webSocket()
			c.say(fmt.Sprintf(`{"type":"resume","session":%q,"attempt":%d}`, session, attempt))
			return c
		}
		third := resume(3)
		if f := third.hear(); f.Type != "resumed" {
			t.Fatalf("got %+v", f)
		}
		if f := first.hear(); f.Code != CodeCarrierReplaced {
			t.Errorf("the older carrier was told %+v", f)
		}
		for _, attempt := range []int{3, 2, 0} {
			if f := resume(attempt).hear(); f.Code != CodeCarrierReplaced {
				t.Errorf("attempt %d was answered %+v", attempt, f)
			}
		}
		poll := w.longPoll()
		poll.post(fmt.Sprintf(`{"session":%q,"attempt":3}`, session))
		if f := poll.hear(); f.Code != CodeCarrierReplaced {
			t.Errorf("a late request was answered %+v", f)
		}
		// The newest lives.
		third.say(`{"type":"dance","seq":1}`)
		if f := third.hear(); f.Code != CodeUnknownType {
			t.Errorf("got %+v", f)
		}
		// "A page that is being closed sends leave by navigator.sendBeacon."
		poll.post(fmt.Sprintf(`{"session":%q,"attempt":4,"frames":[{"type":"leave"}]}`, session))
		if s := w.hub.Stats(); s.Peers != 0 {
			t.Errorf("%d peers are left", s.Peers)
		}
	})
}

// "At most 1,024 messages or 4 MiB may wait for acknowledgement in one direction; the server ends a seat that falls further behind with too-slow."
// docs/signaling.md, Frames and delivery. The client here reads nothing at all.
func TestTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Rate: 100_000, Burst: 100_000}, false)
		slow := w.webSocket()
		slow.say(joinFrame("kitchen", "slow"))
		session := slow.hear().Session
		ann, bob := w.join(Options{Name: "Ann"}), w.join(Options{Name: "Bob"})
		for i := range maxWaiting {
			if _, err := ann.Send(&Candidate{To: PeerID("kitchen", secretOf("slow")), Candidate: ICECandidate{Candidate: fmt.Sprint(i)}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		// "What peers say to one another may take half of that: a message that finds no room is answered by too-slow with its ref".
		if e := until[*Error](t, ann); e.Code != CodeTooSlow || e.Ref == 0 {
			t.Errorf("one message too many for the slow peer was answered %+v", e)
		}
		if n := w.hub.Stats().Peers; n != 3 {
			t.Errorf("what Ann sent has put somebody out: %d peers are left", n)
		}
		refused := w.hub.Stats().Refusals[CodeTooSlow]
		w.hub.mu.Lock()
		for range maxWaiting {
			w.hub.push(w.hub.sessions[session], &Draining{})
			if w.hub.sessions[session] == nil {
				break
			}
		}
		w.hub.unlock()
		if l := until[*Left](t, ann); l.Reason != ReasonEnded {
			t.Errorf("the slow peer %s", l.Reason)
		}
		unaffected(t, ann, bob)
		again := w.webSocket()
		again.say(fmt.Sprintf(`{"type":"resume","session":%q,"attempt":1}`, session))
		if f := again.hear(); f.Code != CodeSessionUnknown {
			t.Errorf("its resume was answered %+v", f)
		}
		if n := w.hub.Stats().Refusals[CodeTooSlow] - refused; n != 1 {
			t.Errorf("counted %d times", n)
		}
		w.hub.mu.Lock()
		defer w.hub.mu.Unlock()
		sum := 0
		for _, s := range w.hub.sessions {
			sum += s.bytes
		}
		if w.hub.waiting != sum {
			t.Errorf("the hub counts %d waiting bytes, its seats have %d", w.hub.waiting, sum)
		}
	})
}

// "Of presences only the newest is kept for a peer that has no room: it is told once there is." docs/signaling.md, Frames and delivery.
func TestNewestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Rate: 100_000, Burst: 100_000}, false)
		slow := w.webSocket()
		slow.say(joinFrame("kitchen", "slow"))
		session := slow.hear().Session
		slow.conn.CloseNow() // and for a while nobody acknowledges
		synctest.Wait()
		ann := w.join(Options{Name: "Ann"})
		for i := range maxWaiting {
			if _, err := ann.Send(&Presence{Name: fmt.Sprint("Ann ", i)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		again := w.webSocket()
		again.say(fmt.Sprintf(`{"type":"resume","session":%q,"attempt":1}`, session))
		last, told := "", 0
		for want := fmt.Sprint("Ann ", maxWaiting-1); last != want; told++ {
			f := again.hear()
			if f.Seq > 0 {
				again.say(fmt.Sprintf(`{"type":"ack","ack":%d}`, f.Seq))
			}
			if f.Type == "presence" {
				last = f.Name
			}
			if told > maxWaiting {
				t.Fatalf("after %d frames Ann is called %q", told, last)
			}
		}
	})
}

// "A receiver acknowledges within a second, or at once when 32 messages wait for it." docs/signaling.md, Frames and delivery.
func TestAcknowledging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		c := w.webSocket()
		c.say(joinFrame("kitchen", "Ann"))
		c.hear()
		raw := func() (f answerFrame) {
			_, b, err := c.conn.Read(t.Context())
			if err == nil {
				err = json.Unmarshal(b, &f)
			}
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		began := time.Now()
		c.say(messages(ackEvery)[:ackEvery-1]...)
		if f := raw(); f.Type != "ack" || f.Ack != ackEvery-1 || time.Since(began) != ackAfter {
			t.Errorf("got %+v after %v", f, time.Since(began))
		}
		began = time.Now()
		c.say(messages(2 * ackEvery)[ackEvery-1 : 2*ackEvery-1]...)
		if f := raw(); f.Type != "ack" || f.Ack != 2*ackEvery-1 || time.Since(began) != 0 {
			t.Errorf("got %+v after %v", f, time.Since(began))
		}
		// "The server sends ping when it has sent nothing for 10 s."
		began = time.Now()
		if f := raw(); f.Type != "ping" || time.Since(began) != pingAfter {
			t.Errorf("got %+v after %v", f, time.Since(began))
		}
		// "A side that has heard nothing for 25 s takes the carrier for dead."
		for {
			if _, _, err := c.conn.Read(t.Context()); err != nil {
				break
			}
		}
		if silent := time.Since(began); silent != deadAfter {
			t.Errorf("the server gave up after %v", silent)
		}
	})
}

// A client that only listens stays for as long as it likes, over both carriers.
func TestQuietRoom(t *testing.T) {
	for _, c := range carriers[:2] {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				ann, bob := w.join(Options{Carrier: c.carrier}), w.join(Options{Carrier: c.carrier})
				time.Sleep(3 * time.Hour)
				unaffected(t, ann, bob)
				if s := w.hub.Stats(); s.Sessions != 2 || s.Resumes != 0 {
					t.Errorf("it was not quiet: %+v", s)
				}
			})
		})
	}
}

// "While the server stops, everybody gets a draining message with the seconds left, and joins are refused." docs/signaling.md, Refusals.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		ann, bob := w.join(Options{Name: "Ann"}), w.join(Options{Name: "Bob", Carrier: LongPollOnly})
		drained := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			drained <- w.hub.Drain(ctx)
		}()
		for _, r := range []*Room{ann, bob} {
			if d := until[*Draining](t, r); d.Seconds != 30 {
				t.Errorf("%d seconds are left", d.Seconds)
			}
		}
		unaffected(t, ann, bob)
		if _, err := w.tryJoin("kitchen", Options{}); !refusedWith(err, CodeDraining) {
			t.Errorf("a join was answered %v", err)
		}
		w.cut() // a resume is not a join
		unaffected(t, ann, bob)
		ann.Close()
		bob.Close()
		if err := <-drained; err != nil {
			t.Errorf("the hub was empty: %v", err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{}, false)
			ws, poll := w.webSocket(), w.longPoll()
			ws.say(joinFrame("kitchen", "Ann"))
			ws.hear()
			poll.say(joinFrame("hall", "Bob"))
			poll.hear()
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			defer cancel()
			began := time.Now()
			if err := w.hub.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 9*time.Second {
				t.Errorf("Drain returned %v after %v", err, time.Since(began))
			}
			go w.hub.Close()
			if f := ws.hear(); f.Type != "draining" {
				t.Errorf("the WebSocket was told %+v", f)
			}
			if status, reason := ws.closes(); status != websocket.StatusGoingAway || reason != "draining" {
				t.Errorf("closed with %d %q", status, reason)
			}
		})
	})
}

// "Secrets and addresses never reach a log in the clear by default." docs/architecture.md
func TestLogIsDiscreet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, Config{
			Logger:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Passphrase: "open sesame",
			Access:     func(*http.Request) Access { return Access{Addr: netip.MustParseAddr("203.0.113.7")} },
		}, false)
		o := Options{Name: "Ann Blythe", Passphrase: "open sesame"}
		ann := w.join(o)
		w.tryJoin("kitchen", Options{Name: "Eve Adams", Passphrase: "sesame seeds"})
		w.cut()
		until[State](t, ann)
		until[State](t, ann)
		secrets := []string{"Ann", "Eve", "sesame", "kitchen", "203.0.113", ann.Secret(), ann.Token(), ann.Self().ID, ann.session}
		ann.Close()
		synctest.Wait()
		for _, want := range []string{"joined", "refused", "resumed", "left"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no word of %s", want)
			}
		}
		for _, secret := range secrets {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log shows %q", secret)
			}
		}
	})
}

// Close ends the room soon, whatever the server does, and Receive then gives what came before and the reason.
func TestClose(t *testing.T) {
	for _, c := range carriers[:2] {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, false)
				ann := w.join(Options{Carrier: c.carrier})
				bob := w.join(Options{Carrier: c.carrier})
				seq, err := bob.Send(&Description{To: ann.Self().ID, Description: SessionDescription{SDPOffer, "v=0"}})
				if err != nil || seq != 1 {
					t.Fatal(seq, err)
				}
				bob.Close() // what was sent before goes first
				until[*Description](t, ann)
				until[*Left](t, ann)
				if n := w.hub.Stats().Peers; n != 1 {
					t.Errorf("%d peers are left", n)
				}

				w.set(func() { w.down = true })
				w.cut()
				until[State](t, ann)
				began := time.Now()
				ann.Close()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("Close took %v without a server", took)
				}
				ann.Close()
				if s := until[State](t, ann); s != Closed || ann.State() != Closed {
					t.Errorf("the room is %v", s)
				}
				if _, err := ann.Receive(t.Context()); !errors.Is(err, ErrClosed) {
					t.Errorf("the room ended with %v", err)
				}
			})
		})
	}
	t.Run("while joining again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{}, false)
			ann := w.join(Options{})
			bob := w.join(Options{})
			w.restart(Config{JoinRate: 1}) // for one of them
			time.Sleep(time.Second)
			ann.Close()
			bob.Close()
			if s := w.hub.Stats(); s.Sessions != 1 || s.Peers != 0 {
				t.Errorf("the hub has seen %+v", s)
			}
		})
	})
}

// A program that does not receive is told so, and does not grow.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Rate: 100_000, Burst: 100_000}, false)
		ann, bob := w.join(Options{}), w.join(Options{})
		for i := range maxEvents + 1 {
			if i%64 == 0 {
				synctest.Wait() // the hub refuses what Bob's carrier has not taken yet, and this is not about the hub
			}
			for {
				_, err := ann.Send(&Presence{Name: "Ann"})
				if err == nil {
					break
				}
				if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		<-bob.done
		n := 0
		for _, err := range bob.Events(t.Context()) {
			if err != nil {
				if !errors.Is(err, ErrSlowReceiver) || n > maxEvents {
					t.Errorf("after %d events: %v", n, err)
				}
				break
			}
			n++
		}
	})
}
