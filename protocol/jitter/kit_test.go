package jitter_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

const (
	opusType  rtp.PayloadType = 111
	vp8Type   rtp.PayloadType = 96
	eventType rtp.PayloadType = 126
	begin                     = mono.Time(time.Hour)
)

// A sent packet arrives at a time; those of one frame share its index.
type sent struct {
	rtp.Packet
	left, at mono.Time
	frame    int
}

// A source makes the packets of a stream.
type source struct {
	sequence  uint16
	timestamp uint32
	packets   []sent
	frames    [][]byte
	frame     func(index, size int, key bool) []byte // of video; nil: of VP8
	cut       int                                    // bytes of a payload at most; 0: 1100
}

// audio makes n packets of Opus of 20 ms, from a time on.
func (s *source) audio(from mono.Time, n int) {
	for i := range n {
		data := binary.BigEndian.AppendUint32([]byte{31 << 3}, uint32(len(s.frames))) // CELT, 20 ms, one frame
		left := from.Add(time.Duration(i) * 20 * time.Millisecond)
		s.packets = append(s.packets, sent{
			Packet: rtp.Packet{PayloadType: opusType, SequenceNumber: s.sequence, Timestamp: s.timestamp, Payload: data},
			left:   left, at: left, frame: len(s.frames),
		})
		s.frames = append(s.frames, data)
		s.sequence++
		s.timestamp += 960
	}
}

// vp8Frame is a frame of a size whose content is its index.
func vp8Frame(index, size int, key bool) []byte {
	data := make([]byte, max(size, 24))
	r := rand.NewPCG(uint64(index), 7)
	for i := 0; i+8 <= len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], r.Uint64())
	}
	head := []byte{0x11, 0, 0}
	if key {
		head = []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00}
	}
	copy(data, head)
	binary.BigEndian.PutUint32(data[12:], uint32(index))
	return data
}

// video makes n frames at 30 a second; each that key says is a key frame. With a mode it has temporal layers.
func (s *source) video(from mono.Time, n, size int, mode *payload.Mode, packetizer payload.Packetizer, key func(i int) bool) {
	for i := range n {
		isKey := key(i)
		temporal := uint8(0)
		if mode != nil && mode.Temporal == 2 && i%2 == 1 {
			temporal = 1
		}
		frameSize := size
		if isKey {
			frameSize *= 4
		}
		frame := s.frame
		if frame == nil {
			frame = vp8Frame
		}
		data := frame(len(s.frames), frameSize, isKey)
		left := from.Add(time.Duration(i) * time.Second / 30)
		limit := payload.Limit{Max: 1100}
		if s.cut > 0 {
			limit.Max = s.cut
		}
		if err := packetizer.Begin(&payload.Frame{Data: data, Mode: mode, Temporal: temporal}, limit); err != nil {
			panic(err)
		}
		for more := true; more; {
			var p []byte
			p, more = packetizer.Append(nil)
			s.packets = append(s.packets, sent{
				Packet: rtp.Packet{PayloadType: vp8Type, SequenceNumber: s.sequence, Timestamp: s.timestamp, Payload: p, Marker: !more},
				left:   left, at: left, frame: len(s.frames),
			})
			s.sequence++
			left = left.Add(300 * time.Microsecond)
		}
		s.frames = append(s.frames, data)
		s.timestamp += 3000
	}
}

// A path delays, loses, and repairs by retransmission.
type path struct {
	rng    *rand.Rand
	delay  time.Duration
	jitter time.Duration // up to so much longer, so that packets may overtake each other
	loss   float64
	spare  int           // so many of the first are not lost
	again  time.Duration // a lost packet is sent again after this long, and may be lost again; 0: never
	twice  float64       // share of packets that come twice
}

// carry sets when packets arrive, leaves out those that never do and sorts the rest.
func (p *path) carry(packets []sent) []sent {
	var out []sent
	for i, s := range packets {
		at := s.left.Add(p.delay)
		if p.jitter > 0 {
			at = at.Add(time.Duration(p.rng.Int64N(int64(p.jitter))))
		}
		lost := false
		for i >= p.spare && p.loss > 0 && p.rng.Float64() < p.loss {
			if p.again == 0 {
				lost = true
				break
			}
			at = at.Add(p.again)
		}
		if lost {
			continue
		}
		s.at = at
		out = append(out, s)
		if p.twice > 0 && p.rng.Float64() < p.twice {
			s.at = s.at.Add(time.Duration(p.rng.Int64N(int64(50 * time.Millisecond))))
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b sent) int { return int(a.at - b.at) })
	return out
}

// A shown frame came out at a time.
type shown struct {
	jitter.Frame
	at mono.Time
}

// A player drives a Buffer.
type player struct {
	t    *testing.T
	b    *jitter.Buffer
	got  []shown
	asks []mono.Time
	ask  func(now mono.Time) // when a key frame is wanted
}

func newPlayer(t *testing.T, c jitter.Config) *player {
	t.Helper()
	b, err := jitter.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.SetFormat(opusType, payload.Opus{})
	b.SetFormat(vp8Type, payload.VP8{})
	b.SetFormat(eventType, nil)
	return &player{t: t, b: b}
}

var (
	audioConfig = jitter.Config{Audio: true, ClockRate: 48000}
	videoConfig = jitter.Config{ClockRate: 90000}
)

// play pushes packets as they arrive, and goes on until a while after.
func (p *player) play(packets []sent) {
	p.t.Helper()
	end := begin
	if len(packets) > 0 {
		end = packets[len(packets)-1].at
	}
	p.playUntil(packets, end.Add(3*time.Second))
}

func (p *player) playUntil(packets []sent, end mono.Time) {
	p.t.Helper()
	turns := 0
	for {
		due := p.b.NextTimeout()
		now := due
		if len(packets) > 0 && packets[0].at <= due {
			now = packets[0].at
			p.b.Push(now, &packets[0].Packet)
			packets = packets[1:]
		}
		if now > end {
			return
		}
		p.poll(now)
		if next := p.b.NextTimeout(); next <= now {
			p.t.Fatalf("NextTimeout stays at %v, which is past", next.Sub(begin))
		}
		if turns++; turns > 1e6 {
			p.t.Fatal("it spins")
		}
	}
}

func (p *player) poll(now mono.Time) {
	for f, ok := p.b.Pop(now); ok; f, ok = p.b.Pop(now) {
		f.Data, f.Next = slices.Clone(f.Data), slices.Clone(f.Next)
		p.got = append(p.got, shown{f, now})
	}
	if p.b.KeyFrameWanted(now) {
		p.asks = append(p.asks, now)
		if p.ask != nil {
			p.ask(now)
		}
	}
}

// indexes returns which frames of video came out, and fails if one is not as it was sent.
func (p *player) indexes(s *source) (out []int) {
	p.t.Helper()
	for _, f := range p.got {
		if f.Lost {
			continue
		}
		i := int(binary.BigEndian.Uint32(f.Data[12:]))
		if i >= len(s.frames) || !slices.Equal(s.frames[i], f.Data) {
			p.t.Fatalf("what came out is no frame that was sent: %d bytes, timestamp %d", len(f.Data), f.Timestamp)
		}
		out = append(out, i)
	}
	if !slices.IsSorted(out) {
		p.t.Fatal("frames are out of order")
	}
	return out
}

func everySeconds(n int) func(int) bool { return func(i int) bool { return i%(30*n) == 0 } }

func onlyFirst(i int) bool { return i == 0 }

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0xf3c)) }

func forSeeds(t *testing.T, n uint64, f func(t *testing.T, rng *rand.Rand)) {
	for seed := range n {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { f(t, seeded(seed)) })
	}
}
