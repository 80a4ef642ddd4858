// Package webrtc tests package webrtc against Pion's PeerConnection.
package webrtc

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"

	"github.com/parley-rtc/parley/webrtc"
)

// A call is ours and Pion's connection with a wire for signaling between them.
type call struct {
	t     *testing.T
	ours  *webrtc.PeerConnection
	pions *pion.PeerConnection

	mu    sync.Mutex
	early []pion.ICECandidateInit // before Pion has our description
}

// newPion makes a connection of Pion's that has loopback too, for machines that have nothing else.
func newPion() (*pion.PeerConnection, error) {
	var settings pion.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	return pion.NewAPI(pion.WithSettingEngine(settings)).NewPeerConnection(pion.Configuration{})
}

func newCall(t *testing.T) *call {
	ours, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(t, err)
	pions, err := newPion()
	check(t, err)
	c := &call{t: t, ours: ours, pions: pions}
	t.Cleanup(func() {
		check(t, ours.Close())
		check(t, pions.Close())
	})
	ours.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate == nil || candidate.Candidate == "" {
			return // Pion has no use for the end of candidates
		}
		var init pion.ICECandidateInit
		check(t, json.Unmarshal(candidate.ToJSON(), &init))
		c.mu.Lock()
		defer c.mu.Unlock()
		if pions.RemoteDescription() == nil {
			c.early = append(c.early, init)
			return
		}
		check(t, pions.AddICECandidate(init))
	})
	return c
}

// trickle hands Pion's candidates to us, from when we have its description.
func (c *call) trickle() {
	c.pions.OnICECandidate(func(candidate *pion.ICECandidate) {
		if candidate == nil {
			check(c.t, c.ours.AddICECandidate(nil))
			return
		}
		var ours webrtc.ICECandidate
		b, err := json.Marshal(candidate.ToJSON())
		check(c.t, err)
		check(c.t, json.Unmarshal(b, &ours))
		check(c.t, c.ours.AddICECandidate(&ours))
	})
}

// remember gives Pion what came before our description.
func (c *call) remember() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, init := range c.early {
		check(c.t, c.pions.AddICECandidate(init))
	}
	c.early = nil
}

// weOffer and pionOffers negotiate; they are for restarts too.
func (c *call) weOffer() {
	check(c.t, c.ours.SetLocalDescription(nil))
	check(c.t, c.pions.SetRemoteDescription(toPion(c.ours.LocalDescription())))
	c.remember()
	answer, err := c.pions.CreateAnswer(nil)
	check(c.t, err)
	gathered := pion.GatheringCompletePromise(c.pions)
	check(c.t, c.pions.SetLocalDescription(answer))
	<-gathered
	check(c.t, c.ours.SetRemoteDescription(fromPion(c.pions.LocalDescription())))
}

func (c *call) pionOffers(options *pion.OfferOptions) {
	offer, err := c.pions.CreateOffer(options)
	check(c.t, err)
	gathered := pion.GatheringCompletePromise(c.pions)
	check(c.t, c.pions.SetLocalDescription(offer))
	<-gathered
	check(c.t, c.ours.SetRemoteDescription(fromPion(c.pions.LocalDescription())))
	check(c.t, c.ours.SetLocalDescription(nil))
	check(c.t, c.pions.SetRemoteDescription(toPion(c.ours.LocalDescription())))
	c.remember()
}

func toPion(d *webrtc.SessionDescription) pion.SessionDescription {
	return pion.SessionDescription{Type: pion.NewSDPType(string(d.Type)), SDP: d.SDP}
}

func fromPion(d *pion.SessionDescription) webrtc.SessionDescription {
	return webrtc.SessionDescription{Type: webrtc.SDPType(d.Type.String()), SDP: d.SDP}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kinds are the kinds of channel, by what createDataChannel is given.
var kinds = []struct {
	name       string
	ordered    bool
	life, rexm *uint16
	reliable   bool
}{
	{"ordered", true, nil, nil, true},
	{"unordered", false, nil, nil, true},
	{"short life", true, new(uint16(5000)), nil, false},
	{"few retransmissions", false, nil, new(uint16(3)), false},
}

// Each side offers once, each opens every kind of channel, and everything that is said arrives.
func TestChannels(t *testing.T) {
	for _, offerer := range []string{"ours", "Pion"} {
		t.Run(offerer+" offers", func(t *testing.T) {
			c := newCall(t)
			var ends sync.WaitGroup
			said := func(from string, kind int) string { return fmt.Sprintf("%s: %s", from, kinds[kind].name) }
			want := map[string]bool{}
			heard := make(chan string, 100)

			// Pion opens, we echo.
			c.ours.OnDataChannel(func(ch *webrtc.DataChannel) {
				ch.OnMessage(func(m webrtc.Message) { check(t, ch.SendText("echo of "+m.Text())) })
			})
			for i, k := range kinds {
				ch, err := c.pions.CreateDataChannel(k.name, &pion.DataChannelInit{Ordered: &k.ordered, MaxPacketLifeTime: k.life, MaxRetransmits: k.rexm})
				check(t, err)
				ch.OnOpen(func() { ch.SendText(said("Pion", i)) })
				ch.OnMessage(func(m pion.DataChannelMessage) { heard <- string(m.Data) })
				want["echo of "+said("Pion", i)] = true
			}
			// We open, Pion echoes.
			c.pions.OnDataChannel(func(ch *pion.DataChannel) {
				ch.OnMessage(func(m pion.DataChannelMessage) { ch.SendText("echo of " + string(m.Data)) })
			})
			for i, k := range kinds {
				ch, err := c.ours.CreateDataChannel(k.name, &webrtc.DataChannelInit{Ordered: &k.ordered, MaxPacketLifeTime: k.life, MaxRetransmits: k.rexm})
				check(t, err)
				ch.OnOpen(func() { check(t, ch.SendText(said("ours", i))) })
				ch.OnMessage(func(m webrtc.Message) { heard <- m.Text() })
				want["echo of "+said("ours", i)] = true
			}
			// One that both have agreed upon.
			id, yes := uint16(1000), true
			agreedOurs, err := c.ours.CreateDataChannel("agreed", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
			check(t, err)
			agreedPions, err := c.pions.CreateDataChannel("agreed", &pion.DataChannelInit{Negotiated: &yes, ID: &id})
			check(t, err)
			agreedOurs.OnMessage(func(m webrtc.Message) { heard <- m.Text() })
			agreedPions.OnOpen(func() { agreedPions.SendText("as agreed") })
			want["as agreed"] = true

			if offerer == "ours" {
				c.weOffer()
			} else {
				c.pionOffers(nil)
			}
			for len(want) > 0 {
				select {
				case s := <-heard:
					if !want[s] {
						t.Fatalf("unexpected: %q", s)
					}
					delete(want, s)
				case <-time.After(30 * time.Second):
					t.Fatalf("after 30 s not heard: %v; we are %s, Pion is %s", want, c.ours.ConnectionState(), c.pions.ConnectionState())
				}
			}
			ends.Wait()
		})
	}
}

// 20 MB each way, at the same time, in messages of many sizes; with an ICE restart by either side in the middle.
func TestTransferWithRestarts(t *testing.T) {
	const total = 20 << 20
	for _, offerer := range []string{"ours", "Pion"} {
		t.Run(offerer+" offers", func(t *testing.T) {
			c := newCall(t)
			id, yes := uint16(0), true
			ours, err := c.ours.CreateDataChannel("bulk", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
			check(t, err)
			pions, err := c.pions.CreateDataChannel("bulk", &pion.DataChannelInit{Negotiated: &yes, ID: &id})
			check(t, err)

			open := make(chan struct{})
			ours.OnOpen(func() { close(open) })
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			down := newSink(total) // to us
			up := newSink(total)
			pions.OnMessage(func(m pion.DataChannelMessage) { up.take(m.Data) })
			room := make(chan struct{}, 1)
			pions.SetBufferedAmountLowThreshold(1 << 20)
			pions.OnBufferedAmountLow(func() {
				select {
				case room <- struct{}{}:
				default:
				}
			})
			sums := make(chan [32]byte, 2)
			pions.OnOpen(func() {
				go func() {
					sums <- source(total, func(b []byte) error {
						if pions.BufferedAmount() > 4<<20 {
							<-room
						}
						return pions.Send(b)
					})
				}()
			})
			if offerer == "ours" {
				c.weOffer()
			} else {
				c.pionOffers(nil)
			}
			upSum := make(chan [32]byte, 1)
			<-open
			go func() { upSum <- source(total, func(b []byte) error { return ours.SendContext(ctx, b) }) }()
			go func() {
				for m, err := range ours.Messages(ctx) {
					if err != nil {
						return
					}
					down.take(m.Data)
				}
			}()
			<-down.half
			if offerer == "ours" {
				c.ours.RestartICE()
				c.weOffer()
			} else {
				c.pionOffers(&pion.OfferOptions{ICERestart: true})
			}
			for name, s := range map[string]*sink{"down": down, "up": up} {
				select {
				case <-s.full:
				case <-ctx.Done():
					t.Fatalf("%s: %d of %d bytes; we are %s, Pion is %s", name, s.size(), total, c.ours.ConnectionState(), c.pions.ConnectionState())
				}
			}
			if got, want := down.sum(), <-sums; got != want {
				t.Error("what Pion sent is not what came")
			}
			if got, want := up.sum(), <-upSum; got != want {
				t.Error("what we sent is not what came")
			}
		})
	}
}

// source sends so many random bytes and returns their hash.
func source(total int, send func([]byte) error) [32]byte {
	random := rand.NewChaCha8([32]byte{1})
	hash := sha256.New()
	for sent := 0; sent < total; {
		b := make([]byte, min(total-sent, 1+int(random.Uint64()%(64<<10))))
		random.Read(b)
		hash.Write(b)
		if send(b) != nil {
			break
		}
		sent += len(b)
	}
	return [32]byte(hash.Sum(nil))
}

// A sink hashes what it is given.
type sink struct {
	mu         sync.Mutex
	got, total int
	hash       interface {
		io.Writer
		Sum([]byte) []byte
	}
	half, full chan struct{}
}

func newSink(total int) *sink {
	return &sink{total: total, hash: sha256.New(), half: make(chan struct{}), full: make(chan struct{})}
}

func (s *sink) take(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.got
	s.got += len(b)
	s.hash.Write(b)
	if before < s.total/2 && s.got >= s.total/2 {
		close(s.half)
	}
	if before < s.total && s.got >= s.total {
		close(s.full)
	}
}

func (s *sink) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

func (s *sink) sum() [32]byte { return [32]byte(s.hash.Sum(nil)) }

// Either side closes: the other learns of it.
func TestClose(t *testing.T) {
	for _, who := range []string{"ours", "Pion"} {
		t.Run(who+" closes", func(t *testing.T) {
			c := newCall(t)
			ch, err := c.ours.CreateDataChannel("chat", nil)
			check(t, err)
			opened := make(chan *pion.DataChannel, 1)
			c.pions.OnDataChannel(func(ch *pion.DataChannel) { ch.OnOpen(func() { opened <- ch }) })
			c.weOffer()
			theirs := <-opened
			closed := make(chan struct{})
			if who == "ours" {
				theirs.OnClose(func() { close(closed) })
				check(t, c.ours.Close())
			} else {
				ch.OnClose(func() { close(closed) })
				check(t, c.pions.Close())
			}
			select {
			case <-closed:
			case <-time.After(30 * time.Second):
				t.Fatal("the other side's channel is still open")
			}
			if err := ch.SendText("too late"); err == nil {
				t.Error("a closed channel took a message")
			} else if e := new(webrtc.Error); !errors.As(err, &e) || e.Name != webrtc.InvalidStateError {
				t.Errorf("a closed channel refused with %v", err)
			}
		})
	}
}
