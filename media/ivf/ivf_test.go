package ivf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/ffmpeg"
)

func Example() {
	var file bytes.Buffer
	w, _ := NewWriter(&file, Header{Codec: VP8, Width: 320, Height: 180, Rate: 90000, Scale: 1})
	w.Write(Frame{PTS: 0, Data: []byte("key frame")})
	w.Write(Frame{PTS: 3000, Data: []byte("frame")})

	r, _ := NewReader(&file)
	for {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Println(r.Header.Codec, r.Header.Time(f.PTS), string(f.Data))
	}
	// Output:
	// VP80 0s key frame
	// VP80 33.333333ms frame
}

// What ffmpeg writes is read, and what is written of it ffmpeg decodes to the same pictures.
func TestFFmpeg(t *testing.T) {
	for _, c := range []struct{ codec, encoder, probe string }{{VP8, "libvpx", "vp8"}, {VP9, "libvpx-vp9", "vp9"}, {AV1, "libsvtav1", "av1"}} {
		t.Run(c.probe, func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from.ivf"), filepath.Join(dir, "to.ivf")
			args := []string{"-f", "lavfi", "-i", "testsrc=size=176x144:rate=25:duration=1", "-c:v", c.encoder, "-b:v", "200k", "-g", "10"}
			if c.codec == AV1 {
				args = append(args, "-preset", "12", "-svtav1-params", "lp=1")
				t.Setenv("SVT_LOG", "1")
			} else {
				args = append(args, "-deadline", "realtime", "-cpu-used", "8")
			}
			ffmpeg.Run(t, append(args, from)...)
			in, err := os.Open(from)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			r, err := NewReader(in)
			if err != nil || r.Header.Codec != c.codec || r.Header.Width != 176 || r.Header.Height != 144 || r.Header.Rate/r.Header.Scale != 25 {
				t.Fatalf("%+v, %v", r, err)
			}
			out, err := os.Create(to)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			header := r.Header
			header.Frames = 0
			w, err := NewWriter(out, header)
			if err != nil {
				t.Fatal(err)
			}
			frames := 0
			for {
				f, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if at := r.Header.Time(f.PTS); at < 0 || at >= time.Second {
					t.Errorf("frame %d at %v", frames, at)
				}
				if err := w.Write(f); err != nil {
					t.Fatal(err)
				}
				frames++
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			a, _ := os.ReadFile(from)
			b, _ := os.ReadFile(to)
			if frames < 25 || len(a) != len(b) || !bytes.Equal(a[headerLen:], b[headerLen:]) {
				t.Errorf("%d frames, %d bytes became %d", frames, len(a), len(b))
			}
			if got, want := ffmpeg.Probe(t, to, "stream=codec_name,width,height,nb_read_frames"), c.probe+",176,144,25"; got != want {
				t.Errorf("ffprobe reads %s, not %s", got, want)
			}
			if r, err := NewReader(bytes.NewReader(b)); err != nil || r.Header.Frames != uint32(frames) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Header{Codec: VP8, Width: 1, Height: 1, Rate: 30, Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Frame{Data: make([]byte, 100)}); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	for n := range len(whole) {
		r, err := NewReader(bytes.NewReader(whole[:n]))
		if err != nil {
			if n >= headerLen || !errors.Is(err, ErrFormat) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		want := io.ErrUnexpectedEOF
		if n == headerLen {
			want = io.EOF
		}
		if _, err := r.Next(); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	huge := append(bytes.Clone(whole[:headerLen]), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	if r, err := NewReader(bytes.NewReader(huge)); err != nil {
		t.Error(err)
	} else if _, err := r.Next(); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	for _, h := range []Header{{}, {Codec: VP8}, {Codec: "VP8", Rate: 1, Scale: 1}, {Codec: VP8, Width: 1 << 16, Rate: 1, Scale: 1}} {
		if _, err := NewWriter(io.Discard, h); err == nil {
			t.Errorf("%+v was written", h)
		}
	}
}

func FuzzReader(f *testing.F) {
	var file bytes.Buffer
	w, _ := NewWriter(&file, Header{Codec: VP8, Width: 1, Height: 1, Rate: 30, Scale: 1})
	w.Write(Frame{PTS: 1, Data: []byte("abc")})
	w.Write(Frame{PTS: 2})
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for sum := 0; ; {
			frame, err := r.Next()
			if err != nil {
				return
			}
			r.Header.Time(frame.PTS)
			if sum += len(frame.Data) + frameHeader; sum > len(b) {
				t.Fatalf("%d bytes out of %d", sum, len(b))
			}
		}
	})
}
