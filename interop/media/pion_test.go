// Package media tests audio and video of package webrtc against others.
package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"
	pion "github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/webrtc"
)

const patience = need.Patience

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// video is a frame of VP8 whose content is its number: each 30th is a key frame.
func video(i int) []byte {
	b := make([]byte, 2000+i*37%1500)
	r := rand.NewPCG(uint64(i), 1)
	for at := 0; at+8 <= len(b); at += 8 {
		binary.LittleEndian.PutUint64(b[at:], r.Uint64())
	}
	if i%30 == 0 {
		copy(b, []byte{0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0})
	} else {
		copy(b, []byte{0x11, 2, 0})
	}
	binary.BigEndian.PutUint32(b[10:], uint32(i))
	return b
}

func videoNumber(b []byte) int {
	if len(b) < 14 {
		return -1
	}
	return int(binary.BigEndian.Uint32(b[10:]))
}

// audio is a packet of Opus of 20 ms.
func audio(i int) []byte {
	return binary.BigEndian.AppendUint32([]byte{31 << 3, byte(i * 7)}, uint32(i))
}

func audioNumber(b []byte) int {
	if len(b) != 6 {
		return -1
	}
	return int(binary.BigEndian.Uint32(b[2:]))
}

// A call is ours and Pion's connection. All packets between them go through a relay, which may lose some of RTP.
type call struct {
	t     *testing.T
	ours  *webrtc.PeerConnection
	pions *pion.PeerConnection
	lose  func() bool
	lost  atomic.Int64 // packets of RTP
}

// newPion makes a connection of Pion's that has loopback too, for machines that have nothing else.
func newPion() (*pion.PeerConnection, error) {
	var settings pion.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	return pion.NewAPI(pion.WithSettingEngine(settings)).NewPeerConnection(pion.Configuration{})
}

func newCall(t *testing.T, loss float64) *call {
	ours, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(t, err)
	pions, err := newPion()
	check(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	c := &call{t: t, ours: ours, pions: pions, lose: func() bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < loss
	}}
	t.Cleanup(func() {
		check(t, ours.Close())
		check(t, pions.Close())
	})
	return c
}

// negotiate has one of them offer. Pion's candidates are known to us as those of relays, ours not to Pion at all: it sees whence we come.
func (c *call) negotiate(weOffer bool) {
	c.t.Helper()
	var candidates []string
	pions := func() webrtc.SessionDescription {
		<-pion.GatheringCompletePromise(c.pions)
		d := c.pions.LocalDescription()
		var sdp string
		sdp, candidates = withoutCandidates(d.SDP)
		return webrtc.SessionDescription{Type: webrtc.SDPType(d.Type.String()), SDP: sdp}
	}
	ours := func() pion.SessionDescription {
		d := c.ours.LocalDescription()
		sdp, _ := withoutCandidates(d.SDP)
		return pion.SessionDescription{Type: pion.NewSDPType(string(d.Type)), SDP: sdp}
	}
	if weOffer {
		check(c.t, c.ours.SetLocalDescription(nil))
		check(c.t, c.pions.SetRemoteDescription(ours()))
		answer, err := c.pions.CreateAnswer(nil)
		check(c.t, err)
		check(c.t, c.pions.SetLocalDescription(answer))
		check(c.t, c.ours.SetRemoteDescription(pions()))
	} else {
		offer, err := c.pions.CreateOffer(nil)
		check(c.t, err)
		check(c.t, c.pions.SetLocalDescription(offer))
		check(c.t, c.ours.SetRemoteDescription(pions()))
		check(c.t, c.ours.SetLocalDescription(nil))
		check(c.t, c.pions.SetRemoteDescription(ours()))
	}
	for _, line := range candidates {
		if relayed, ok := c.relay(line); ok {
			var candidate webrtc.ICECandidate
			b, err := json.Marshal(map[string]any{"candidate": relayed, "sdpMid": "0"})
			check(c.t, err)
			check(c.t, json.Unmarshal(b, &candidate))
			check(c.t, c.ours.AddICECandidate(&candidate))
		}
	}
	check(c.t, c.ours.AddICECandidate(nil))
}

func withoutCandidates(sdp string) (rest string, candidates []string) {
	var lines []string
	for _, line := range strings.SplitAfter(sdp, "\r\n") {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "a=candidate:"):
			if !slices.Contains(candidates, text[2:]) {
				candidates = append(candidates, text[2:])
			}
		case text != "a=end-of-candidates":
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, ""), candidates
}

// relay puts a relay before a candidate of Pion's, and returns the candidate that leads to it.
func (c *call) relay(candidate string) (string, bool) {
	fields := strings.Fields(candidate)
	if len(fields) < 8 || !strings.EqualFold(fields[2], "udp") || fields[1] != "1" || fields[7] != "host" {
		return "", false
	}
	to, err := netip.ParseAddrPort(net.JoinHostPort(fields[4], fields[5]))
	if err != nil || !to.Addr().Is4() {
		return "", false
	}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: to.Addr().AsSlice()})
	if err != nil {
		return "", false
	}
	back, err := net.DialUDP("udp4", &net.UDPAddr{IP: to.Addr().AsSlice()}, net.UDPAddrFromAddrPort(to))
	check(c.t, err)
	c.t.Cleanup(func() { front.Close(); back.Close() })
	lost := func(b []byte) bool {
		isRTP := b[0] >= 128 && b[0] < 192 && (b[1] < 192 || b[1] > 223)
		if !isRTP || !c.lose() {
			return false
		}
		c.lost.Add(1)
		return true
	}
	var mu sync.Mutex
	var from netip.AddrPort
	go func() {
		b := make([]byte, 2048)
		for {
			n, addr, err := front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			mu.Lock()
			from = addr
			mu.Unlock()
			if n > 1 && !lost(b) {
				back.Write(b[:n])
			}
		}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := back.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			mu.Lock()
			to := from
			mu.Unlock()
			if n > 1 && to.IsValid() && !lost(b) {
				front.WriteToUDPAddrPort(b[:n], to)
			}
		}
	}()
	fields[5] = strconv.Itoa(front.LocalAddr().(*net.UDPAddr).Port)
	return strings.Join(fields, " "), true
}

// play calls write with the time of each frame until the test ends.
func play(t *testing.T, every time.Duration, write func(i int) error) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if err := write(i); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
		}
	}()
}

const frameTime = 33 * time.Millisecond

// weSend adds a track of each kind, and plays them.
func (c *call) weSend() {
	for _, kind := range []string{"audio", "video"} {
		codec, every, frame := webrtc.VP8, frameTime, video
		if kind == "audio" {
			codec, every, frame = webrtc.Opus, 20*time.Millisecond, audio
		}
		track, err := webrtc.NewSampleTrack(codec, kind)
		check(c.t, err)
		_, err = c.ours.AddTrack(track, webrtc.NewMediaStream("ours"))
		check(c.t, err)
		play(c.t, every, func(i int) error { return track.WriteSample(webrtc.Sample{Data: frame(i), Duration: every}) })
	}
}

func (c *call) pionSends() {
	for _, kind := range []string{"audio", "video"} {
		codec, every, frame := pion.MimeTypeVP8, frameTime, video
		if kind == "audio" {
			codec, every, frame = pion.MimeTypeOpus, 20*time.Millisecond, audio
		}
		track, err := pion.NewTrackLocalStaticSample(pion.RTPCodecCapability{MimeType: codec}, kind, "pion's")
		check(c.t, err)
		sender, err := c.pions.AddTrack(track)
		check(c.t, err)
		go func() { // its interceptors see RTCP only so
			b := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(b); err != nil {
					return
				}
			}
		}()
		play(c.t, every, func(i int) error { return track.WriteSample(media.Sample{Data: frame(i), Duration: every}) })
	}
}

// A watch takes frames of one track as they come out.
type watch struct {
	name   string
	frame  func(i int) []byte
	number func(b []byte) int
	want   int // frames
	gaps   int // that may be missing between them
}

func (w *watch) until(done context.Context, next func() ([]byte, error)) error {
	got, missing, last := 0, 0, -1
	for got < w.want {
		b, err := next()
		if err != nil {
			return fmt.Errorf("%s: after %d frames: %w", w.name, got, err)
		}
		if done.Err() != nil {
			return fmt.Errorf("%s: only %d frames came in time", w.name, got)
		}
		i := w.number(b)
		if i < 0 || !bytes.Equal(b, w.frame(i)) {
			return fmt.Errorf("%s: after frame %d came %d bytes that were never sent: %.40x", w.name, last, len(b), b)
		}
		if i <= last {
			return fmt.Errorf("%s: frame %d came after %d", w.name, i, last)
		}
		if last >= 0 {
			missing += i - last - 1
		}
		last = i
		got++
	}
	if missing > w.gaps {
		return fmt.Errorf("%s: %d frames are missing among %d", w.name, missing, got)
	}
	return nil
}

// weWatch and pionWatches tell of the first error, or nil, for each track that comes.
func (c *call) weWatch(ctx context.Context, want, gaps int, told chan<- error) {
	c.ours.OnTrack(func(track *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
		w := watchOf("ours, "+track.Kind(), track.Kind(), want, gaps)
		go func() {
			told <- w.until(ctx, func() ([]byte, error) {
				for {
					s, err := track.ReadSample(ctx)
					if err != nil || !s.Lost {
						return s.Data, err
					}
				}
			})
		}()
	})
}

func watchOf(name, kind string, want, gaps int) *watch {
	if kind == "audio" {
		return &watch{name, audio, audioNumber, want, want / 4} // Opus has no retransmission: what is lost is concealed
	}
	return &watch{name, video, videoNumber, want, gaps}
}

func (c *call) pionWatches(ctx context.Context, want, gaps int, told chan<- error) {
	c.pions.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		w := watchOf("Pion, "+track.Kind().String(), track.Kind().String(), want, gaps)
		go func() {
			told <- w.until(ctx, reader(track))
		}()
	})
}

// reader makes frames of Pion's packets by Pion's means.
func reader(track *pion.TrackRemote) func() ([]byte, error) {
	var builder *samplebuilder.SampleBuilder
	if track.Kind() == pion.RTPCodecTypeAudio {
		builder = samplebuilder.New(50, &codecs.OpusPacket{}, 48000)
	} else {
		builder = samplebuilder.New(500, &codecs.VP8Packet{}, 90000)
	}
	return func() ([]byte, error) {
		for {
			if s := builder.Pop(); s != nil {
				return s.Data, nil
			}
			track.SetReadDeadline(time.Now().Add(patience))
			p, _, err := track.ReadRTP()
			if err != nil {
				return nil, err
			}
			builder.Push(p)
		}
	}
}

// Audio and video both ways, whoever offers: every frame of video is the same on the other side, in order; with loss too, because it is
// asked for again.
func TestMediaWithPion(t *testing.T) {
	for _, loss := range []float64{0, 0.05} {
		for _, weOffer := range []bool{true, false} {
			t.Run(fmt.Sprintf("loss %v, we offer %v", loss, weOffer), func(t *testing.T) {
				t.Parallel()
				c := newCall(t, loss)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				told := make(chan error, 8)
				gaps := 0
				if loss > 0 {
					gaps = 30 // until a key frame, if a packet is lost again and again
				}
				c.weWatch(ctx, 150, gaps, told)
				c.pionWatches(ctx, 150, gaps, told)
				c.weSend()
				c.pionSends()
				c.negotiate(weOffer)
				defer func() {
					if n := c.lost.Load(); n > 0 != (loss > 0) {
						t.Errorf("%d packets were lost", n)
					}
				}()
				for range 4 {
					select {
					case err := <-told:
						if err != nil {
							t.Error(err)
						}
					case <-ctx.Done():
						t.Fatal("not all tracks came")
					}
				}
			})
		}
	}
}

// Three encodings of one track, by RID: Pion gets each with its own frames.
func TestSimulcastToPion(t *testing.T) {
	c := newCall(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rids := []string{"q", "h", "f"}
	told := make(chan error, 8)
	c.pions.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		at := slices.Index(rids, track.RID())
		if at < 0 {
			told <- fmt.Errorf("a track of RID %q", track.RID())
			return
		}
		go func() {
			w := &watch{name: track.RID(), frame: func(i int) []byte { return encoded(at, i) }, number: videoNumber, want: 60, gaps: 30}
			told <- w.until(ctx, reader(track))
		}()
	})
	track, err := webrtc.NewSampleTrack(webrtc.VP8, "camera")
	check(t, err)
	var encodings []webrtc.RTPEncodingParameters
	for i, rid := range rids {
		// So little that all are on from the beginning, before it is known how much the way bears.
		encodings = append(encodings, webrtc.RTPEncodingParameters{RID: rid, MaxBitrate: new(uint64(50_000 << i))})
	}
	_, err = c.ours.AddTransceiverTrack(track, &webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendOnly, SendEncodings: encodings})
	check(t, err)
	c.negotiate(true)
	for at, rid := range rids {
		part := track.Encoding(rid)
		play(t, frameTime, func(i int) error {
			return part.WriteSample(webrtc.Sample{Data: encoded(at, i), Duration: frameTime})
		})
	}
	for range rids {
		select {
		case err := <-told:
			if err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Fatal("not all encodings came")
		}
	}
}

// encoded is a frame of one of the encodings: the number, and which encoding it is.
func encoded(at, i int) []byte {
	b := video(i)[:100+200*at]
	return append(b, byte(at))
}
