package g711

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/internal/ffmpeg"
)

// Each byte is what its sample is encoded to; and each sample becomes one whose distance is at most half of that to the farther
// of its neighbours, but where there is none.
func TestLaws(t *testing.T) {
	for name, c := range map[string]struct {
		encode func(int16) byte
		decode func(byte) int16
	}{"mu-law": {EncodeMuLaw, DecodeMuLaw}, "A-law": {EncodeALaw, DecodeALaw}} {
		var values []int
		for b := range 256 {
			v := c.decode(byte(b))
			values = append(values, int(v))
			if again := c.decode(c.encode(v)); again != v {
				t.Errorf("%s: byte %#x is %d, and then %d", name, b, v, again)
			}
		}
		slices.Sort(values)
		values = slices.Compact(values)
		last := math.MinInt
		for s := math.MinInt16; s <= math.MaxInt16; s++ {
			got := int(c.decode(c.encode(int16(s))))
			i, ok := slices.BinarySearch(values, got)
			if !ok || got < last {
				t.Fatalf("%s: %d is %d, after %d", name, s, got, last)
			}
			last = got
			if i > 0 && i < len(values)-1 && 2*abs(got-s) > max(values[i+1]-got, got-values[i-1]) {
				t.Fatalf("%s: %d is %d", name, s, got)
			}
		}
		if first := values[0]; name == "A-law" && first != -32256 || name == "mu-law" && first != -32124 {
			t.Errorf("%s: the loudest sample is %d", name, first)
		}
	}
}

func abs(n int) int { return max(n, -n) }

// All bytes decode to the samples that ffmpeg decodes them to.
func TestFFmpeg(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	file := filepath.Join(t.TempDir(), "all")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	for format, decode := range map[string]func(byte) int16{"mulaw": DecodeMuLaw, "alaw": DecodeALaw} {
		samples := ffmpeg.Run(t, "-f", format, "-ar", "8000", "-ac", "1", "-i", file, "-f", "s16le", "-")
		var want []byte
		for _, b := range all {
			want = binary.LittleEndian.AppendUint16(want, uint16(decode(b)))
		}
		if !bytes.Equal(samples, want) {
			t.Errorf("%s:\n%x\n%x", format, samples, want)
		}
	}
}
