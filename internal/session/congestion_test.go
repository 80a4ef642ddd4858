package session

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
)

// talk sends 32 kbit/s of audio and some video for a while.
func talk(w *wire, e *end, d time.Duration, sound bool) {
	const frame = 20 * time.Millisecond
	w.every(frame, int(d/frame), func(now mono.Time, i int) {
		if sound {
			e.send(now, "0", 0, Packet{PayloadType: 111, Timestamp: uint32(i * 960), Payload: make([]byte, 80)})
		}
		if x := e.Sender("1"); i%2 == 0 && x.section.sender.encodings[0].flow.target > 0 {
			e.send(now, "1", 0, Packet{PayloadType: 96, Timestamp: uint32(i * 1800), Payload: make([]byte, 150), Marker: true})
		}
	})
	w.pass(d)
}

func targets(e *end) (audio, video uint64) {
	return e.Sender("0").section.sender.encodings[0].flow.target, e.Sender("1").section.sender.encodings[0].flow.target
}

func limit(e *end, now mono.Time, r cc.Rate) {
	e.congestion.SetLimits(now, r, r)
	e.allocate(now)
}

func call(t *testing.T) (a *end, w *wire) {
	audio, video := mediaOf("0", "audio", opus), mediaOf("1", "video", vp8)
	a = newEnd(t, 1, Config{}, audio, video)
	return a, newWire(a, newEnd(t, 2, Config{}, audio, video))
}

func TestVideoGetsWhatAudioDoesNotTake(t *testing.T) {
	a, w := call(t)
	limit(a, w.now, 400_000)
	talk(w, a, 2*time.Second, false)
	if audio, video := targets(a); audio > minAudio || video < 280_000 {
		t.Errorf("audio that is silent has %d, video %d", audio, video)
	}
	talk(w, a, 5*time.Second, true)
	if audio, video := targets(a); audio < 32_000 || audio > 48_000 || video < 220_000 {
		t.Errorf("audio that takes 32000 has %d, video %d", audio, video)
	}
}

func TestAudioGoesOnWhereVideoCannot(t *testing.T) {
	a, w := call(t)
	limit(a, w.now, 300_000)
	talk(w, a, 3*time.Second, true)
	limit(a, w.now, 70_000)
	if audio, video := targets(a); audio < 31_000 || video != 0 {
		t.Errorf("of 70000 audio has %d, video %d", audio, video)
	}
	talk(w, a, time.Second, true)
	limit(a, w.now, 300_000)
	if _, video := targets(a); video < 100_000 {
		t.Errorf("of 300000 video has %d", video)
	}
	if w.pass(0); len(a.told(KeyFrameWanted)) == 0 {
		t.Error("video begins again without a key frame")
	}
}

// Acknowledgements and heartbeats of data that do not flow take nothing of video's; a file shares with it.
func TestOnlyDataThatFlowShare(t *testing.T) {
	a, w := call(t)
	limit(a, w.now, 400_000)
	w.every(100*time.Millisecond, 50, func(now mono.Time, _ int) { a.DataSent(now, 100) })
	talk(w, a, 5*time.Second, false)
	if _, video := targets(a); video < 270_000 {
		t.Errorf("beside acknowledgements video has %d", video)
	}
	if at := a.DataAt(w.now); at > w.now {
		t.Error("they wait")
	}
	w.every(10*time.Millisecond, 300, func(now mono.Time, _ int) {
		for a.DataAt(now) <= now {
			a.DataSent(now, 1200)
		}
	})
	talk(w, a, 3*time.Second, false)
	if _, video := targets(a); video < 130_000 || video > 220_000 {
		t.Errorf("beside a file video has %d of 400000", video)
	}
	talk(w, a, 20*time.Second, false)
	if _, video := targets(a); video < 270_000 {
		t.Errorf("after a file video has %d", video)
	}
}

// A peer that gives no feedback about each packet, as one with REMB or bare reports alone: nothing is sent to probe for more, and video does
// not wait for it.
func TestNoProbesToAPeerWithReportsAlone(t *testing.T) {
	from, to := mediaOf("v", "video", vp8), mediaOf("v", "video", vp8)
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	w.a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 1_000_000})
	w.every(10*time.Millisecond, 3000, func(now mono.Time, i int) { // 170 kbit/s
		w.a.send(now, "v", 0, packet(i))
	})
	w.pass(30 * time.Second)
	o := w.a.AppendOutbound(nil)[0]
	if o.PacketsSent > 3010 || o.TotalPacketSendDelay > 3000*time.Millisecond {
		t.Errorf("%d packets left for 3000, and waited for %v together", o.PacketsSent, o.TotalPacketSendDelay)
	}
}

// "set this value as a constraint on the maximum RTP bitrate to be used when sending media" (RFC 8829 section 5.11, of b=TIAS): of several
// encodings the lower ones go on, and of one what is its least.
func TestThePeerLimitsASection(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		want  []uint64 // at most, of each encoding; 0: it is off
	}{
		{0, []uint64{100_000, 300_000, 900_000}},
		{900_000, []uint64{100_000, 300_000, 500_000}},
		{350_000, []uint64{100_000, 250_000, 0}},
		{5_000, []uint64{minVideo, 0, 0}},
	} {
		video := mediaOf("1", "video", vp8)
		video.Encodings, video.MaxBitrate = []jsep.Encoding{{RID: "q", SSRC: 1}, {RID: "h", SSRC: 2}, {RID: "f", SSRC: 3}}, c.limit
		a := newEnd(t, 1, Config{}, video)
		for i, most := range []uint64{100_000, 300_000, 900_000} {
			a.Sender("1").SetEncoding(began, i, EncodingParameters{Active: true, MaxBitrate: most})
		}
		limit(a, began, 5_000_000)
		for i, want := range c.want {
			if got := a.Sender("1").section.sender.encodings[i].flow.target; got > want || got < want*9/10 {
				t.Errorf("limit %d: encoding %d has %d, want %d", c.limit, i, got, want)
			}
		}
	}
}
