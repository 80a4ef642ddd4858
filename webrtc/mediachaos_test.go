package webrtc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Two programs do what comes to their minds with audio, video and data, at the same time, over a signaling channel with delay and a
// network with losses, by perfect negotiation. Whenever they rest, both come to the same: the same sections, in the same directions,
// on which what is to flow flows and nothing else; and in the end nothing of them is left.
func TestMediaChaos(t *testing.T) {
	seeds := uint64(4)
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 400
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { inWorld(t, func(w *world) { mediaChaos(w, seed) }) })
	}
}

// A caller is a program with perfect negotiation (webrtc-pc section 10.7).
type caller struct {
	*PeerConnection
	w      *world
	name   string
	polite bool
	other  *caller
	rng    *rand.Rand  // of whims
	tracks []*RTPTrack // the number of each is in what it carries

	inbox    chan func()
	underway *atomic.Int32 // messages, of both

	mu          sync.Mutex // a step of negotiation is done as a whole
	ignoreOffer bool
	dice        *rand.Rand // of negotiation

	state    sync.Mutex
	log      []string
	channels []*DataChannel  // ours
	heard    map[string]bool // what was said on channels
}

// carried is what a packet carries, behind a first byte that VP8 wants so; the first byte of it is the track's number.
var carried = [...]byte{0, 0, 0x9d, 1, 0x2a}

func (c *caller) note(format string, args ...any) {
	c.state.Lock()
	defer c.state.Unlock()
	c.log = append(c.log, fmt.Sprintf("%v "+format, append([]any{c.pcTime()}, args...)...))
}

func (c *caller) pcTime() time.Duration {
	return time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Round(time.Millisecond)
}

func (c *caller) check(what string, err error) {
	if err != nil && c.SignalingState() != SignalingStateClosed {
		c.w.Errorf("%s: %s: %v", c.name, what, err)
	}
}

// say sends a message to the other program.
func (c *caller) say(do func(to *caller)) {
	c.underway.Add(1)
	to := c.other
	to.inbox <- func() {
		defer c.underway.Add(-1)
		do(to)
	}
}

func (c *caller) describe() {
	d := *c.LocalDescription()
	c.note("says its %s", d.Type)
	c.say(func(to *caller) { to.take(d) })
}

// take is onmessage for a description.
func (c *caller) take(d SessionDescription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	collision := d.Type == SDPTypeOffer && c.SignalingState() != SignalingStateStable
	if c.ignoreOffer = !c.polite && collision; c.ignoreOffer {
		c.note("ignores an offer")
		return
	}
	c.note("takes the %s", d.Type)
	if collision && c.dice.IntN(2) == 0 {
		c.check("rollback", c.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
	}
	c.check("their "+string(d.Type), c.SetRemoteDescription(d))
	if d.Type == SDPTypeOffer {
		c.check("our answer", c.SetLocalDescription(nil))
		c.describe()
	}
}

func (w *world) caller(n *Network, name string, seed uint64, cfg Configuration) *caller {
	c := &caller{PeerConnection: w.connection(n, cfg), w: w, name: name, polite: name == "b", rng: rand.New(rand.NewPCG(seed, uint64(name[0]))), dice: rand.New(rand.NewPCG(seed, uint64(name[0])+1000)),
		inbox: make(chan func(), 4096), heard: map[string]bool{}}
	for i, codec := range []RTPCodec{Opus, Opus, VP8, VP8} {
		track, err := NewRTPTrack(codec, fmt.Sprint(name, i))
		w.check(err)
		c.tracks = append(c.tracks, track)
	}
	c.OnNegotiationNeeded(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.SignalingState() == SignalingStateStable {
			c.check("our offer", c.SetLocalDescription(nil))
			c.describe()
		}
	})
	c.OnICECandidate(func(candidate *ICECandidate) {
		c.mu.Lock() // behind the description that it belongs to
		defer c.mu.Unlock()
		c.say(func(to *caller) {
			to.mu.Lock()
			defer to.mu.Unlock()
			err := to.AddICECandidate(candidate)
			if err == nil || to.ignoreOffer {
				return
			}
			// An offer may have overtaken the candidates of a generation that it ends, or of a section whose place it gives to another.
			d := to.RemoteDescription().SDP
			if errorName(err) != OperationError || strings.Contains(d, "a=ice-ufrag:"+*candidate.UsernameFragment+"\r\n") && strings.Contains(d, "a=mid:"+*candidate.SDPMid+"\r\n") {
				to.check("a candidate", err)
			}
		})
	})
	c.OnDataChannel(func(ch *DataChannel) { c.listen(ch) })
	return c
}

func (c *caller) listen(ch *DataChannel) {
	ch.OnMessage(func(m Message) {
		c.state.Lock()
		defer c.state.Unlock()
		c.heard[m.Text()] = true
	})
}

// run handles what comes, and writes to the tracks.
func (c *caller) run(done <-chan struct{}, running *sync.WaitGroup) {
	delays := rand.New(rand.NewPCG(c.rng.Uint64(), 1))
	running.Go(func() {
		for {
			select {
			case do := <-c.inbox:
				time.Sleep(time.Duration(delays.IntN(60)) * time.Millisecond)
				do()
			case <-done:
				return
			}
		}
	})
	running.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := uint32(0); ; i++ {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			for number, track := range c.tracks {
				p := rtp.Packet{Marker: true, Timestamp: i * track.Codec().ClockRate / 20, Payload: append([]byte{0x10, byte(number)}, carried[1:]...)}
				if err := track.WriteRTP(&p); err != nil {
					c.check("WriteRTP", err)
				}
			}
		}
	})
}

// whim is something that a program may do at any time.
func (c *caller) whim() {
	r := c.rng
	list := c.GetTransceivers()
	var x *RTPTransceiver
	if len(list) > 0 {
		x = list[r.IntN(len(list))]
	}
	track := c.tracks[r.IntN(len(c.tracks))]
	direction := []RTPTransceiverDirection{RTPTransceiverDirectionSendRecv, RTPTransceiverDirectionSendOnly, RTPTransceiverDirectionRecvOnly, RTPTransceiverDirectionInactive}[r.IntN(4)]
	what := r.IntN(14)
	switch {
	case what == 0 && len(list) < 8:
		if !slices.ContainsFunc(c.GetSenders(), func(s *RTPSender) bool { t := s.Track(); return t != nil && sameTrack(t, track) }) {
			c.note("addTrack %s", track.Kind())
			_, err := c.AddTrack(track)
			c.check("AddTrack", err)
		}
	case what == 1 && len(list) < 8:
		c.note("addTransceiver %s %s", track.Kind(), direction)
		_, err := c.AddTransceiverTrack(track, &RTPTransceiverInit{Direction: direction})
		c.check("AddTransceiver", err)
	case what == 2 && len(list) < 8:
		c.note("addTransceiver of simulcast")
		_, err := c.AddTransceiverTrack(c.tracks[2], &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "q"}, {RID: "h"}}})
		c.check("AddTransceiver", err)
	case what == 3 && x != nil:
		c.note("removeTrack of %q", x.MID())
		c.check("RemoveTrack", c.RemoveTrack(x.Sender()))
	case what == 4 && x != nil:
		var err error
		if c.note("replaceTrack of %q", x.MID()); r.IntN(3) == 0 {
			err = x.Sender().ReplaceTrack(nil)
		} else if track.Kind() == x.Receiver().Track().Kind() {
			err = x.Sender().ReplaceTrack(track)
		}
		if err != nil && errorName(err) != InvalidStateError { // it is stopping
			c.check("ReplaceTrack", err)
		}
	case (what == 5 || what == 6) && x != nil:
		c.note("direction of %q: %s", x.MID(), direction)
		if err := x.SetDirection(direction); err != nil && errorName(err) != InvalidStateError {
			c.check("SetDirection", err)
		}
	case what == 7 && x != nil:
		c.note("stop of %q", x.MID())
		c.check("Stop", x.Stop())
	case what == 8:
		c.note("restartICE")
		c.RestartICE()
	case what == 9:
		c.state.Lock()
		label := fmt.Sprint(c.name, len(c.channels))
		c.state.Unlock()
		c.note("createDataChannel")
		ch, err := c.CreateDataChannel(label, nil)
		c.check("CreateDataChannel", err)
		c.listen(ch)
		c.state.Lock()
		c.channels = append(c.channels, ch)
		c.state.Unlock()
	case what == 10 && len(c.channels) > 0:
		c.note("close of a channel")
		c.check("Close", c.channels[r.IntN(len(c.channels))].Close())
	case what == 11 && x != nil:
		p := x.Sender().GetParameters()
		for i := range p.Encodings {
			p.Encodings[i].Active, p.Encodings[i].MaxBitrate = new(r.IntN(3) > 0), new(uint64(50_000+r.IntN(1_000_000)))
		}
		c.note("setParameters of %q", x.MID())
		if err := x.Sender().SetParameters(p); err != nil && errorName(err) != InvalidStateError && errorName(err) != InvalidModificationError { // a description came between
			c.check("SetParameters", err)
		}
	case what == 12 && x != nil:
		c.note("setStreams of %q", x.MID())
		if err := x.Sender().SetStreams(NewMediaStream(fmt.Sprint("s", r.IntN(3)))); err != nil && errorName(err) != InvalidStateError {
			c.check("SetStreams", err)
		}
	case what == 13 && x != nil:
		list := RTPReceiverCapabilities(x.Receiver().Track().Kind()).Codecs
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		c.note("setCodecPreferences of %q", x.MID())
		if err := x.SetCodecPreferences(list); err != nil && errorName(err) != InvalidStateError {
			c.check("SetCodecPreferences", err)
		}
	}
}

// rests reports whether nothing is left to negotiate, to connect or to close.
func (c *caller) rests() bool {
	live := slices.ContainsFunc(c.sections(), func(s string) bool { return !strings.HasSuffix(s, "-") })
	return c.underway.Load() == 0 && c.SignalingState() == SignalingStateStable && c.negotiation.Load() == 0 &&
		(!live || c.ConnectionState() == PeerConnectionStateConnected) && !slices.ContainsFunc(c.channels, func(ch *DataChannel) bool {
		s := ch.ReadyState()
		return s == DataChannelStateConnecting || s == DataChannelStateClosing
	})
}

func (c *caller) sections() (list []string) {
	d := c.CurrentLocalDescription()
	if d == nil {
		return nil
	}
	parsed, err := sdp.Parse(d.SDP)
	c.w.check(err)
	for _, m := range parsed.Media {
		mid, _ := m.Attr("mid")
		if m.Port == 0 && !m.Has("bundle-only") {
			mid = "-"
		}
		list = append(list, m.Kind+" "+mid)
	}
	return list
}

func mediaChaos(w *world, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	w.hostA.Attach(w.net.Internet(), simnet.Path{Delay: 10 * time.Millisecond}, "203.0.113.11")
	policies := []BundlePolicy{BundlePolicyBalanced, BundlePolicyMaxCompat, BundlePolicyMaxBundle}
	a := w.caller(w.a, "a", seed, Configuration{BundlePolicy: policies[r.IntN(3)]})
	b := w.caller(w.b, "b", seed, Configuration{BundlePolicy: policies[r.IntN(3)]})
	a.other, b.other = b, a
	a.underway = new(atomic.Int32)
	b.underway = a.underway
	done := make(chan struct{})
	var running sync.WaitGroup
	both := []*caller{a, b}
	for _, c := range both {
		c.run(done, &running)
	}
	for range 3 {
		var busy sync.WaitGroup
		for _, c := range both {
			busy.Go(func() {
				for range 10 {
					time.Sleep(time.Duration(c.rng.IntN(300)) * time.Millisecond)
					c.whim()
				}
			})
		}
		path := simnet.Path{Delay: time.Duration(5+r.IntN(100)) * time.Millisecond, Loss: float64(r.IntN(20)) / 100}
		w.hostB.Link().Set(path)
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		if r.IntN(2) == 0 {
			w.hostA.Lose("203.0.113.1")
		}
		busy.Wait()
		w.hostA.Regain("203.0.113.1")
		w.hostB.Link().Set(simnet.Path{Delay: 10 * time.Millisecond})
		settle(w, a, b)
		if w.Failed() {
			break
		}
	}
	close(done)
	running.Wait()
	w.check(a.Close())
	w.check(b.Close())
	synctest.Wait()
	if left := goroutines(); left != nil {
		w.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
	}
	if w.Failed() {
		w.Logf("a did\n\t%s\nb did\n\t%s", strings.Join(a.log, "\n\t"), strings.Join(b.log, "\n\t"))
	}
}

// settle waits until both rest, and holds what they have come to against each other.
func settle(w *world, a, b *caller) {
	for quiet, waited := 0, 0; quiet < 4; waited++ {
		time.Sleep(500 * time.Millisecond)
		if waited > 240 {
			for _, c := range []*caller{a, b} {
				var channels []DataChannelState
				for _, ch := range c.channels {
					channels = append(channels, ch.ReadyState())
				}
				w.Errorf("%s does not come to rest: %s, %s, channels %s, needs an offer %v, %d messages", c.name, c.SignalingState(), c.ConnectionState(), channels, c.negotiation.Load(), c.underway.Load())
			}
			return
		}
		quiet++
		if !a.rests() || !b.rests() {
			quiet = 0
		}
	}
	if x, y := a.sections(), b.sections(); !slices.Equal(x, y) {
		w.Errorf("the sections are %q and %q", x, y)
	}
	if w.Failed() {
		return
	}
	var checks sync.WaitGroup
	for _, c := range []*caller{a, b} {
		c.talks(&checks)
		for _, x := range c.GetTransceivers() {
			i := slices.IndexFunc(c.other.GetTransceivers(), func(y *RTPTransceiver) bool { return y.MID() == x.MID() })
			if x.MID() == "" || i < 0 {
				w.Errorf("%s has a section %q alone", c.name, x.MID())
				continue
			}
			y := c.other.GetTransceivers()[i]
			if d, o := x.CurrentDirection(), y.CurrentDirection(); sdp.Direction(d) != sdp.DirectionOf(sdp.Direction(o).Receives(), sdp.Direction(o).Sends()) {
				w.Errorf("%s: %q is %s, and %s on the other side", c.name, x.MID(), d, o)
			} else if d == RTPTransceiverDirectionSendRecv || d == RTPTransceiverDirectionSendOnly {
				sent, received := x.Sender().GetParameters(), y.Receiver().GetParameters()
				if p, q := formats(sent.Codecs), formats(received.Codecs); !slices.Equal(p, q) {
					w.Errorf("%s: %q is sent with %q, and received with %q", c.name, x.MID(), p, q)
				}
				if !slices.Equal(sent.HeaderExtensions, received.HeaderExtensions) {
					w.Errorf("%s: %q is sent with %v, and received with %v", c.name, x.MID(), sent.HeaderExtensions, received.HeaderExtensions)
				}
			}
			checks.Go(func() { c.flows(x, y) })
		}
	}
	checks.Wait()
}

// formats are codecs by name and payload type.
func formats(codecs []RTPCodecParameters) (list []string) {
	for _, c := range codecs {
		list = append(list, fmt.Sprint(c.MimeType, "/", c.ClockRate, " ", c.PayloadType))
	}
	return list
}

// flows checks that what a transceiver sends comes to its counterpart, and nothing else does.
func (c *caller) flows(x, y *RTPTransceiver) {
	want := -1
	s := x.Sender()
	if d := x.CurrentDirection(); s.Track() != nil && (d == RTPTransceiverDirectionSendRecv || d == RTPTransceiverDirectionSendOnly) {
		p := s.GetParameters()
		taken := slices.ContainsFunc(p.Codecs, func(k RTPCodecParameters) bool { return k.MimeType == s.Track().Codec().MimeType })
		if e := p.Encodings[0]; taken && (e.Active == nil || *e.Active) {
			want = slices.IndexFunc(c.tracks, func(t *RTPTrack) bool { return sameTrack(t, s.Track()) })
		}
	}
	remote := y.Receiver().Track().Encodings()[0]
	got := map[int]int{}
	var p rtp.Packet
	begin, patience := time.Now(), 5*time.Second
	if want >= 0 {
		patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for remote.ReadRTP(ctx, &p) == nil {
		n := len(p.Payload)
		if time.Since(begin) < 3*time.Second || n < len(carried) { // what was under way
			continue
		}
		if got[int(p.Payload[n-len(carried)])]++; len(got) == 1 && got[want] == 1 { // behind what RED repeats
			ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
		}
	}
	if want < 0 && len(got) > 0 || want >= 0 && (got[want] == 0 || len(got) > 1) {
		c.w.Errorf("%s: on %q (%s, %s, %s) track %d is sent, and there came %v", c.name, x.MID(), remote.Kind(), x.CurrentDirection(), remote.RID(), want, got)
	}
}

func (c *caller) hasHeard(text string) bool {
	c.state.Lock()
	defer c.state.Unlock()
	return c.heard[text]
}

// talks checks that what is said on open channels is heard.
func (c *caller) talks(checks *sync.WaitGroup) {
	c.state.Lock()
	defer c.state.Unlock()
	for i, ch := range c.channels {
		switch ch.ReadyState() {
		case DataChannelStateOpen:
			text := fmt.Sprint(c.name, i, " at ", c.pcTime())
			c.check("Send", ch.SendText(text))
			checks.Go(func() {
				for range 120 {
					time.Sleep(500 * time.Millisecond)
					if c.other.hasHeard(text) {
						return
					}
				}
				c.w.Errorf("%s was not heard", text)
			})
		case DataChannelStateClosed:
		default:
			c.w.Errorf("%s's channel %d is %s", c.name, i, ch.ReadyState())
		}
	}
}
