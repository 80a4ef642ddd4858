package webrtc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// av1 makes a temporal unit of AV1.
func av1(n int, key bool) []byte {
	body := bytes.Repeat([]byte{0x30}, n)
	var b []byte
	if key {
		b, body[0] = []byte{1<<3 | 2, 3, 0, 0, 1}, 0x10
	}
	return append(append(b, 6<<3), body...)
}

// extensionID finds the number of a header extension in a description.
func extensionID(sdp, uri string) uint8 {
	for line := range strings.Lines(sdp) {
		rest, _ := strings.CutPrefix(line, "a=extmap:")
		if id, after, ok := strings.Cut(rest, " "); ok && strings.TrimSpace(after) == uri {
			n, _ := strconv.Atoi(id)
			return uint8(n)
		}
	}
	return 0
}

// Packets of AV1, and of all codecs with layers, say what their frames depend on (AV1 RTP specification, appendix A).
func TestDependencyDescriptors(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		coded, layered := w.sampleTrack(AV1), w.sampleTrack(VP8)
		w.check(layered.SetScalabilityMode("L1T2"))
		for _, track := range []Track{coded, layered} {
			_, err := a.AddTrack(track)
			w.check(err)
		}
		tracks := make(chan *RemoteTrack, 2)
		b.OnTrack(func(t *RemoteTrack, _ *RTPReceiver) { tracks <- t })
		w.negotiate(a, b)
		id := extensionID(a.LocalDescription().SDP, rtp.URIDependency)
		w.play(coded, 33*time.Millisecond, func(i int) Sample {
			return Sample{Data: av1(3000, i%30 == 0), Duration: 33 * time.Millisecond}
		})
		w.play(layered, 33*time.Millisecond, func(i int) Sample {
			return Sample{Data: vp8(3000, i%30 == 0, byte(i)), Duration: 33 * time.Millisecond, Temporal: uint8(i % 2)}
		})
		targets := map[uint8]bool{} // how many there were, by stream
		for range 2 {
			track := await(w, tracks, "a track")
			var p rtp.Packet
			var known *rtp.DependencyStructure
			starts, number := 0, ""
			for starts < 40 {
				w.check(track.ReadRTP(w.ctx(), &p))
				if len(p.Payload) == 0 {
					continue // padding
				}
				v, ok := p.Extensions.Get(id)
				d, well := rtp.ParseDependencyDescriptor(v, known)
				if ok && !well && known == nil {
					continue // what was sent before the connection was there is gone, the first key frame with it
				}
				if !ok || !well {
					t.Fatalf("packet %d, timestamp %d has descriptor %x", p.SequenceNumber, p.Timestamp, v)
				}
				if d.Structure != nil {
					known = d.Structure
				}
				if now := fmt.Sprint(p.Timestamp, " ", d.FrameNumber); d.StartOfFrame {
					starts, number = starts+1, now
				} else if number != now {
					t.Errorf("frame %s goes on as %s", number, now)
				}
				if d.EndOfFrame != p.Marker || p.Len() > 1300 {
					t.Errorf("end %v, marker %v, %d bytes", d.EndOfFrame, p.Marker, p.Len())
				}
			}
			targets[known.DecodeTargets] = true
		}
		if !targets[1] || !targets[2] {
			t.Errorf("decode targets: %v", targets)
		}
	})
}
