package jsep

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// An endpoint is a session and what perfect negotiation keeps beside it (webrtc-pc section 10.7).
type endpoint struct {
	*Session
	polite      bool
	ignoreOffer bool
	inbox       []Description
	log         []string
	rng         *rand.Rand // of how descriptions are taken
}

// Two sessions do what comes to their minds, at the same time, over a signaling channel with delay, by perfect negotiation.
// No call fails, and in the end both agree on everything.
func TestPerfectNegotiation(t *testing.T) {
	seeds := uint64(60)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 3000
	}
	for seed := range seeds {
		if err := perfect(t, seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func perfect(t *testing.T, seed uint64) (failure error) {
	rng := rand.New(rand.NewPCG(seed, 6))
	a := &endpoint{Session: policed(t, byte(2*seed), BundlePolicy(rng.IntN(3))), polite: true, rng: rng}
	b := &endpoint{Session: policed(t, byte(2*seed+1), BundlePolicy(rng.IntN(3))), rng: rng}
	defer func() {
		if failure != nil {
			failure = fmt.Errorf("%w\npolite:   %s\nimpolite: %s", failure, strings.Join(a.log, ", "), strings.Join(b.log, ", "))
		}
	}()
	for step := range 60 {
		me, other := a, b
		if rng.IntN(2) == 0 {
			me, other = b, a
		}
		switch {
		case len(me.inbox) > 0 && rng.IntN(3) > 0:
			if err := me.take(t, other); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		case step < 45:
			me.whim(t, rng)
		}
		if err := me.offer(other); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	for rounds := 0; ; rounds++ {
		if rounds == 50 {
			return fmt.Errorf("it does not end: %s and %s", a.SignalingState(), b.SignalingState())
		}
		quiet := true
		for _, x := range [][2]*endpoint{{a, b}, {b, a}} {
			for len(x[0].inbox) > 0 {
				quiet = false
				if err := x[0].take(t, x[1]); err != nil {
					return err
				}
			}
			if err := x[0].offer(x[1]); err != nil {
				return err
			}
		}
		if quiet && len(a.inbox)+len(b.inbox) == 0 {
			return agree(a.Session, b.Session)
		}
	}
}

// offer is what onnegotiationneeded does.
func (e *endpoint) offer(to *endpoint) error {
	if e.SignalingState() != Stable || !e.NegotiationNeeded() {
		return nil
	}
	if _, err := e.SetLocal(Description{}); err != nil {
		return fmt.Errorf("our offer: %w", err)
	}
	e.log = append(e.log, "offer")
	to.inbox = append(to.inbox, e.PendingLocal())
	return nil
}

// take is what onmessage does with a description.
func (e *endpoint) take(t *testing.T, from *endpoint) error {
	d := e.inbox[0]
	e.inbox = e.inbox[1:]
	e.log = append(e.log, "take "+string(d.Type))
	collision := d.Type == Offer && e.SignalingState() != Stable
	if e.ignoreOffer = !e.polite && collision; e.ignoreOffer {
		return nil
	}
	if collision && e.rng.IntN(2) == 0 { // else it is implied
		if _, err := e.SetLocal(Description{Type: Rollback}); err != nil {
			return fmt.Errorf("our rollback: %w", err)
		}
	}
	if _, err := e.SetRemote(d); err != nil {
		return fmt.Errorf("their %s: %w", d.Type, err)
	}
	if d.Type == Offer {
		for e.rng.IntN(3) == 0 { // a provisional answer first, or several, and what the program does then
			if _, err := e.SetLocal(Description{Type: Pranswer}); err != nil {
				return fmt.Errorf("our provisional answer: %w", err)
			}
			e.log = append(e.log, "pranswer")
			from.inbox = append(from.inbox, e.PendingLocal())
			e.whim(t, e.rng)
		}
		if _, err := e.SetLocal(Description{}); err != nil {
			return fmt.Errorf("our answer: %w", err)
		}
		from.inbox = append(from.inbox, e.CurrentLocal())
	}
	return nil
}

// whim is something that a program may do at any time.
func (e *endpoint) whim(t *testing.T, rng *rand.Rand) {
	list := e.Transceivers()
	kind := []string{"audio", "video"}[rng.IntN(2)]
	direction := []sdp.Direction{sdp.SendRecv, sdp.SendOnly, sdp.RecvOnly, sdp.Inactive}[rng.IntN(4)]
	what := rng.IntN(10)
	e.log = append(e.log, fmt.Sprint("whim ", what))
	switch {
	case what == 0:
		e.AddData()
	case what == 1 && len(list) < 8:
		add(t, e.Session, kind, TransceiverInit{Direction: direction})
	case what == 2 && len(list) < 8:
		add(t, e.Session, kind, TransceiverInit{AddTrack: true, Track: "t", Streams: []string{"s"}})
	case what == 3 && len(list) < 8:
		add(t, e.Session, "video", TransceiverInit{RIDs: []string{"q", "h"}})
	case what == 4 && len(list) > 0:
		if x := list[rng.IntN(len(list))]; !x.Stopping() {
			if err := x.SetDirection(direction); err != nil {
				t.Error(err)
			}
		}
	case what == 5 && len(list) > 0:
		if err := list[rng.IntN(len(list))].Stop(); err != nil {
			t.Error(err)
		}
	case what == 6:
		e.RestartICE()
	case what == 7 && len(list) > 0:
		x := list[rng.IntN(len(list))]
		x.AddTrack()
		x.SetStreams([]string{"v"})
	case what == 8 && e.SignalingState() == HaveLocalOffer && e.polite && len(e.inbox) == 0:
		if _, err := e.CreateOffer(OfferOptions{ICERestart: true}); err != nil { // and it is not set
			t.Error(err)
		}
	}
}

// agree says in what two sessions differ that should have come to the same.
func agree(a, b *Session) error {
	if a.SignalingState() != Stable || b.SignalingState() != Stable || a.NegotiationNeeded() || b.NegotiationNeeded() {
		return fmt.Errorf("%s and %s, an offer is needed: %v, %v", a.SignalingState(), b.SignalingState(), a.NegotiationNeeded(), b.NegotiationNeeded())
	}
	x, y := a.Transports(), b.Transports()
	if len(x) != len(y) {
		return fmt.Errorf("%d and %d transports", len(x), len(y))
	}
	for i := range x {
		j := slices.IndexFunc(y, func(t Transport) bool { return t.Local == x[i].Remote })
		if j < 0 {
			return fmt.Errorf("nobody has the credentials %+v", x[i].Remote)
		}
		o := y[j]
		if o.Remote != x[i].Local || o.Role == x[i].Role || o.RemoteTLSID != x[i].LocalTLSID && o.RemoteTLSID != "" || !slices.Equal(o.MIDs, x[i].MIDs) ||
			x[i].Association != o.Association || x[i].Restart != (Credentials{}) {
			return fmt.Errorf("transports\n%+v\n%+v", x[i], o)
		}
	}
	c, cok := a.Data()
	d, dok := b.Data()
	if cok != dok || c.MID != d.MID {
		return fmt.Errorf("data %+v and %+v", c, d)
	}
	p, q := a.Transceivers(), b.Transceivers()
	if len(p) != len(q) {
		return fmt.Errorf("%d and %d transceivers", len(p), len(q))
	}
	for _, t := range p {
		j := slices.IndexFunc(q, func(u *Transceiver) bool { return u.MID() == t.MID() })
		if j < 0 {
			return fmt.Errorf("mid %q is on one side only", t.MID())
		}
		if u := q[j]; u.Kind() != t.Kind() || u.CurrentDirection() != sdp.DirectionOf(t.CurrentDirection().Receives(), t.CurrentDirection().Sends()) {
			return fmt.Errorf("mid %q: %s %s and %s %s", t.MID(), t.Kind(), t.CurrentDirection(), u.Kind(), u.CurrentDirection())
		}
	}
	return agreeMedia(a.Media(), b.Media())
}

// agreeMedia says what of media the sides see otherwise: what one sends the other receives, by the same numbers.
func agreeMedia(a, b []Media) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d and %d sections of media", len(a), len(b))
	}
	same := func(x, y []Codec) bool {
		return slices.EqualFunc(x, y, func(c, d Codec) bool {
			return c.Payload == d.Payload && c.RTX == d.RTX && c.Matches(&d) && slices.Equal(c.Feedback, d.Feedback)
		})
	}
	for i, x := range a {
		y := b[i]
		if x.MID != y.MID || x.Sends != y.Receives || x.Receives != y.Sends || !same(x.Send, y.Receive) || !same(x.Receive, y.Send) ||
			!slices.Equal(x.SendExtensions, y.ReceiveExtensions) || !slices.Equal(x.ReceiveExtensions, y.SendExtensions) {
			return fmt.Errorf("media\n%+v\n%+v", x, y)
		}
		if e := x.Encodings[0]; x.Sends && len(x.Encodings) == 1 && e.RID == "" && (len(y.Sources) != 1 || y.Sources[0].SSRC != e.SSRC || y.Sources[0].CNAME != x.CNAME) {
			return fmt.Errorf("mid %q: %+v is declared as %+v", x.MID, e, y.Sources)
		}
	}
	return nil
}
