package annexb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/parley-rtc/parley/internal/ffmpeg"
)

func Example() {
	var file bytes.Buffer
	w := NewWriter(&file)
	for _, nal := range []string{"\x67sps", "\x68pps", "\x65\x88picture", "\x41\x9anext picture"} {
		w.WriteNAL([]byte(nal))
	}
	r := NewReader(&file, H264)
	for {
		unit, err := r.NextAccessUnit()
		if err == io.EOF {
			break
		}
		fmt.Printf("%q\n", unit)
	}
	// Output:
	// "\x00\x00\x00\x01gsps\x00\x00\x00\x01hpps\x00\x00\x00\x01e\x88picture"
	// "\x00\x00\x00\x01A\x9anext picture"
}

// Access units are the frames that ffmpeg encoded, also where they have several slices.
func TestFFmpeg(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		args  string
	}{
		{"h264", H264, "-c:v libx264 -preset ultrafast -tune zerolatency -x264-params slices=3:aud=0"},
		{"h264 with delimiters and B pictures", H264, "-c:v libx264 -preset fast -x264-params aud=1:bframes=2"},
		{"h265", H265, "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1:frame-threads=1:slices=2"},
		{"h265 with delimiters", H265, "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1:frame-threads=1:aud=1:bframes=2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			extension := map[Codec]string{H264: ".h264", H265: ".hevc"}[c.codec]
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from"+extension), filepath.Join(dir, "to"+extension)
			args := append([]string{"-f", "lavfi", "-i", "testsrc=size=352x288:rate=25:duration=1", "-pix_fmt", "yuv420p", "-g", "10"}, strings.Fields(c.args)...)
			ffmpeg.Run(t, append(args, from)...)
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			var nals, units [][]byte
			r := NewReader(bytes.NewReader(data), c.codec)
			for nal, err := r.NextNAL(); err != io.EOF; nal, err = r.NextNAL() {
				if err != nil {
					t.Fatal(err)
				}
				nals = append(nals, bytes.Clone(nal))
			}
			r = NewReader(iotest.HalfReader(bytes.NewReader(data)), c.codec)
			for unit, err := r.NextAccessUnit(); err != io.EOF; unit, err = r.NextAccessUnit() {
				if err != nil {
					t.Fatal(err)
				}
				units = append(units, bytes.Clone(unit))
			}
			var joined bytes.Buffer
			w := NewWriter(&joined)
			for _, nal := range nals {
				if err := w.WriteNAL(nal); err != nil {
					t.Fatal(err)
				}
			}
			if len(units) != 25 || !bytes.Equal(bytes.Join(units, nil), joined.Bytes()) {
				t.Errorf("%d access units of %d NAL units", len(units), len(nals))
			}
			if err := os.WriteFile(to, joined.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := ffmpeg.Probe(t, to, "stream=width,height,nb_read_frames"); got != "352,288,25" {
				t.Errorf("ffprobe reads %s", got)
			}
		})
	}
}

// Start codes of either length, zeroes around them, and ends anywhere; read by one byte, or all at once.
func TestStreams(t *testing.T) {
	for _, c := range []struct {
		stream string
		nals   []string
		err    error
	}{
		{"", nil, io.EOF},
		{"\x00\x00\x00", nil, io.EOF},
		{"\x00\x00\x01\x67a", []string{"\x67a"}, io.EOF},
		{"\x00\x00\x00\x00\x01\x67a\x00\x00\x00\x01\x68\x00\x00\x00\x00\x00\x01\x65b\x00\x00", []string{"\x67a", "\x68", "\x65b"}, io.EOF},
		{"\x00\x00\x01\x00\x00\x01\x00\x00\x01\x67a", []string{"\x67a"}, io.EOF},
		{"\x00\x00\x01\x67a\x00\x00\x03\x00\x01", []string{"\x67a\x00\x00\x03\x00\x01"}, io.EOF},
		{"abc", nil, ErrFormat},
		{"a\x00\x00\x01\x67a", nil, ErrFormat},
	} {
		for name, reader := range map[string]io.Reader{
			"at once": strings.NewReader(c.stream), "by bytes": iotest.OneByteReader(strings.NewReader(c.stream)), "with its end": iotest.DataErrReader(strings.NewReader(c.stream)),
		} {
			r := NewReader(reader, H264)
			var nals []string
			nal, err := r.NextNAL()
			for ; err == nil; nal, err = r.NextNAL() {
				nals = append(nals, string(nal))
			}
			if fmt.Sprintf("%q", nals) != fmt.Sprintf("%q", c.nals) || !errors.Is(err, c.err) {
				t.Errorf("%q %s: %q, %v", c.stream, name, nals, err)
			}
		}
	}
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(strings.NewReader("\x00\x00\x01\x67a\x00\x00\x01\x65"), iotest.ErrReader(broken)), H264)
	if nal, err := r.NextNAL(); err != nil || string(nal) != "\x67a" {
		t.Errorf("%q, %v", nal, err)
	}
	if nal, err := r.NextNAL(); !errors.Is(err, broken) {
		t.Errorf("%q, %v", nal, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 7
	}
	return len(b), nil
}

func TestBound(t *testing.T) {
	for _, start := range []string{"\x00\x00\x01", "\x00\x00\x01\x65\x88\x00\x00\x01"} {
		r := NewReader(io.MultiReader(strings.NewReader(start), endless{}), H264)
		r.most = 1 << 20
		if _, err := r.NextAccessUnit(); !errors.Is(err, ErrLarge) {
			t.Error(err)
		}
		if len(r.buf) > 2*r.most {
			t.Errorf("%d bytes are held", len(r.buf))
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01gsps\x00\x00\x01e\x88\x00\x00\x01A\x9a"), true)
	f.Add([]byte("\x00\x00\x00\x01\x40\x01v\x00\x00\x01\x26\x01\x88"), false)
	f.Fuzz(func(t *testing.T, b []byte, old bool) {
		codec := H265
		if old {
			codec = H264
		}
		var nals, units []byte
		r := NewReader(bytes.NewReader(b), codec)
		nal, first := r.NextNAL()
		for ; first == nil; nal, first = r.NextNAL() {
			nals = append(append(nals, 0, 0, 0, 1), nal...)
		}
		r = NewReader(iotest.OneByteReader(bytes.NewReader(b)), codec)
		unit, second := r.NextAccessUnit()
		for ; second == nil; unit, second = r.NextAccessUnit() {
			units = append(units, unit...)
		}
		if first == io.EOF && second == io.EOF && !bytes.Equal(nals, units) {
			t.Fatalf("%q: NAL units %q, access units %q", b, nals, units)
		}
	})
}
