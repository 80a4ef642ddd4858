package webrtc

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// goroutines returns the stacks of the goroutines of this module but those of tests.
func goroutines() (left []string) {
	buf := make([]byte, 4<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "parley/internal/loop.") || strings.Contains(g, "parley/internal/gather.") || strings.Contains(g, "webrtc.(*dispatcher)") ||
			strings.Contains(g, "webrtc.(*PeerConnection).Close") {
			left = append(left, g)
		}
	}
	return left
}

func TestTheLastCloseLeavesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		w.check(x.SendText("hello"))
		if _, err := y.Receive(context.Background()); err != nil {
			t.Fatal(err)
		}
		loop := a.loop
		w.check(a.Close())
		w.check(a.Close())
		w.check(b.Close())
		if w.a.loop != nil || w.b.loop != nil {
			t.Error("a loop is left")
		}
		if c := loop.Counters(); c.Tenants != 0 || c.Sockets != 0 {
			t.Errorf("%d tenants and %d sockets are left", c.Tenants, c.Sockets)
		}
		synctest.Wait()
		if left := goroutines(); left != nil {
			t.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
		}
	})
}

func TestCloseInAHandler(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		closed := make(chan struct{})
		y.OnMessage(func(Message) {
			w.check(b.Close()) // its own
			w.check(a.Close()) // another one's
			close(closed)
		})
		w.check(x.SendText("hello"))
		await(w, closed, "the handler returning")
		<-a.gone
		<-b.gone
	})
}

func TestAClosedConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		local, remote := a.LocalDescription(), a.RemoteDescription()
		late := make(chan struct{})
		x.OnClose(func() { close(late) })
		gone := make(chan *Error, 1)
		events := make(chan string, 2)
		y.OnError(func(e *Error) { events <- "error"; gone <- e })
		y.OnClose(func() { events <- "close" })
		var over atomic.Bool
		after := func() {
			if over.Load() {
				t.Error("an event came after Close")
			}
		}
		a.OnSignalingStateChange(func(SignalingState) { after() })
		a.OnConnectionStateChange(func(PeerConnectionState) { after() })
		x.OnClosing(after)
		w.check(a.Close())
		over.Store(true)
		for name, got := range map[string]string{
			"SignalingState": string(a.SignalingState()), "ConnectionState": string(a.ConnectionState()), "ICEConnectionState": string(a.ICEConnectionState()),
			"SCTP.State": string(a.SCTP().State()), "Transport.State": string(a.SCTP().Transport().State()),
			"ICETransport.State": string(a.SCTP().Transport().ICETransport().State()), "ReadyState": string(x.ReadyState()),
		} {
			if got != "closed" {
				t.Errorf("%s is %q", name, got)
			}
		}
		if *a.LocalDescription() != *local || *a.RemoteDescription() != *remote {
			t.Error("the descriptions are gone")
		}
		_, offer := a.CreateOffer(nil)
		_, answer := a.CreateAnswer()
		_, channel := a.CreateDataChannel("late", nil)
		for name, err := range map[string]error{
			"CreateOffer": offer, "CreateAnswer": answer, "CreateDataChannel": channel,
			"SetLocalDescription": a.SetLocalDescription(nil), "SetRemoteDescription": a.SetRemoteDescription(*remote),
			"AddICECandidate": a.AddICECandidate(nil), "SetConfiguration": a.SetConfiguration(Configuration{}),
			"GatheringComplete": a.GatheringComplete(context.Background()), "Send": x.Send(nil),
		} {
			is(t, name, err, InvalidStateError)
		}
		is(t, "AddICECandidate without a section", a.AddICECandidate(&ICECandidate{Candidate: "candidate:1"}), TypeError)
		a.RestartICE() // is ignored
		if _, err := x.Receive(context.Background()); err != io.EOF {
			t.Errorf("Receive returned %v", err)
		}
		// The peer is told by an ABORT: "error" and then "close".
		if e := await(w, gone, "the peer learning of it"); e.Name != OperationError || e.Detail != SCTPFailure || e.SCTPCauseCode != 12 { // User-Initiated Abort
			t.Errorf("the peer's channel got %+v", e)
		}
		if one, two := <-events, await(w, events, "the peer's close"); one != "error" || two != "close" || y.ReadyState() != DataChannelStateClosed {
			t.Errorf("the events were %s and %s", one, two)
		}
		select {
		case <-late:
			t.Error("close came to a channel of the connection that was closed here")
		default:
		}
		w.check(b.Close())
	})
}

// is says so if err is not the W3C's exception of that name.
func is(t testing.TB, what string, err error, name ErrorName) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok || e.Name != name {
		t.Errorf("%s returned %v: it must be %s", what, err, name)
	}
}

// Ten thousand connections in one process: no goroutine for each, and nothing is left of them.
func TestManyConnections(t *testing.T) {
	pairs := 50
	if os.Getenv("PARLEY_LONG") != "" {
		pairs = 5000
	}
	certificate, err := GenerateCertificate(KeygenAlgorithm{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Configuration{Certificates: []*Certificate{certificate}}
	inWorld(t, func(w *world) {
		before := runtime.NumGoroutine()
		var all []*PeerConnection
		got := make(chan string, pairs)
		for i := range pairs {
			a, b := w.pair(cfg)
			all = append(all, a, b)
			x, err := a.CreateDataChannel("one", nil)
			w.check(err)
			x.OnOpen(func() { w.check(x.SendText(fmt.Sprint(i))) })
			b.OnDataChannel(func(ch *DataChannel) { ch.OnMessage(func(m Message) { got <- m.Text() }) })
			w.negotiate(a, b)
			if i%50 == 49 {
				time.Sleep(100 * time.Millisecond)
			}
		}
		seen := map[string]bool{}
		for range pairs {
			seen[await(w, got, "all messages")] = true
		}
		if len(seen) != pairs {
			t.Errorf("%d messages came, of %d", len(seen), pairs)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 20 {
			t.Errorf("%d goroutines for %d connections", n, len(all))
		}
		for _, pc := range all {
			w.check(pc.Close())
		}
		synctest.Wait()
		if left := goroutines(); left != nil {
			t.Errorf("goroutines are left:\n%s", left[0])
		}
	})
}
