package jitter_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// body is what a frame of an index has behind its headers: the index, and no zeroes, which could be a start code.
func body(index, size int) []byte {
	b := make([]byte, max(size, 8))
	r := rand.NewPCG(uint64(index), 7)
	for i := range b {
		b[i] = byte(r.Uint64()) | 1
	}
	for i := range 4 {
		b[i] = byte(index>>(7*i)) | 0x80
	}
	return b
}

func units(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(append(b, 0, 0, 0, 1), p...)
	}
	return b
}

// codecs make frames as their formats' AppendFrame returns them.
var codecs = map[string]struct {
	format payload.Format
	frame  func(index, size int, key bool) []byte
}{
	"VP8": {payload.VP8{}, vp8Frame},
	"VP9": {payload.VP9{}, func(index, size int, key bool) []byte {
		if key {
			return append([]byte{0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x30}, body(index, size)...)
		}
		return append([]byte{0x86, 0, 0}, body(index, size)...)
	}},
	"H264": {payload.H264{Mode: 1}, func(index, size int, key bool) []byte {
		if key {
			return units([]byte{0x67, 0x42, 0xc0, 0x1f, 1}, []byte{0x68, 0xce, 0x3c, 0x80}, append([]byte{0x65, 0x88}, body(index, size)...))
		}
		half := body(index, size)
		return units(append([]byte{0x41, 0x9a}, half[:len(half)/2]...), append([]byte{0x41, 0x9a}, half[len(half)/2:]...)) // two slices
	}},
	"H264, units by themselves": {payload.H264{Mode: 0}, func(index, size int, key bool) []byte {
		b := body(index, min(size, 600))
		if key {
			return units([]byte{0x09, 0x10}, []byte{0x67, 0x42, 0xc0, 0x1f, 1}, []byte{0x68, 0xce, 0x3c, 0x80}, append([]byte{0x65, 0x88}, b...))
		}
		return units([]byte{0x09, 0x30}, append([]byte{0x41, 0x9a}, b...))
	}},
	"H265": {payload.H265{}, func(index, size int, key bool) []byte {
		if key {
			return units([]byte{0x40, 1, 1}, []byte{0x42, 1, 1}, []byte{0x44, 1, 1}, append([]byte{0x26, 1, 0xaf}, body(index, size)...))
		}
		return units(append([]byte{0x02, 1, 0xd0}, body(index, size)...))
	}},
	"AV1": {payload.AV1{}, func(index, size int, key bool) []byte {
		obu := func(kind byte, data []byte) []byte {
			b := append([]byte{kind<<3 | 2}, byte(len(data)&0x7f))
			if len(data) > 0x7f {
				b[1] |= 0x80
				b = append(b, byte(len(data)>>7))
			}
			return append(b, data...)
		}
		unit := []byte{0x12, 0}
		if key {
			unit = append(unit, obu(1, []byte{0, 0, 1})...)
			return append(unit, obu(6, append([]byte{0x10}, body(index, size)...))...)
		}
		return append(unit, obu(6, append([]byte{0x30}, body(index, size)...))...)
	}},
}

// delimiter is the length of an access unit delimiter, which may be missing: a parameter set is as good a beginning.
const delimiter = 6

// Frames of every format are whole across reordering and retransmission, and with loss that is not repaired only those come out that can
// be decoded, from the next key frame on.
func TestFormats(t *testing.T) {
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			for _, repaired := range []bool{true, false} {
				forSeeds(t, 4, func(t *testing.T, rng *rand.Rand) {
					s := source{sequence: 65400}
					s.frame = codec.frame
					packetizer := codec.format.NewPacketizer(5)
					every := 30 // frames there is a key frame
					if repaired {
						every = 300 // one would be shown when it is due, and end the wait for what is before it
					}
					s.video(begin, 300, 2500, nil, packetizer, func(i int) bool { return i%every == 0 })
					p := newPlayer(t, videoConfig)
					p.b.SetFormat(vp8Type, codec.format)
					way := path{rng: rng, delay: 25 * time.Millisecond, jitter: 30 * time.Millisecond, loss: 0.02}
					if repaired {
						way.again, way.spare = 60*time.Millisecond, 8
						s.packets[0].left = s.packets[0].left.Add(-40 * time.Millisecond)
					}
					p.play(way.carry(s.packets))
					var got []int
					for _, f := range p.got {
						i := slices.IndexFunc(s.frames, func(data []byte) bool { return bytes.HasSuffix(data, f.Data) && len(data)-len(f.Data) <= delimiter })
						if i < 0 {
							t.Fatalf("what came out is no frame that was sent: %d bytes, timestamp %d", len(f.Data), f.Timestamp)
						}
						if f.KeyFrame != (i%every == 0) || f.Timestamp != uint32(3000*i) {
							t.Fatalf("frame %d: %+v", i, f.Frame)
						}
						got = append(got, i)
					}
					if repaired && !slices.Equal(got, count(300)) {
						t.Errorf("%d of 300 frames came out", len(got))
					}
					for i, n := range got {
						if n%every != 0 && (i == 0 || got[i-1] != n-1) {
							t.Fatalf("frame %d came out without the one before", n)
						}
					}
					if len(got) < 25 {
						t.Errorf("%d of 300 frames came out", len(got))
					}
				})
			}
		})
	}
}

// Layers as senders have them (payload.Dependencies): whatever frames are lost, what comes out could be decoded, and what could be
// decoded comes out: all pictures whose layers are all here and refer to nothing that did not come out.
func TestLayersByDependencyDescriptors(t *testing.T) {
	const id = 4
	for _, name := range []string{"L1T2", "L1T3", "L2T1", "L2T2", "L3T3", "L3T3_KEY", "L2T2_KEY_SHIFT"} {
		mode, ok := payload.ParseMode(name)
		if !ok {
			t.Fatalf("no mode %s", name)
		}
		t.Run(name, func(t *testing.T) {
			forSeeds(t, 4, func(t *testing.T, rng *rand.Rand) {
				var s source
				var dependencies payload.Dependencies
				packetizer := payload.VP9{}.NewPacketizer(1)
				number, first := 65500, uint16(0)
				refers := map[int][]int{} // frame number to those it refers to
				pictures := map[uint32][]int{}
				for i := range 300 {
					key := i%160 == 0
					temporal := []uint8{0, 2, 1, 2}[i%4]
					if mode.Temporal == 2 {
						temporal = uint8(i % 2)
					} else if mode.Temporal == 1 {
						temporal = 0
					}
					left := begin.Add(time.Duration(i) * time.Second / 30)
					lost := i > 0 && i < 290 && rng.IntN(15) == 0
					for spatial := range uint8(mode.Spatial) {
						f := payload.Frame{
							Data: codecs["VP9"].frame(i, 900, key && spatial == 0), Mode: mode, Spatial: spatial, Temporal: temporal,
							More: spatial < uint8(mode.Spatial)-1,
						}
						d, ok := dependencies.Next(&f, key && spatial == 0)
						if !ok {
							t.Fatalf("picture %d has no place in its mode", i)
						}
						if i == 0 && spatial == 0 {
							first = d.FrameNumber
						}
						number = int(d.FrameNumber - first)
						for _, diff := range d.Frame.Diffs[:d.Frame.DiffCount] {
							refers[number] = append(refers[number], number-int(diff))
						}
						pictures[s.timestamp] = append(pictures[s.timestamp], number)
						if err := packetizer.Begin(&f, payload.Limit{Max: 700}); err != nil {
							t.Fatal(err)
						}
						for more, begins := true, true; more; begins = false {
							var data []byte
							data, more = packetizer.Append(nil)
							p := rtp.Packet{PayloadType: vp8Type, SequenceNumber: s.sequence, Timestamp: s.timestamp, Payload: data, Marker: !more && !f.More}
							d.StartOfFrame, d.EndOfFrame = begins, !more
							v, ok := d.Append(nil, dependencies.Structure())
							if !ok {
								t.Fatal("no descriptor")
							}
							d.Structure = nil
							p.Extensions.Reset(rtp.TwoByte)
							p.Extensions.Add(id, v)
							if !lost {
								s.packets = append(s.packets, sent{Packet: p, left: left, frame: i})
							}
							s.sequence++
						}
					}
					s.timestamp += 3000
				}
				config := jitter.Config{ClockRate: 90000, Dependency: id}
				p := newPlayer(t, config)
				p.b.SetFormat(vp8Type, payload.VP9{})
				p.play((&path{rng: rng, delay: 20 * time.Millisecond}).carry(s.packets))

				came := map[uint32]bool{}
				for i := range s.packets {
					came[s.packets[i].Timestamp] = true
				}
				decoded := map[int]bool{}
				var want []uint32
				for ts := uint32(0); ts < s.timestamp; ts += 3000 {
					can := came[ts]
					for _, n := range pictures[ts] {
						for _, r := range refers[n] {
							can = can && (decoded[r] || slices.Contains(pictures[ts], r))
						}
					}
					if can {
						want = append(want, ts)
						for _, n := range pictures[ts] {
							decoded[n] = true
						}
					}
				}
				var got []uint32
				for _, f := range p.got {
					got = append(got, f.Timestamp)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%d pictures came out, %d could be decoded", len(got), len(want))
				}
			})
		})
	}
}
