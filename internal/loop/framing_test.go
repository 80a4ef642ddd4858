package loop

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// stunMessage is a STUN message of a type with so many bytes of attributes.
func stunMessage(kind uint16, n int) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	return append(b, make([]byte, 12+n)...)
}

// channelData is a ChannelData message without padding.
func channelData(channel uint16, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, channel)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func TestFramingsUndoWhatTheyDo(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing Framing
		frames  [][]byte
	}{
		{"RFC4571", RFC4571, [][]byte{
			stunMessage(1, 0), []byte("x"), {}, make([]byte, 1200), make([]byte, 65535),
		}},
		{"TURN", TURN, [][]byte{
			stunMessage(1, 0), stunMessage(0x17, 8), channelData(0x4000, ""), channelData(0x4FFF, "1"), channelData(0x4001, "12"),
			channelData(0x4001, "123"), channelData(0x7FFF, "1234"), channelData(0x4001, string(make([]byte, 65535))),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stream []byte
			for _, f := range c.frames {
				stream = c.framing.Append(stream, f)
			}
			for i, want := range c.frames {
				f, err := c.framing.Next(stream)
				if err != nil || f.Size == 0 || f.Size > len(stream) || !bytes.Equal(stream[f.Start:f.End], want) {
					t.Fatalf("frame %d: %+v, %v, want %d bytes", i, f, err, len(want))
				}
				if f.Size > maxFrame {
					t.Errorf("frame %d takes %d bytes, more than maxFrame", i, f.Size)
				}
				stream = stream[f.Size:]
			}
			if len(stream) > 0 {
				t.Errorf("%d bytes are left", len(stream))
			}
		})
	}
	if got := RFC4571.Append(nil, make([]byte, 65536)); len(got) > 0 {
		t.Error("RFC 4571 has a frame of 65,536 bytes")
	}
}

// "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple of four bytes ... The padding is not
// reflected in the length field" - RFC 8656 section 12.5.
func TestChannelDataIsPaddedOnAStream(t *testing.T) {
	got := TURN.Append(nil, channelData(0x4000, "abcde"))
	if want := append(channelData(0x4000, "abcde"), 0, 0, 0); !bytes.Equal(got, want) {
		t.Errorf("on the stream: %x, want %x", got, want)
	}
}

func TestTURNFramingRefusesWhatIsNoFrame(t *testing.T) {
	badCookie := stunMessage(1, 0)
	badCookie[4]++
	for name, b := range map[string][]byte{
		"TLS":       {22, 3, 1, 0, 100, 1, 0, 0, 96},
		"RTP":       {0x80, 96, 0, 0},
		"channel":   {0x80, 0, 0, 0},
		"length":    {0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42},
		"no cookie": badCookie,
	} {
		if f, err := TURN.Next(b); err == nil {
			t.Errorf("%s: taken for %+v", name, f)
		}
	}
}

func TestDroppable(t *testing.T) {
	for _, c := range []struct {
		what    string
		framing Framing
		frame   []byte
		want    bool
	}{
		{"STUN", RFC4571, stunMessage(1, 0), false},
		{"DTLS handshake", RFC4571, []byte{22, 254, 253}, false},
		{"DTLS alert", RFC4571, []byte{21, 254, 253}, false},
		{"DTLS application data", RFC4571, []byte{23, 254, 253}, true},
		{"DTLS 1.3 record", RFC4571, []byte{0x2f, 0, 0}, true},
		{"RTP", RFC4571, []byte{0x80, 96}, true},
		{"Allocate", TURN, stunMessage(3, 0), false},
		{"ChannelBind response", TURN, stunMessage(0x109, 0), false},
		{"Send indication", TURN, stunMessage(0x16, 0), true},
		{"Data indication", TURN, stunMessage(0x17, 0), true},
		{"ChannelData", TURN, channelData(0x4000, "x"), true},
	} {
		if got := c.framing.Droppable(c.frame); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// Whatever comes, a frame is never outside of what has come, and the pieces that a stream comes in do not matter.
func FuzzFraming(f *testing.F) {
	f.Add(TURN.Append(TURN.Append(nil, stunMessage(1, 8)), channelData(0x4000, "abc")), uint8(3))
	f.Add(RFC4571.Append(RFC4571.Append(nil, []byte("hello")), nil), uint8(1))
	f.Add([]byte(strings.Repeat("\x00", 40)), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		for _, framing := range []Framing{RFC4571, TURN} {
			f, err := framing.Next(b)
			if err != nil || f.Size == 0 {
				continue
			}
			if f.Start < 0 || f.Start > f.End || f.End > f.Size || f.Size > maxFrame {
				t.Fatalf("frame %+v", f)
			}
			framing.Droppable(b[min(f.Start, len(b)):min(f.End, len(b))])
			if short, err := framing.Next(b[:min(len(b), int(cut))]); err != nil || short.Size != 0 && short != f {
				t.Fatalf("of %d bytes the first frame is %+v (%v), of %d it is %+v", len(b), f, err, cut, short)
			}
		}
	})
}
