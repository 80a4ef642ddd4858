package webrtc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Every method is legal in every handler: none of them waits for a handler.
func TestAnythingInAnyHandler(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		var calls atomic.Int32
		everything := func(pc *PeerConnection, ch *DataChannel) {
			calls.Add(1)
			pc.LocalDescription()
			pc.RemoteDescription()
			pc.GetStats()
			pc.ConnectionState()
			pc.SignalingState()
			_, _ = pc.CreateOffer(nil)
			_, _ = pc.CreateAnswer()
			_ = pc.SetConfiguration(pc.GetConfiguration())
			_ = pc.AddICECandidate(&ICECandidate{SDPMid: new("none")})
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_ = pc.GatheringComplete(ctx)
			if ch != nil {
				_ = ch.Send(nil)
				_ = ch.SendContext(ctx, []byte("x"))
				_, _ = ch.Receive(ctx)
				ch.BufferedAmount()
				ch.ID()
			}
			cancel()
			pc.OnNegotiationNeeded(func() {})
			if s := pc.SCTP(); s != nil {
				s.Transport().ICETransport().GetLocalCandidates()
				s.Transport().GetRemoteCertificates()
			}
		}
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		closed := make(chan struct{})
		for _, pc := range []*PeerConnection{a, b} {
			pc.OnSignalingStateChange(func(SignalingState) { everything(pc, x) })
			pc.OnICEGatheringStateChange(func(ICEGatheringState) { everything(pc, x) })
			pc.OnICEConnectionStateChange(func(ICEConnectionState) { everything(pc, x) })
			pc.OnConnectionStateChange(func(PeerConnectionState) { everything(pc, x) })
			pc.OnDataChannel(func(ch *DataChannel) {
				everything(pc, ch)
				ch.OnOpen(func() { everything(pc, ch) })
				ch.OnMessage(func(Message) { everything(pc, ch) })
				ch.OnError(func(*Error) { everything(pc, ch) })
				ch.OnClose(func() { everything(pc, ch); close(closed) })
			})
		}
		x.OnOpen(func() {
			everything(a, x)
			w.check(x.SendText("hello"))
		})
		x.OnMessage(func(Message) { everything(a, x) })
		w.negotiate(a, b)
		time.Sleep(5 * time.Second)
		w.check(a.Close())
		await(w, closed, "the peer's close")
		if n := calls.Load(); n < 12 {
			t.Errorf("%d handlers were called", n)
		}
	})
}

// Two peers do anything at any time, each from several goroutines, with what they signal on its way for a while. Nothing
// panics, hangs or stays behind, and no error is without a name.
func TestChaos(t *testing.T) {
	seeds := uint64(3)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 1000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { inWorld(t, func(w *world) { chaos(w, seed) }) })
	}
}

func chaos(w *world, seed uint64) {
	a, b := w.pair(Configuration{})
	pcs := [2]*PeerConnection{a, b}
	named := func(err error) {
		if err == nil || err == context.DeadlineExceeded {
			return
		}
		if e, ok := err.(*Error); !ok || e.Name == "" || e.Message == "" {
			w.Errorf("an error without a name: %v", err)
		}
	}
	var running sync.WaitGroup
	var asked, settled atomic.Int32
	after := func(pc *PeerConnection, op func() error) error { // as a binding with promises calls
		asked.Add(1)
		var result error
		pc.After(func() error { result = op(); return result }, func(err error) {
			settled.Add(1)
			if err != result {
				w.Errorf("it settled with %v, not %v", err, result)
			}
		})
		return result
	}
	var made [4][]*DataChannel
	for worker := range 4 {
		pc, other := pcs[worker%2], pcs[1-worker%2]
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		if worker < 2 {
			pc.OnICECandidate(func(c *ICECandidate) { named(other.AddICECandidate(c)) })
			pc.OnDataChannel(func(ch *DataChannel) {
				ch.OnMessage(func(m Message) { named(ch.Send(m.Data)) })
				if strings.HasSuffix(ch.Label(), "3") {
					ch.OnOpen(func() { named(ch.Close()) })
				}
			})
		}
		running.Go(func() {
			var channels []*DataChannel
			defer func() { made[worker] = channels }()
			for range 60 {
				time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
				switch r.IntN(12) {
				case 0, 1:
					ch, err := pc.CreateDataChannel(fmt.Sprint(worker, len(channels)), nil)
					named(err)
					if ch != nil {
						channels = append(channels, ch)
					}
				case 2, 3:
					if err := after(pc, func() error { return pc.SetLocalDescription(nil) }); err != nil {
						named(err)
					} else if d := pc.LocalDescription(); d != nil {
						time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
						named(other.SetRemoteDescription(*d))
					}
				case 4, 5, 6:
					if d := other.LocalDescription(); d != nil {
						named(after(pc, func() error { return pc.SetRemoteDescription(*d) }))
					}
				case 7:
					named(pc.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
				case 8:
					pc.RestartICE()
				case 9:
					pc.GetStats()
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(20))*time.Millisecond)
					named(pc.GatheringComplete(ctx))
					cancel()
				case 10:
					for _, ch := range channels {
						named(ch.Send(make([]byte, r.IntN(100_000))))
					}
				case 11:
					if len(channels) > 0 && r.IntN(3) == 0 {
						named(channels[r.IntN(len(channels))].Close())
					}
				}
			}
		})
	}
	running.Wait()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if n, m := asked.Load(), settled.Load(); n != m {
		w.Errorf("%d of %d operations have settled", m, n)
	}
	for worker, channels := range made {
		for _, ch := range channels {
			s := pcs[worker%2].SCTP()
			if s != nil && s.State() == SCTPTransportStateConnected && ch.ReadyState() == DataChannelStateConnecting {
				w.Errorf("channel %v of a connected association is %s", ch.ID(), ch.ReadyState())
			}
		}
	}
	if seed%3 == 0 {
		w.check(a.Close())
		time.Sleep(time.Second)
		w.check(b.Close())
	} else {
		w.check(a.Close())
		w.check(b.Close())
	}
	synctest.Wait()
	if left := goroutines(); left != nil {
		w.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
	}
}
