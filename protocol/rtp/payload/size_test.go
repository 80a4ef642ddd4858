package payload

import (
	"encoding/hex"
	"testing"
)

// What encoders wrote of pictures from ffmpeg 5.1's testsrc (`ffmpeg -f lavfi -i testsrc=size=WxH -frames:v 1 -c:v ENCODER`), cut behind the
// headers.
func TestPictureSize(t *testing.T) {
	for _, c := range []struct {
		name          string
		format        Format
		frame         string
		width, height int
	}{
		{"x264, baseline, cropped", H264{}, "000000016742c028d900780227a9b0110000030001000003003c0f1832480000000168cb83cb200000010605ff", 1918, 1078},
		{"x264, High 4:2:2, interlaced, with scaling lists", H264{}, "00000001677a0020bcd940500bbf158088000003000800000301e0f8b16cb00000000168fba3cb3002c0", 1280, 718},
		{"x264, High", H264{}, "000000016764000dacd9416097aac044000003000400000300f03c50a6580000000168ebe3cb38", 350, 286},
		{"x265, Main, cropped", H265{}, "0000000140010c01ffff01600000030090000003000003003c9598090000" +
			"000142010101600000030090000003000003003ca00a080f1d565959a4932bc05a020000030002000003003c10000000014401c172b46240", 318, 238},
		{"x265, Main 4:4:4", H265{}, "0000000140010c01ffff0408000003009e08000003000078959809000000" +
			"014201010408000003009e0800000300007890007890021ce22b2cacd24995e02d010000030001000003001e08000000014401c172860c4624", 1921, 1079},
		{"x265, Main 10", H265{}, "000000014201010220000003009000000300" + "0003003fa005020169f4d96566924caf016808000003000800000300f040", 640, 358},
		{"libaom", AV1{}, "12000a0d20000024c6abdf36be48086801321a0e1400a4001001a22fb45433fcf0e4488f0fa4ce53a02001de1b", 854, 480},
		{"libvpx, VP8", VP8{}, "d0aa009d012a85026b010007088585888584880203bbf076", 645, 363},
		{"libvpx, VP9", VP9{}, "a2498342e0284016a60438241c184a1006687fd5fa3e8fe7", 645, 363},
		{"VP8, not a key frame", VP8{}, "d1aa009d012a85026b010007088585888584880203bbf076", 0, 0},
	} {
		frame, err := hex.DecodeString(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		width, height := 0, 0
		for _, b := range cut(t, c.format.NewPacketizer(1), &Frame{Data: frame}, Limit{Max: 1000}) {
			if w, h, ok := PictureSize(c.format, b); ok {
				width, height = w, h
			}
		}
		if width != c.width || height != c.height {
			t.Errorf("%s: %d x %d, want %d x %d", c.name, width, height, c.width, c.height)
		}
	}
	mode, _ := ParseMode("L3T1")
	key, _ := hex.DecodeString("a2498342e0284016a60438241c184a1006687fd5fa3e8fe7")
	b := cut(t, VP9{}.NewPacketizer(1), &Frame{Data: key, Mode: mode, More: true}, Limit{Max: 1000})[0]
	if w, h, ok := PictureSize(VP9{}, b); !ok || w < 645 || h < 363 {
		t.Errorf("of three spatial layers the highest is %d x %d", w, h)
	}
}

// A bitWriter writes parameter sets that no encoder at hand makes.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) bits(v uint64, n int) *bitWriter {
	for n--; n >= 0; n-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>n&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

func (w *bitWriter) golomb(values ...uint64) *bitWriter {
	for _, v := range values {
		n := 0
		for (v+1)>>(n+1) > 0 {
			n++
		}
		w.bits(0, n).bits(v+1, n+1)
	}
	return w
}

// escaped is what was written as a NAL unit with a header.
func (w *bitWriter) escaped(header ...byte) []byte {
	nal, zeroes := header, 0
	for _, b := range w.b {
		if zeroes >= 2 && b <= 3 {
			nal, zeroes = append(nal, 3), 0
		}
		if zeroes++; b != 0 {
			zeroes = 0
		}
		nal = append(nal, b)
	}
	return nal
}

// Scaling lists in full and of defaults (H.264 section 7.3.2.1.1.1), frame numbers of the kind 1, fields, and 4:4:4 in three planes; and of
// H.265 sub-layers with profiles and levels of their own (section 7.3.3).
func TestSizeBehindMuch(t *testing.T) {
	w := (&bitWriter{}).bits(244, 8).bits(0, 16).golomb(0, 3).bits(1, 1).golomb(0, 0).bits(0, 1).bits(1, 1)
	for i := range 12 {
		switch {
		case i%3 == 0:
			w.bits(0, 1) // not present
		case i%3 == 1: // the default: the first difference makes it zero
			w.bits(1, 1).golomb(16)
		default:
			w.bits(1, 1)
			for j := range map[bool]int{true: 16, false: 64}[i < 6] {
				w.golomb(uint64(1 + j%2)) // one up, one down
			}
		}
	}
	w.golomb(4, 1).bits(0, 1).golomb(0, 0, 3, 1, 2, 1, 4).bits(0, 1).golomb(39, 14).bits(0, 1).bits(1, 1).bits(1, 1).bits(1, 1).golomb(0, 3, 0, 1).bits(1, 1)
	if width, height, _ := PictureSize(H264{}, w.escaped(0x67)); width != 640-3 || height != 480-2 {
		t.Errorf("H.264: %d x %d", width, height)
	}

	w = (&bitWriter{}).bits(0, 4).bits(3, 3).bits(1, 1).bits(1, 32).bits(0, 32).bits(0, 32)
	for _, has := range []uint64{3, 1, 2} { // profile and level, level alone, profile alone
		w.bits(has, 2)
	}
	w.bits(0, 10)
	w.bits(1, 44).bits(5, 44).bits(90, 8).bits(93, 8).bits(7, 44).bits(9, 44)
	w.golomb(0, 1, 1920, 1088).bits(1, 1).golomb(0, 0, 0, 4).bits(1, 1)
	if width, height, _ := PictureSize(H265{}, w.escaped(0x42, 1)); width != 1920 || height != 1080 {
		t.Errorf("H.265: %d x %d", width, height)
	}
}
