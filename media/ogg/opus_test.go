package ogg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/ffmpeg"
)

func Example() {
	var file bytes.Buffer
	w, _ := NewOpusWriter(&file, 1, OpusHead{Channels: 2, SampleRate: 48000})
	w.Write(OpusPacket{Data: []byte("\xfcfirst")})                    // 20 ms
	w.Write(OpusPacket{Position: 2 * 960, Data: []byte("\xfcthird")}) // one was lost
	w.Close()

	r, _ := NewOpusReader(&file)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Printf("%v %q\n", r.Head.Time(p), p.Data)
	}
	// Output:
	// 0s "\xfcfirst"
	// 20ms "\xfc"
	// 40ms "\xfcthird"
}

// A file of ffmpeg is read packet by packet, written again, and what ffmpeg then decodes is the same, sample by sample: times,
// pre-skip, and where the end is trimmed.
func TestFFmpeg(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.ogg"), filepath.Join(dir, "to.ogg")
	ffmpeg.Run(t, "-f", "lavfi", "-i", "sine=frequency=440:duration=3.337", "-c:a", "libopus", "-ac", "2", "-b:a", "48k", from)
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewOpusReader(bytes.NewReader(data))
	if err != nil || r.Head.Channels != 2 || r.Head.PreSkip != 312 {
		t.Fatalf("%+v, %v", r, err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := NewOpusWriter(out, 5, r.Head)
	if err != nil {
		t.Fatal(err)
	}
	total, trimmed := int64(0), uint32(0)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || p.Position != total || p.Duration != 960 || trimmed > 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		total += int64(p.Duration)
		trimmed = p.Trim
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if played := time.Duration(total-int64(trimmed)-312) * time.Second / 48000; played.Round(time.Millisecond) != 3337*time.Millisecond {
		t.Errorf("%v are played", played)
	}
	was, is := ffmpeg.Run(t, "-i", from, "-f", "s16le", "-"), ffmpeg.Run(t, "-i", to, "-f", "s16le", "-")
	if len(was) == 0 || !bytes.Equal(was, is) {
		t.Errorf("%d bytes of samples became %d", len(was), len(is))
	}
	const entries = "stream=codec_name,channels,nb_read_frames:format=duration"
	if got, want := ffmpeg.Probe(t, to, entries), ffmpeg.Probe(t, from, entries); got != want || !strings.HasPrefix(got, "opus,2,") {
		t.Errorf("ffprobe reads %s, not %s", got, want)
	}
}

// A file of ffmpeg with a stream of video beside: pages of both are mixed.
func TestMixed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mixed.ogv")
	ffmpeg.Run(t, "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2", "-f", "lavfi", "-i", "sine=duration=2",
		"-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-f", "ogg", file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewOpusReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for p, err := r.Next(); err != io.EOF; p, err = r.Next() {
		if err != nil || p.Position != int64(960*n) {
			t.Fatalf("%+v, %v", p, err)
		}
		n++
	}
	if n != 101 { // two seconds, and the pre-skip
		t.Errorf("%d packets", n)
	}
}

// RFC 7845 section 5.1: the identification header.
func TestOpusHead(t *testing.T) {
	stereo := OpusHead{Channels: 2, PreSkip: 312, SampleRate: 44100, Gain: -256}
	b := stereo.Append(nil)
	if want := "OpusHead\x01\x02\x38\x01\x44\xac\x00\x00\x00\xff\x00"; string(b) != want {
		t.Errorf("%q", b)
	}
	if h, err := ParseOpusHead(b); err != nil || fmt.Sprint(h) != fmt.Sprint(stereo) {
		t.Errorf("%+v, %v", h, err)
	}
	surround := OpusHead{Channels: 6, Mapping: 1, Streams: 4, Coupled: 2, Channel: []byte{0, 4, 1, 2, 3, 5}}
	if h, err := ParseOpusHead(surround.Append(nil)); err != nil || fmt.Sprint(h) != fmt.Sprint(surround) {
		t.Errorf("%+v, %v", h, err)
	}
	for name, h := range map[string]OpusHead{
		"a channel beyond what is decoded": {Channels: 6, Mapping: 1, Streams: 4, Coupled: 2, Channel: []byte{0, 4, 1, 2, 3, 6}},
		"nine channels of surround":        {Channels: 9, Mapping: 1, Streams: 9, Channel: make([]byte, 9)},
		"more coupled than there are":      {Channels: 2, Mapping: 255, Streams: 1, Coupled: 2, Channel: make([]byte, 2)},
	} {
		if _, err := ParseOpusHead(h.Append(nil)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	silence := OpusHead{Channels: 9, Mapping: 255, Streams: 1, Channel: []byte{0, 0, 0, 255, 0, 0, 0, 0, 0}}
	if _, err := ParseOpusHead(silence.Append(nil)); err != nil {
		t.Error(err)
	}
	// Versions with the same upper four bits are compatible.
	later := bytes.Clone(b)
	later[8] = 15
	if _, err := ParseOpusHead(later); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"cut off":      func(b []byte) []byte { return b[:18] },
		"no channel":   func(b []byte) []byte { b[9] = 0; return b },
		"three of RTP": func(b []byte) []byte { b[9] = 3; return b },
		"version 16":   func(b []byte) []byte { b[8] = 16; return b },
		"something":    func(b []byte) []byte { b[0] = 'o'; return b },
		"no mapping":   func(b []byte) []byte { b[18] = 1; return b },
	} {
		if h, err := ParseOpusHead(change(bytes.Clone(b))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	if _, err := NewOpusWriter(io.Discard, 1, OpusHead{}); err == nil {
		t.Error("a header without channels was written")
	}
}

// A recording of something that was going on begins later than at 0, which its first page tells (RFC 7845 section 4.3); pages that
// are lost move the time on; a page has no more than a second.
func TestOpusTimes(t *testing.T) {
	var file bytes.Buffer
	o, err := NewOpusWriter(&file, 3, OpusHead{Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	o.position, o.flushed = 480000, 480000
	for range 200 {
		if err := o.Write(OpusPacket{Data: []byte{0xf8, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Write(OpusPacket{Position: 480000 + 200*960 + maxGap + 1, Data: []byte{0xf8}}); !errors.Is(err, ErrGap) {
		t.Error(err)
	}
	if err := o.Write(OpusPacket{Data: nil}); err == nil {
		t.Error("nothing was written")
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	var pages [][]byte
	for b := file.Bytes(); len(b) > 0; {
		p, size, ok := parsePage(b)
		if !ok || len(p.lacing) > 50 {
			t.Fatalf("a page of %d packets, %v", len(p.lacing), ok)
		}
		pages = append(pages, b[:size])
		b = b[size:]
	}
	if len(pages) != 2+4 {
		t.Fatalf("%d pages", len(pages))
	}
	positions := func(pages ...[]byte) (list []int64) {
		r, err := NewOpusReader(bytes.NewReader(bytes.Join(pages, nil)))
		if err != nil {
			t.Fatal(err)
		}
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			list = append(list, p.Position)
		}
		return list
	}
	if p := positions(pages...); len(p) != 200 || p[0] != 480000 || p[199] != 480000+199*960 {
		t.Errorf("%d packets from %d to %d", len(p), p[0], p[199])
	}
	if p := positions(pages[0], pages[1], pages[2], pages[4], pages[5]); len(p) != 150 || p[49] != 480000+49*960 || p[149] != 480000+199*960 {
		t.Errorf("with a page lost, %d packets up to %d", len(p), p[149])
	}
}
