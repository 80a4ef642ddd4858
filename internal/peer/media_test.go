package peer_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// media are options of a peer with media.
func media() options {
	return options{dtls: dtls.Config{Groups: []dtls.Group{dtls.X25519}, SRTPProfiles: dtls.DefaultSRTPProfiles()}}
}

// transceive adds a transceiver.
func (s *side) transceive(kind string, rids ...string) {
	s.t.Helper()
	if _, err := s.session.AddTransceiver(kind, jsep.TransceiverInit{Track: kind, RIDs: rids, AddTrack: len(rids) == 0}); err != nil {
		s.t.Fatal(err)
	}
}

// newMedia makes a world in which both sides have audio, then video, and are connected.
func newMedia(t testing.TB, seed uint64, path simnet.Path) *world {
	t.Helper()
	w := newWorld(t, seed, path, media(), media())
	for _, s := range []*side{w.a, w.b} {
		s.transceive("audio")
		s.transceive("video")
	}
	w.negotiate()
	w.until("media's keys", 30*time.Second, func() bool { return w.a.up() && w.b.up() })
	return w
}

// up reports whether DTLS is.
func (s *side) up() bool {
	return s.Transport(1) != nil && s.Transport(1).DTLSState() == peer.DTLSConnected
}

// sends sends n packets of a section, each some time after the one before, from now on.
type source struct {
	side      *side
	mid       string
	encoding  int
	pt        uint8
	every     time.Duration
	size      int
	n         int
	frame     int // packets of one timestamp
	extension []session.Extension
	sent      int
	refused   map[error]int
}

func (x *source) start() {
	x.refused = map[error]int{}
	x.side.host.Network().After(0, x.tick)
}

func (x *source) tick(now mono.Time) {
	if x.sent == x.n {
		return
	}
	payload := make([]byte, x.size)
	binary.BigEndian.PutUint32(payload, uint32(x.sent))
	frame := max(x.frame, 1)
	p := session.Packet{
		PayloadType: rtp.PayloadType(x.pt), Payload: payload, Timestamp: uint32(x.sent/frame) * 3000, Marker: x.sent%frame == frame-1, Extensions: x.extension,
	}
	sender := x.side.Sender(x.mid)
	if sender == nil {
		x.side.t.Fatalf("there is no section %q", x.mid)
	}
	if err := sender.Send(now, x.encoding, &p); err != nil {
		x.refused[err]++
	}
	x.sent++
	x.side.poll()
	x.side.host.Network().After(x.every, x.tick)
}

// numbers returns which of the packets of a section came, by what they say themselves, and how often.
func (s *side) numbers(mid, rid string) map[uint32]int {
	seen := map[uint32]int{}
	for _, p := range s.packets {
		if p.mid == mid && p.rid == rid {
			seen[binary.BigEndian.Uint32([]byte(p.payload))]++
		}
	}
	return seen
}

func TestMediaFlows(t *testing.T) {
	for _, answers := range []bool{false, true} {
		t.Run(fmt.Sprint("from the answerer: ", answers), func(t *testing.T) {
			w := newMedia(t, 1, simnet.Path{})
			from, to := w.a, w.b
			if answers {
				from, to = to, from
			}
			audio := &source{side: from, mid: "0", pt: 111, every: 20 * time.Millisecond, size: 80, n: 100}
			video := &source{side: from, mid: "1", pt: 96, every: 5 * time.Millisecond, size: 1000, n: 400}
			audio.start()
			video.start()
			w.Run(4 * time.Second)
			for _, x := range []*source{audio, video} {
				seen := to.numbers(x.mid, "")
				if len(seen) != x.n || len(x.refused) > 0 {
					t.Errorf("section %s: %d of %d packets came, %v refused; %+v", x.mid, len(seen), x.n, x.refused, to.Transport(1).Session().Dropped())
				}
			}
			for _, o := range from.Transport(1).Session().AppendOutbound(nil) {
				if o.PacketsSent == 0 || o.Remote.Reports == 0 || o.Remote.PacketsLost != 0 {
					t.Errorf("statistics of what is sent: %+v", o)
				}
				if rtt := o.Remote.RoundTripTime; rtt < 2*oneWay-time.Millisecond || rtt > 2*oneWay+time.Millisecond {
					t.Errorf("the round trip is measured as %v", rtt)
				}
			}
			in := to.Transport(1).Session().AppendInbound(nil)
			if len(in) != 2 {
				t.Fatalf("%d streams came", len(in))
			}
			for _, i := range in {
				if i.Remote.Reports == 0 || i.CNAME == "" || i.PacketsLost != 0 || i.PacketsReceived == 0 {
					t.Errorf("statistics of what came: %+v", i)
				}
			}
		})
	}
}

// What is lost is asked for again and comes again, on the stream of retransmissions (RFC 4588).
func TestLossIsRepaired(t *testing.T) {
	for _, path := range []simnet.Path{
		{Loss: 0.025}, {Loss: 0.025, Burst: 3}, {Loss: 0.01, Reorder: 0.05, ReorderBy: 15 * time.Millisecond}, {Duplicate: 0.1, Loss: 0.05},
	} {
		t.Run(fmt.Sprintf("%+v", path), func(t *testing.T) {
			w := newMedia(t, 3, path)
			video := &source{side: w.a, mid: "1", pt: 96, every: 3 * time.Millisecond, size: 1000, n: 2000, frame: 5}
			video.start()
			w.Run(8 * time.Second)
			seen := w.b.numbers("1", "")
			for n, times := range seen {
				if times != 1 {
					t.Errorf("packet %d came %d times", n, times)
				}
			}
			s := w.b.Transport(1).Session()
			in := s.AppendInbound(nil)
			if len(seen) != video.n || len(video.refused) > 0 {
				t.Errorf("%d of %d packets came; %v refused, %+v, %+v", len(seen), video.n, video.refused, s.Dropped(), in)
			}
			repaired := uint64(0)
			var last mono.Time
			for _, p := range w.b.packets {
				if p.repaired {
					repaired++
				}
				tail := p.mid == video.mid && int(binary.BigEndian.Uint32([]byte(p.payload))) > video.n-10 // repaired with more patience
				if gap := p.at.Sub(last); last > 0 && gap > 500*time.Millisecond && !tail {
					t.Errorf("nothing came for %v", gap)
				}
				last = p.at
			}
			if repaired == 0 || repaired != in[0].PacketsRepaired || in[0].NACKCount == 0 {
				t.Errorf("%d packets were repaired, %+v", repaired, in[0])
			}
			out := w.a.Transport(1).Session().AppendOutbound(nil)[1]
			if out.NACKCount == 0 || out.RetransmittedPacketsSent < repaired/2 || out.RetransmittedPacketsSent > 3*repaired+20 {
				t.Errorf("%d were repaired, %+v", repaired, out)
			}
		})
	}
}

// encoder is a source of video that follows its targets: 30 frames a second of each encoding, of packets of 1000 bytes and a rest.
type encoder struct {
	side    *side
	mid     string
	targets []uint64 // of the encodings, as they are told
	keys    []int    // requests for key frames
	refused int
}

func (x *encoder) start() {
	n := x.side.Sender(x.mid).Encodings()
	x.targets, x.keys = make([]uint64, n), make([]int, n)
	x.side.host.Network().After(0, x.tick)
}

func (x *encoder) tick(now mono.Time) {
	for _, e := range x.side.events {
		if e.Kind == peer.OfRTP && e.RTP.MID == x.mid {
			switch e.RTP.Kind {
			case session.TargetBitrate:
				x.targets[e.RTP.Encoding] = e.RTP.Bitrate
			case session.KeyFrameWanted:
				x.keys[e.RTP.Encoding]++
			}
		}
	}
	x.side.events = x.side.events[:0]
	for i, target := range x.targets {
		for left := int(target / 8 / 30); left > 0; left -= 1000 {
			b := make([]byte, max(min(left, 1000), 12))
			binary.BigEndian.PutUint64(b, uint64(now))
			if x.side.Sender(x.mid).Send(now, i, &session.Packet{PayloadType: 96, Timestamp: uint32(now / 11111), Payload: b, Marker: left <= 1000}) != nil {
				x.refused++
			}
		}
	}
	x.side.poll()
	x.side.host.Network().After(time.Second/30, x.tick)
}

// watch notes how much comes by encoding, and how late.
type watch struct {
	bytes map[string]int
	late  []time.Duration
	last  mono.Time
	gap   time.Duration // the longest without a packet
}

func (s *side) watch() *watch {
	x := &watch{bytes: map[string]int{}, last: s.clock()}
	s.onPacket = func(now mono.Time, r *session.Received) {
		if len(r.Packet.Payload) < 8 {
			return // padding
		}
		x.bytes[r.Stream.RID()] += len(r.Packet.Payload)
		x.late = append(x.late, now.Sub(mono.Time(binary.BigEndian.Uint64(r.Packet.Payload))))
		x.gap, x.last = max(x.gap, now.Sub(x.last)), now
	}
	return x
}

// percentile of the delays.
func (x *watch) percentile(p int) time.Duration {
	slices.Sort(x.late)
	if len(x.late) == 0 {
		return 0
	}
	return x.late[(len(x.late)-1)*p/100]
}

// kbits is the rate of what came within so many seconds.
func (x *watch) kbits(rid string, seconds int) int { return x.bytes[rid] * 8 / seconds / 1000 }

// The rate of a video follows that of the link, without a freeze and without a long queue, also through loss both ways.
func TestVideoFollowsTheLink(t *testing.T) {
	for _, loss := range []float64{0, 0.05} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			w := newMedia(t, 21, simnet.Path{})
			link := func(rate int64) {
				p := simnet.Path{Delay: oneWay / 2, Rate: rate, Queue: 32 << 10, Loss: loss}
				w.a.host.Link().SetUp(p)
				w.a.host.Link().SetDown(simnet.Path{Delay: oneWay / 2, Loss: loss})
			}
			link(2_000_000)
			video := &encoder{side: w.a, mid: "1"}
			video.start()
			for _, phase := range []struct {
				rate          int64
				settle, least int // seconds, kbit/s of payload
			}{{2_000_000, 15, 1300}, {500_000, 10, 300}, {2_000_000, 15, 1200}} {
				link(phase.rate)
				w.Run(time.Duration(phase.settle) * time.Second)
				x := w.b.watch()
				w.Run(10 * time.Second)
				t.Logf("of %d kbit/s %d, late by %v mostly and %v at the 95th percentile, the longest gap %v", phase.rate/1000, x.kbits("", 10), x.percentile(50), x.percentile(95), x.gap)
				least := int(float64(phase.least) * (1 - 10*loss)) // losses slow down, and what is sent again is not counted
				if n := x.kbits("", 10); n < least || n > int(phase.rate/1000) {
					t.Errorf("of %d kbit/s the video has %d", phase.rate/1000, n)
				}
				if x.percentile(95) > 400*time.Millisecond || x.gap > 500*time.Millisecond {
					t.Errorf("it is late by %v, or comes not for %v", x.percentile(95), x.gap)
				}
			}
		})
	}
}

// Of three encodings those are sent that the link has room for, the lower ones first; one that comes again begins with a key frame.
func TestSimulcastFollowsTheLink(t *testing.T) {
	w := newWorld(t, 22, simnet.Path{}, media(), media())
	w.a.transceive("video", "q", "h", "f")
	w.negotiate()
	w.until("media's keys", 30*time.Second, func() bool { return w.a.up() && w.b.up() })
	mid := w.a.session.Media()[0].MID
	for i, most := range []uint64{150_000, 500_000, 2_000_000} {
		w.a.Sender(mid).SetEncoding(w.Now(), i, session.EncodingParameters{Active: true, MaxBitrate: most})
	}
	video := &encoder{side: w.a, mid: mid}
	video.start()
	for _, phase := range []struct {
		rate    int64
		q, h, f bool
	}{{4_000_000, true, true, true}, {350_000, true, true, false}, {4_000_000, true, true, true}} {
		w.a.host.Link().SetUp(simnet.Path{Delay: oneWay / 2, Rate: phase.rate, Queue: 32 << 10})
		w.Run(25 * time.Second)
		keys := video.keys[2]
		x := w.b.watch()
		w.Run(5 * time.Second)
		t.Logf("of %d kbit/s q has %d, h %d, f %d; targets %d, %d requests for key frames of f so far", phase.rate/1000, x.kbits("q", 5), x.kbits("h", 5), x.kbits("f", 5), video.targets, keys)
		for rid, want := range map[string]bool{"q": phase.q, "h": phase.h, "f": phase.f} {
			if got := x.bytes[rid] > 0; got != want {
				t.Errorf("of %d kbit/s: %q comes: %t", phase.rate/1000, rid, got)
			}
		}
	}
	if video.keys[2] < 2 {
		t.Errorf("%d key frames of the highest encoding were asked for", video.keys[2])
	}
}

// A bulk of data and a video share a link of 2 Mbit/s: each gets a good part of it, and the video is not late.
func TestDataAndVideoShareALink(t *testing.T) {
	w := newMedia(t, 5, simnet.Path{})
	w.a.open("bulk")
	w.until("an open channel", 10*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	w.a.host.Link().SetUp(simnet.Path{Delay: oneWay / 2, Rate: 2_000_000, Queue: 64 << 10})
	video := &encoder{side: w.a, mid: "1"}
	video.start()
	var push func(mono.Time)
	data := 0
	push = func(now mono.Time) {
		for w.a.Association().BufferedAmount(w.a.stream) < 100_000 {
			if w.a.Association().Send(now, w.a.stream, true, make([]byte, 10_000)) != nil {
				break
			}
		}
		w.a.poll()
		w.After(10*time.Millisecond, push)
	}
	w.After(0, push)
	w.Run(20 * time.Second)
	w.b.messages = nil
	x := w.b.watch()
	w.Run(20 * time.Second)
	for _, m := range w.b.messages {
		data += len(m)
	}
	kbits := data * 8 / 20 / 1000
	t.Logf("video %d kbit/s, late by %v mostly and %v at the 95th percentile; data %d kbit/s", x.kbits("", 20), x.percentile(50), x.percentile(95), kbits)
	if x.kbits("", 20) < 500 || kbits < 500 {
		t.Errorf("video has %d kbit/s of 2000, data %d", x.kbits("", 20), kbits)
	}
	if x.percentile(95) > 250*time.Millisecond {
		t.Errorf("the 95th percentile of the video's delay is %v", x.percentile(95))
	}
}

// A bulk of data beside a call without video: on 1 Mbit/s with a queue of 32 KB, which holds 262 ms, audio is not late, and on a fast link data
// are not slow for it.
func TestDataAndAudioShareALink(t *testing.T) {
	for _, c := range []struct {
		rate   int64
		queue  int
		least  int           // kbit/s of data
		latest time.Duration // audio, 95th percentile
	}{{1_000_000, 32 << 10, 600, 140 * time.Millisecond}, {5_000_000, 96 << 10, 3500, 150 * time.Millisecond}} {
		w := newMedia(t, 6, simnet.Path{})
		w.a.host.Link().SetUp(simnet.Path{Delay: oneWay / 2, Rate: c.rate, Queue: c.queue})
		w.talkAndPush()
		w.Run(10 * time.Second)
		x, kbits := w.dataAndAudio(15)
		t.Logf("of %d kbit/s audio has %d, late by %v mostly and %v at the 95th percentile; data %d kbit/s", c.rate/1000, x.kbits("", 15), x.percentile(50), x.percentile(95), kbits)
		if x.percentile(95) > c.latest || x.kbits("", 15) < 60 {
			t.Errorf("audio is late by %v, or lacks some", x.percentile(95))
		}
		if kbits < c.least {
			t.Errorf("data have %d kbit/s", kbits)
		}
	}
}

// Where it does not help audio that data are slow, since the queue is another's or the way has become longer, they are not.
func TestDataDoNotYieldInVain(t *testing.T) {
	w := newMedia(t, 8, simnet.Path{})
	link := simnet.Path{Delay: oneWay / 2, Rate: 2_000_000, Queue: 32 << 10}
	w.a.host.Link().SetUp(link)
	w.talkAndPush()
	w.Run(10 * time.Second)
	link.Delay += 80 * time.Millisecond
	w.a.host.Link().SetUp(link)
	w.Run(4 * time.Second)
	x, kbits := w.dataAndAudio(20)
	t.Logf("audio has %d, late by %v mostly; data %d kbit/s", x.kbits("", 20), x.percentile(50), kbits)
	if kbits < 1200 {
		t.Errorf("data have %d kbit/s of 2000", kbits)
	}
}

// talkAndPush sends audio of 64 kbit/s, and as much data as there is room for.
func (w *world) talkAndPush() {
	w.a.open("bulk")
	w.until("an open channel", 10*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	every := func(d time.Duration, do func(now mono.Time)) {
		var again func(mono.Time)
		again = func(now mono.Time) {
			do(now)
			w.a.poll()
			w.After(d, again)
		}
		w.After(0, again)
	}
	every(20*time.Millisecond, func(now mono.Time) {
		b := make([]byte, 160)
		binary.BigEndian.PutUint64(b, uint64(now))
		w.a.Sender("0").Send(now, 0, &session.Packet{PayloadType: 111, Timestamp: uint32(now / 20833), Payload: b})
	})
	every(10*time.Millisecond, func(now mono.Time) {
		for w.a.Association().BufferedAmount(w.a.stream) < 1_000_000 {
			if w.a.Association().Send(now, w.a.stream, true, make([]byte, 10_000)) != nil {
				break
			}
		}
	})
}

// dataAndAudio watches what comes for so many seconds: audio, and the kbit/s of data.
func (w *world) dataAndAudio(seconds int) (*watch, int) {
	w.b.messages = nil
	x := w.b.watch()
	w.Run(time.Duration(seconds) * time.Second)
	bytes := 0
	for _, m := range w.b.messages {
		bytes += len(m)
	}
	return x, bytes * 8 / seconds / 1000
}

// Marks of congestion take the place of losses between two peers (RFC 6679): on 1 Mbit/s with a deep queue that marks what waits longer than 20
// ms nothing is lost, and hardly anything waits.
func TestMarksAreHeeded(t *testing.T) {
	w := newMedia(t, 7, simnet.Path{})
	w.a.host.Link().SetUp(simnet.Path{Delay: oneWay / 2, Rate: 1_000_000, Queue: 256 << 10, Mark: 20 * time.Millisecond})
	video := &encoder{side: w.a, mid: "1"}
	video.start()
	w.Run(15 * time.Second)
	x := w.b.watch()
	w.Run(20 * time.Second)
	var in session.InboundStats
	for _, i := range w.b.Transport(1).Session().AppendInbound(nil) {
		if i.Kind == "video" {
			in = i
		}
	}
	t.Logf("video %d kbit/s, late by %v mostly and %v at the 95th percentile; %d packets came marked", x.kbits("", 20), x.percentile(50), x.percentile(95), in.PacketsCE)
	if in.PacketsCE == 0 || in.PacketsLost != 0 {
		t.Errorf("%d packets came marked, %d were lost", in.PacketsCE, in.PacketsLost)
	}
	if x.kbits("", 20) < 600 || x.percentile(95) > 150*time.Millisecond {
		t.Errorf("video has %d kbit/s, and is late by %v", x.kbits("", 20), x.percentile(95))
	}
}

// Media that overtake the end of the handshake are kept until there are keys.
func TestMediaBeforeTheKeys(t *testing.T) {
	held := false
	for seed := range uint64(20) {
		w := newWorld(t, seed, simnet.Path{Reorder: 0.3, ReorderBy: 30 * time.Millisecond}, media(), media())
		for _, s := range []*side{w.a, w.b} {
			s.transceive("audio")
		}
		w.negotiate()
		for _, s := range []*side{w.a, w.b} {
			after := s.driver.After
			x := &source{side: s, mid: "0", pt: 111, every: 5 * time.Millisecond, size: 100, n: 20}
			s.driver.After = func(now mono.Time) bool {
				if s.up() && x.refused == nil {
					x.start()
				}
				held = held || s.Transport(1) != nil && s.Transport(1).Holds() > 0
				return after(now)
			}
		}
		w.Run(10 * time.Second)
		for i, s := range []*side{w.a, w.b} {
			if n := len(s.numbers("0", "")); n != 20 || s.Dropped().Media > 0 {
				t.Errorf("seed %d: side %d got %d of 20 packets, %+v", seed, i, n, s.Dropped())
			}
		}
	}
	if !held {
		t.Error("nothing came before the keys: there was nothing to test")
	}
}

// With a new association of DTLS come new keys, and nothing is lost on the way over (RFC 5764 section 3: the keys are those of the
// association).
func TestNewKeys(t *testing.T) {
	w := newMedia(t, 11, simnet.Path{})
	sources := []*source{}
	for _, s := range []*side{w.a, w.b} {
		x := &source{side: s, mid: "0", pt: 111, every: 5 * time.Millisecond, size: 100, n: 1000}
		x.start()
		sources = append(sources, x)
	}
	renew := func(s *side, role jsep.Role) {
		ts := s.session.Transports()
		ts[0].Association, ts[0].Role = 2, role
		d, _ := s.session.Data()
		if err := s.Apply(w.Now(), ts, s.session.Media(), &d); err != nil {
			t.Fatal(err)
		}
		s.poll()
	}
	w.Run(time.Second)
	was := w.a.Transport(1).Security().Role
	roles := map[dtls.Role]jsep.Role{dtls.Client: jsep.RoleServer, dtls.Server: jsep.RoleClient}
	renew(w.b, roles[w.b.Transport(1).Security().Role])
	w.Run(30 * time.Millisecond)
	renew(w.a, roles[was])
	w.Run(9 * time.Second)
	if now := w.a.Transport(1).Security().Role; now == was {
		t.Fatal("there is no new association")
	}
	for i, s := range []*side{w.b, w.a} {
		if n := len(s.numbers("0", "")); n != 1000 || s.Dropped().Forged > 0 || len(sources[i].refused) > 0 {
			t.Errorf("%d of 1000 packets came, %+v, %v", n, s.Dropped(), sources[i].refused)
		}
	}
}

// Three encodings by RID (RFC 8853), each with retransmissions of its own, through loss.
func TestSimulcast(t *testing.T) {
	w := newWorld(t, 12, simnet.Path{Loss: 0.02}, media(), media())
	w.a.transceive("video", "q", "h", "f")
	w.negotiate()
	w.until("media's keys", 30*time.Second, func() bool { return w.a.up() && w.b.up() })
	var mid string
	for _, m := range w.a.session.Media() {
		mid = m.MID
	}
	rids := []string{"q", "h", "f"}
	var sources []*source
	for i := range rids {
		w.a.Sender(mid).SetEncoding(w.Now(), i, session.EncodingParameters{Active: true, MaxBitrate: 40_000})
		x := &source{side: w.a, mid: mid, encoding: i, pt: 96, every: 50 * time.Millisecond, size: 200 + 10*i, n: 200}
		x.start()
		sources = append(sources, x)
	}
	w.Run(14 * time.Second)
	for i, rid := range rids {
		if n := len(w.b.numbers(mid, rid)); n != 200 || len(sources[i].refused) > 0 {
			t.Errorf("of %q came %d of 200, %v were refused", rid, n, sources[i].refused)
		}
	}
	for _, p := range w.b.packets {
		if i := slices.Index(rids, p.rid); i < 0 || len(p.payload) != 200+10*i {
			t.Fatalf("a packet of %d bytes came as %q", len(p.payload), p.rid)
		}
	}
	in := w.b.Transport(1).Session().AppendInbound(nil)
	repaired := uint64(0)
	for _, x := range in {
		repaired += x.PacketsRepaired
	}
	if len(in) != 3 || repaired == 0 {
		t.Errorf("%d streams came, %d packets were repaired", len(in), repaired)
	}
	// One that is not active any more is silent.
	w.b.packets = nil
	w.a.Sender(mid).SetEncoding(w.Now(), 1, session.EncodingParameters{})
	if err := w.a.Sender(mid).Send(w.Now(), 1, &session.Packet{PayloadType: 96}); err != session.ErrInactive {
		t.Error(err)
	}
	w.Run(time.Second)
	if len(w.b.packets) > 0 {
		t.Errorf("%d packets come", len(w.b.packets))
	}
}

// A connection that has data alone has no session, and no keys for one.
func TestDataAloneDoNotPayForMedia(t *testing.T) {
	w := newWorld(t, 13, simnet.Path{}, media(), media())
	w.connect()
	if w.a.Transport(1).Session() != nil || w.b.Transport(1).Session() != nil {
		t.Error("there is a session")
	}
}

// While there is no path nothing waits, and pictures begin anew when there is one again: what waited would be old.
func TestMediaWithoutAPath(t *testing.T) {
	w := newMedia(t, 14, simnet.Path{})
	video := &source{side: w.a, mid: "1", pt: 96, every: 10 * time.Millisecond, size: 500, n: 10_000}
	video.start()
	w.Run(2 * time.Second)
	w.a.host.Link().Set(simnet.Path{Loss: 1})
	w.until("no path", 40*time.Second, func() bool { _, ok := w.a.Agent(1).Path(); return !ok })
	w.Run(200 * time.Millisecond)
	if n := video.refused[session.ErrNotSending]; n < 15 {
		t.Errorf("without a path %d packets are refused", n)
	}
	w.a.events, w.b.packets = nil, nil
	w.a.host.Link().Set(simnet.Path{Delay: oneWay / 2})
	w.a.session.RestartICE()
	w.a.setRemote(w.b.answer(w.a.offer()))
	w.until("media again", 20*time.Second, func() bool { return len(w.b.packets) > 20 })
	asked := slices.ContainsFunc(w.a.events, func(e peer.Event) bool {
		return e.Kind == peer.OfRTP && e.RTP.Kind == session.KeyFrameWanted
	})
	if !asked {
		t.Error("no key frame is asked for")
	}
	for i, p := range w.b.packets[:20] {
		if n := int(binary.BigEndian.Uint32([]byte(p.payload))); !p.repaired && video.sent-n > 200 {
			t.Errorf("packet %d is the %dth of %d", i, n, video.sent)
		}
	}
}

// Packets of one size and mark leave in one transmit, a shorter one ends it, and whatever the batch has room for, each comes whole.
func TestRunsOfMedia(t *testing.T) {
	for _, shape := range []struct{ bytes, transmits int }{{1 << 20, 512}, {1 << 20, 1}, {1 << 20, 2}, {1500, 64}, {5000, 3}} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			r := newRoad(t, 1000)
			came := map[string]int{}
			r.b.onPacket = func(_ mono.Time, p *session.Received) {
				if !p.Repaired && len(p.Packet.Payload) != len(r.p.Payload) { // which the road still has of its own
					came[fmt.Sprint(p.Stream.MID(), len(p.Packet.Payload))]++
				}
			}
			r.a.Sender("0").SetEncoding(r.now, 0, session.EncodingParameters{Active: true, DSCP: pkt.EF})
			small := pkt.NewBatch(shape.bytes, shape.transmits)
			want, transmits, datagrams := map[string]int{}, 0, 0
			for round := range 200 {
				for i, size := range []int{1000, 1000, 1000, 400, 1000, 1100, 100, 100, 100} {
					mid, pt := "1", rtp.PayloadType(96)
					if i >= 6 {
						mid, pt = "0", 111
					}
					if err := r.a.Sender(mid).Send(r.now, 0, &session.Packet{PayloadType: pt, Timestamp: uint32(round), Payload: make([]byte, size)}); err != nil {
						t.Fatal(err)
					}
					want[fmt.Sprint(mid, size)]++
				}
				for range 10 {
					r.now = r.now.Add(200 * time.Microsecond)
					if r.a.NextTimeout() <= r.now {
						r.a.HandleTimeout(r.now)
					}
					for more := true; more; {
						small.Reset()
						more = r.a.Peer.AppendTransmit(r.now, small)
						for _, tr := range small.Transmits() {
							transmits++
							datagrams += tr.Segments()
							if !r.batch.Append(tr) {
								t.Fatal("the road is full")
							}
						}
					}
					r.exchange()
				}
			}
			for range 100 {
				r.now = r.now.Add(time.Millisecond)
				r.a.HandleTimeout(r.now)
				r.a.Peer.AppendTransmit(r.now, r.batch)
				r.exchange()
			}
			if !maps.Equal(came, want) || r.b.Dropped().Forged > 0 {
				t.Errorf("came %v, want %v; %+v", came, want, r.b.Dropped())
			}
			if shape.transmits == 512 && transmits > datagrams*3/4 {
				t.Errorf("%d datagrams in %d transmits", datagrams, transmits)
			}
		})
	}
}

// The last word of media is BYE (RFC 3550 section 6.6), before DTLS says its own.
func TestMediaSayGoodbye(t *testing.T) {
	w := newMedia(t, 15, simnet.Path{})
	x := &source{side: w.a, mid: "0", pt: 111, every: 20 * time.Millisecond, size: 100, n: 20}
	x.start()
	w.Run(time.Second)
	w.a.Close(w.Now())
	w.a.poll()
	w.Run(time.Second)
	ended, closed := -1, -1
	for i, e := range w.b.events {
		switch {
		case e.Kind == peer.OfRTP && e.RTP.Kind == session.StreamEnded:
			ended = i
		case e.Kind == peer.OfDTLS && e.DTLS == peer.DTLSClosed:
			closed = i
		}
	}
	if ended < 0 || closed < ended {
		t.Errorf("the stream's end is event %d, that of DTLS %d", ended, closed)
	}
}

// Nothing is allocated for a packet on its way through both peers, feedback included.
func TestMediaAllocatesNothing(t *testing.T) {
	r := newRoad(t, 20_000)
	if n := testing.AllocsPerRun(2000, func() {
		r.send(t)
		r.exchange()
	}); n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
	if in := r.b.Transport(1).Session().AppendInbound(nil); len(in) != 1 || in[0].PacketsReceived < 20_000 {
		t.Errorf("%+v", in)
	}
}
