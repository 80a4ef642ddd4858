package jitter_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A viewer is a Buffer as the laws see it: packets go in, requests for key frames come out, frames are events.
type viewer struct {
	b      *jitter.Buffer
	frames []string
	shown  int
	asks   int
}

func (v *viewer) handle(now mono.Time, packet []byte) {
	if p, err := rtp.Parse(packet); err == nil {
		v.b.Push(now, &p)
	}
	v.poll(now)
}

func (v *viewer) poll(now mono.Time) {
	for f, ok := v.b.Pop(now); ok; f, ok = v.b.Pop(now) {
		h := fnv.New64a()
		h.Write(f.Data)
		v.frames = append(v.frames, fmt.Sprintf("%d %x %t %t %d", f.Timestamp, h.Sum64(), f.KeyFrame, f.Lost, f.Missing))
		v.shown++
	}
	if v.b.KeyFrameWanted(now) {
		v.asks++
	}
}

func (v *viewer) engine() laws.Engine {
	return &laws.Nested{
		Handle: v.handle, Timeout: v.poll, Next: v.b.NextTimeout,
		Append: func(dst []byte, _ mono.Time) []byte {
			if v.asks > 0 {
				v.asks--
				dst = append(dst, "key frame!"...)
			}
			return dst
		},
		Event: func() (laws.Event, bool) {
			if len(v.frames) == 0 {
				return laws.Event{}, false
			}
			e := laws.Event{Text: v.frames[0]}
			v.frames = v.frames[1:]
			return e, true
		},
	}
}

// A camera sends frames at 30 a second, as many as it was told, and a key frame when it is asked.
type camera struct {
	packets []sent // to be sent
	source  source
	audio   bool
	next    mono.Time
	left    int
	key     bool
	cutter  payload.Packetizer
}

func (c *camera) start(now mono.Time, frames int) { c.next, c.left, c.key = now, frames, true }

func (c *camera) tick(now mono.Time) {
	if now < c.next || c.left == 0 {
		return
	}
	c.source.packets = nil
	c.left--
	if c.audio {
		c.source.audio(now, 1)
		c.next = c.next.Add(20 * time.Millisecond)
	} else {
		c.source.video(now, 1, 300, nil, c.cutter, func(int) bool { return c.key })
		c.next = c.next.Add(time.Second / 30)
	}
	c.key = false
	c.packets = append(c.packets, c.source.packets...)
}

func (c *camera) engine() laws.Engine {
	return &laws.Nested{
		Handle:  func(mono.Time, []byte) { c.key = true },
		Timeout: c.tick,
		Next: func() mono.Time {
			if c.left == 0 {
				return mono.Never
			}
			return c.next
		},
		Append: func(dst []byte, _ mono.Time) []byte {
			if len(c.packets) == 0 {
				return dst
			}
			dst = c.packets[0].Append(dst)
			c.packets = c.packets[1:]
			return dst
		},
		Event: func() (laws.Event, bool) { return laws.Event{}, false },
	}
}

func TestLaws(t *testing.T) {
	for _, audio := range []bool{false, true} {
		t.Run(fmt.Sprint("audio ", audio), func(t *testing.T) {
			laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
				config := jitter.Config{Audio: audio, ClockRate: 90000, Packets: 256}
				if audio {
					config.ClockRate = 48000
				}
				v := &viewer{b: newPlayer(t, config).b}
				c := &camera{audio: audio, cutter: payload.VP8{}.NewPacketizer(uint32(seed))}
				c.source.sequence = uint16(seed * 30000)
				return &laws.Specimen{
					Engine: v.engine(), Peer: c.engine(),
					Steps: []func(mono.Time){
						func(now mono.Time) { c.start(now, 60) },
						func(mono.Time) { v.b.SetRTT(20 * time.Millisecond); v.b.SetTarget(50 * time.Millisecond) },
						func(mono.Time) { v.b.HandleReport(1<<62, 1000) },
					},
					Done: func() error {
						if c.left > 0 || v.shown < 10 {
							return fmt.Errorf("%d frames were shown, %d are to come", v.shown, c.left)
						}
						return nil
					},
					MaxPacket: 1500, Bound: 2 << 20,
				}
			}})
		})
	}
}

// Whatever comes, and when, nothing panics, memory is bounded, time moves on, and frames are in order.
func FuzzBuffer(f *testing.F) {
	seed := func(s source) {
		var b []byte
		for i := range s.packets {
			p := s.packets[i].Append(nil)
			b = append(b, byte(i), byte(len(p)>>8), byte(len(p)))
			b = append(b, p...)
		}
		f.Add(b)
	}
	var audio, video source
	audio.audio(begin, 20)
	seed(audio)
	video.video(begin, 5, 1500, nil, payload.VP8{}.NewPacketizer(0), onlyFirst)
	seed(video)
	for i := range audio.packets {
		k := &audio.packets[i]
		k.PayloadType, k.Payload = 63, append([]byte{0x80 | byte(opusType), 960 >> 6, 0, 4, byte(opusType), 31 << 3, 1, 2, 3}, k.Payload...)
	}
	seed(audio)
	for i, name := range []string{"VP9", "H264", "H265", "AV1"} {
		s := source{frame: codecs[name].frame}
		s.video(begin, 5, 1500, nil, codecs[name].format.NewPacketizer(0), onlyFirst)
		for j := range s.packets {
			s.packets[j].PayloadType = rtp.PayloadType(100 + i)
		}
		seed(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, c := range []jitter.Config{
			{Audio: true, ClockRate: 48000, Packets: 40, AbsCaptureTime: 1, PlayoutDelay: 2},
			{ClockRate: 90000, Packets: 40, AbsCaptureTime: 1, PlayoutDelay: 2, Dependency: 3},
		} {
			p := newPlayer(t, c)
			p.b.SetRED(63)
			for i, name := range []string{"VP9", "H264", "H265", "AV1"} {
				p.b.SetFormat(rtp.PayloadType(100+i), codecs[name].format)
			}
			now := begin
			for b := in; len(b) > 3; {
				step, n := b[0], min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
				now = now.Add(time.Duration(step) * time.Duration(step) * 50 * time.Microsecond)
				if packet, err := rtp.Parse(b[3 : 3+n]); err == nil {
					p.b.Push(now, &packet)
				}
				if step%3 == 0 {
					p.poll(now)
					if next := p.b.NextTimeout(); next <= now {
						t.Fatalf("NextTimeout stays %v in the past", now.Sub(next))
					}
				}
				b = b[3+n:]
			}
			p.playUntil(nil, now.Add(20*time.Second))
			st := p.b.Statistics()
			if st.FramesGiven+st.FramesDropped > st.FramesReceived {
				t.Fatalf("%+v", st)
			}
		}
	})
}
