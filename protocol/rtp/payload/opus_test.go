package payload

import (
	"bytes"
	"errors"
	"testing"
)

// RFC 7587 section 4.2, table 2: "ts incr" of 2.5 to 60 ms; RFC 6716 section 3.1, table 2.
func TestOpusDurations(t *testing.T) {
	for config, want := range []uint32{
		480, 960, 1920, 2880, 480, 960, 1920, 2880, 480, 960, 1920, 2880, 480, 960, 480, 960,
		120, 240, 480, 960, 120, 240, 480, 960, 120, 240, 480, 960, 120, 240, 480, 960,
	} {
		p, err := Opus{}.Parse([]byte{byte(config << 3), 1})
		if err != nil || p != (Part{Start: true, End: true, KeyFrame: true, Duration: want}) {
			t.Errorf("configuration %d: %+v, %v", config, p, err)
		}
	}
}

// RFC 6716 section 3.4: "Receiving Malformed Packets", requirements R1 to R7.
func TestOpusPackets(t *testing.T) {
	const fullband20 = 31 << 3
	run := func(n int) []byte { return bytes.Repeat([]byte{1}, n) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name string
		b    []byte
		want OpusPacket
		err  error
	}{
		{"R1: Packets are at least one byte", nil, OpusPacket{}, ErrEmpty},
		{"one frame without a byte", []byte{fullband20}, OpusPacket{960, 1, false, true}, nil},
		{"stereo", []byte{fullband20 | 4, 1}, OpusPacket{960, 1, true, false}, nil},
		{"the longest frame", join([]byte{fullband20}, run(1275)), OpusPacket{960, 1, false, false}, nil},
		{"R2: No implicit frame length is larger than 1275 bytes", join([]byte{fullband20}, run(1276)), OpusPacket{}, ErrMalformed},
		{"two alike", []byte{fullband20 | 1, 1, 2}, OpusPacket{1920, 2, false, false}, nil},
		{"R3: Code 1 packets have an odd total length", []byte{fullband20 | 1, 1, 2, 3}, OpusPacket{}, ErrMalformed},
		{"two of sizes", []byte{fullband20 | 2, 1, 7, 8, 9}, OpusPacket{1920, 2, false, false}, nil},
		{"of two bytes", join([]byte{fullband20 | 2, 252, 0}, run(252)), OpusPacket{1920, 2, false, false}, nil},
		{"R4: room for the first frame", []byte{fullband20 | 2, 3, 7, 8}, OpusPacket{}, ErrMalformed},
		{"R4: and for its size", []byte{fullband20 | 2, 252}, OpusPacket{}, ErrMalformed},
		{"three alike", []byte{fullband20 | 3, 3, 7, 8, 9}, OpusPacket{2880, 3, false, false}, nil},
		{"none", []byte{fullband20 | 3, 0}, OpusPacket{}, ErrMalformed},
		{"R5: 120 ms", []byte{fullband20 | 3, 6}, OpusPacket{5760, 6, false, true}, nil},
		{"R5: at most 120 ms", []byte{fullband20 | 3, 7}, OpusPacket{}, ErrMalformed},
		{"R6: with padding", []byte{fullband20 | 3, 0x42, 2, 7, 8, 0, 0}, OpusPacket{1920, 2, false, false}, nil},
		{"R6: more padding than packet", []byte{fullband20 | 3, 0x42, 5, 7, 8, 0, 0}, OpusPacket{}, ErrMalformed},
		{"R6: alike, but not a multiple", []byte{fullband20 | 3, 2, 7, 8, 9}, OpusPacket{}, ErrMalformed},
		{"padding of 255", join([]byte{fullband20 | 3, 0x41, 255, 1, 9}, run(255)), OpusPacket{960, 1, false, false}, nil},
		{"R7: of sizes", []byte{fullband20 | 3, 0x83, 1, 0, 7}, OpusPacket{2880, 3, false, false}, nil},
		{"R7: too short", []byte{fullband20 | 3, 0x83, 2, 0, 7}, OpusPacket{}, ErrMalformed},
	} {
		if got, err := ParseOpus(c.b); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}
