package payload_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/media/annexb"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A sample is a stream of a real encoder, and how others name its format.
type sample struct {
	name         string
	format       payload.Format
	file         string
	encode       string // ffmpeg's arguments
	parse        string // GStreamer's elements, from the file to the payloader
	caps         string // of what it puts into packets
	element      string // rtp*pay, rtp*depay
	experimental bool   // in ffmpeg
}

const video = "-f lavfi -i testsrc=size=352x288:rate=25:duration=1 -pix_fmt yuv420p -g 10 "

var samples = []sample{
	{"vp8", payload.VP8{}, "a.ivf", video + "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M", "ivfparse", "media=video,encoding-name=VP8,clock-rate=90000", "vp8", false},
	{"vp9", payload.VP9{}, "a.ivf", video + "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -lag-in-frames 0", "ivfparse", "media=video,encoding-name=VP9,clock-rate=90000", "vp9", true},
	{"h264", payload.H264{Mode: 1}, "a.h264", video + "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 1M -x264-params slices=2",
		"h264parse ! video/x-h264,stream-format=byte-stream,alignment=au", "media=video,encoding-name=H264,clock-rate=90000,packetization-mode=(string)1", "h264", false},
	{"h265", payload.H265{}, "a.hevc", video + "-c:v libx265 -preset ultrafast -b:v 1M -x265-params log-level=none:pools=1:frame-threads=1",
		"h265parse ! video/x-h265,stream-format=byte-stream,alignment=au", "media=video,encoding-name=H265,clock-rate=90000", "h265", false},
	{"av1", payload.AV1{}, "a.ivf", video + "-c:v libaom-av1 -usage realtime -cpu-used 8 -b:v 1M", "", "", "", false}, // neither of them has its payloads
	{"opus", payload.Opus{}, "a.ogg", "-f lavfi -i sine=duration=1 -c:a libopus -b:a 64k", "oggdemux ! opusparse", "media=audio,encoding-name=OPUS,clock-rate=48000", "opus", false},
}

// make has ffmpeg encode the sample, and returns the file and its frames.
func (s *sample) make(t *testing.T) (file string, frames [][]byte) {
	t.Helper()
	file = filepath.Join(t.TempDir(), s.file)
	ffmpeg.Run(t, append(strings.Fields(s.encode), file)...)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var next func() ([]byte, error)
	switch filepath.Ext(file) {
	case ".ivf":
		r, err := ivf.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		next = func() ([]byte, error) { frame, err := r.Next(); return frame.Data, err }
	case ".ogg":
		r, err := ogg.NewOpusReader(f)
		if err != nil {
			t.Fatal(err)
		}
		next = func() ([]byte, error) { p, err := r.Next(); return p.Data, err }
	default:
		codec := annexb.H264
		if filepath.Ext(file) == ".hevc" {
			codec = annexb.H265
		}
		next = annexb.NewReader(f, codec).NextAccessUnit
	}
	for {
		b, err := next()
		if err == io.EOF {
			return file, frames
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(b))
	}
}

// join makes frames of packets: up to the marker in video, each in audio.
func join(t *testing.T, format payload.Format, packets []rtp.Packet) (frames [][]byte, keys int) {
	t.Helper()
	for len(packets) > 0 {
		var payloads [][]byte
		key := false
		for i, end := 0, false; !end && i < len(packets); i++ {
			p := &packets[i]
			part, err := format.Parse(p.Payload)
			if err != nil {
				t.Fatalf("frame %d, payload %d: %v", len(frames), i, err)
			}
			end = p.Marker || part.Duration > 0
			started := part.Start && i > 0 && (format != payload.H264{Mode: 1} || i > 1) // a delimiter may be in a packet of its own
			if started || part.End && !end || p.Timestamp != packets[0].Timestamp {
				t.Errorf("frame %d, payload %d: %+v, marker %v", len(frames), i, part, p.Marker)
			}
			key = key || part.KeyFrame
			payloads = append(payloads, p.Payload)
		}
		packets = packets[len(payloads):]
		frame, err := format.AppendFrame(nil, payloads)
		if err != nil {
			t.Fatalf("frame %d: %v", len(frames), err)
		}
		if key != format.KeyFrame(frame) {
			t.Errorf("frame %d: key %v by its payloads", len(frames), key)
		}
		if key {
			keys++
		}
		frames = append(frames, frame)
	}
	return frames, keys
}

func compare(t *testing.T, s *sample, got, want [][]byte, keys int) {
	t.Helper()
	if !(s.format == payload.Opus{}) && keys != 3 {
		t.Errorf("%d key frames", keys)
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("frame %d has %d bytes, of %d:\n%.120x\n%.120x", i, len(got[i]), len(want[i]), got[i], want[i])
		}
	}
	if len(got) != len(want) || len(want) < 25 {
		t.Errorf("%d of %d frames", len(got), len(want))
	}
}

// Samples of real encoders go through ffmpeg and GStreamer in both directions, and are the same, byte by byte.
func TestReference(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			file, frames := s.make(t)
			t.Run("to and fro", func(t *testing.T) { s.roundTrip(t, frames) })
			if s.element == "" {
				return
			}
			t.Run("from ffmpeg", func(t *testing.T) { s.fromFFmpeg(t, file, frames) })
			t.Run("from GStreamer", func(t *testing.T) { s.fromGStreamer(t, file, frames) })
			t.Run("to GStreamer", func(t *testing.T) { s.toGStreamer(t, file, frames) })
		})
	}
}

// roundTrip cuts and joins the frames, for payloads of several sizes.
func (s *sample) roundTrip(t *testing.T, frames [][]byte) {
	for _, limit := range []payload.Limit{{Max: 1200}, {Max: 500, First: 60, Last: 20}, {Max: 100, First: 40}} {
		packetizer := s.format.NewPacketizer(1)
		var packets []rtp.Packet
		for i, data := range frames {
			if s.format == (payload.Opus{}) {
				limit = payload.Limit{Max: 1200}
			}
			err := packetizer.Begin(&payload.Frame{Data: data}, limit)
			for more := err == nil; more; {
				p := rtp.Packet{Timestamp: uint32(i)}
				p.Payload, more = packetizer.Append(nil)
				p.Marker = !more
				packets = append(packets, p)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, keys := join(t, s.format, packets)
		compare(t, s, got, frames, keys)
	}
}

// fromFFmpeg has it send the file as RTP, in its time: all at once may be more than a socket holds until it is read.
func (s *sample) fromFFmpeg(t *testing.T, file string, want [][]byte) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.SetReadBuffer(4 << 20)
	received := make(chan []rtp.Packet)
	go func() {
		var packets []rtp.Packet
		for {
			b := make([]byte, 2048)
			n, err := socket.Read(b)
			if err != nil || n == 0 { // the end, which the test sends when ffmpeg has
				received <- packets
				return
			}
			if p, err := rtp.Parse(b[:n]); err == nil && !rtp.IsRTCP(b[:n]) {
				packets = append(packets, p)
			}
		}
	}()
	args := []string{"-re", "-i", file, "-c", "copy"}
	if s.experimental {
		args = append(args, "-strict", "experimental")
	}
	ffmpeg.Run(t, append(args, "-f", "rtp", "rtp://"+socket.LocalAddr().String()+"?pkt_size=700")...)
	if _, err := socket.WriteTo(nil, socket.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	got, keys := join(t, s.format, <-received)
	if s.name == "h265" { // its parser leaves the first zero of a start code at the end of the frame before
		for i := range got {
			got[i] = bytes.TrimRight(got[i], "\x00")
		}
	}
	compare(t, s, got, want, keys)
}

// gst runs a pipeline of Debian's GStreamer, with the files of a folder: words are apart by spaces, which a path may have.
func gst(t *testing.T, folder, pipeline string) {
	t.Helper()
	need.Program(t, "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad", "gst-launch-1.0")
	cmd := exec.CommandContext(t.Context(), "gst-launch-1.0", append([]string{"-q"}, strings.Fields(pipeline)...)...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GST_REGISTRY_FORK=no")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// fromGStreamer has its payloader write packets, with the framing of RFC 4571.
func (s *sample) fromGStreamer(t *testing.T, file string, want [][]byte) {
	stream := file + ".rtp"
	gst(t, filepath.Dir(file), "filesrc location="+filepath.Base(file)+" ! "+s.parse+" ! rtp"+s.element+"pay mtu=700 pt=96 ! rtpstreampay ! filesink location="+filepath.Base(stream))
	packets := readStream(t, stream)
	got, keys := join(t, s.format, packets)
	for i, frame := range got { // its parser puts delimiters before access units
		got[i] = bytes.TrimPrefix(frame, []byte("\x00\x00\x00\x01\x09\xf0"))
	}
	compare(t, s, got, want, keys)
}

func readStream(t *testing.T, file string) (packets []rtp.Packet) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := 2 + int(binary.BigEndian.Uint16(b))
		p, err := rtp.Parse(b[2:n])
		if err != nil {
			t.Fatal(err)
		}
		packets, b = append(packets, p), b[n:]
	}
	return packets
}

// toGStreamer has its depayloader make frames of what we put into packets.
func (s *sample) toGStreamer(t *testing.T, file string, frames [][]byte) {
	packetizer := s.format.NewPacketizer(1)
	var stream []byte
	sequence := uint16(0)
	for i, data := range frames {
		err := packetizer.Begin(&payload.Frame{Data: data}, payload.Limit{Max: 700})
		for more := err == nil; more; {
			p := rtp.Packet{PayloadType: 96, SequenceNumber: sequence, Timestamp: uint32(3600 * i)}
			p.Payload, more = packetizer.Append(nil)
			p.Marker = !more && s.name != "opus"
			sequence++
			stream = p.Append(binary.BigEndian.AppendUint16(stream, uint16(p.Len())))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	in, out := file+".rtp", file+".out"
	if err := os.WriteFile(in, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	format := ""
	if s.name == "h264" || s.name == "h265" {
		format = " ! video/x-" + s.name + ",stream-format=byte-stream,alignment=au"
	}
	gst(t, filepath.Dir(file), "filesrc location="+filepath.Base(in)+" ! application/x-rtp-stream,payload=96,"+s.caps+" ! rtpstreamdepay ! rtp"+s.element+"depay"+format+" ! filesink location="+filepath.Base(out))
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Join(frames, nil); !bytes.Equal(got, want) {
		t.Errorf("%d bytes became %d", len(want), len(got))
	}
}

// Redundant audio of GStreamer's encoder (RFC 2198): each packet has its frame, and at a distance of 2 the one two before it.
func TestREDReference(t *testing.T) {
	s := &samples[len(samples)-1]
	file, frames := s.make(t)
	stream := file + ".rtp"
	gst(t, filepath.Dir(file), "filesrc location="+filepath.Base(file)+" ! "+s.parse+" ! rtpopuspay pt=96 ! rtpredenc pt=63 distance=2 ! rtpstreampay ! filesink location="+filepath.Base(stream))
	packets := readStream(t, stream)
	if len(packets) != len(frames) {
		t.Fatalf("%d packets of %d frames", len(packets), len(frames))
	}
	for i, p := range packets {
		blocks, err := payload.ParseRED(p.Payload)
		if err != nil || p.PayloadType != 63 {
			t.Fatalf("%v, payload type %d", err, p.PayloadType)
		}
		n := 0
		for b, ok := blocks.Next(); ok; b, ok = blocks.Next() {
			before := (int(b.Offset) + 480) / 960 // of the first frame it leaves the pre-skip out
			if b.PayloadType != 96 || before != 0 && before != min(i, 2) || !bytes.Equal(b.Data, frames[i-before]) {
				t.Errorf("packet %d: block %d of %d ticks before", i, n, b.Offset)
			}
			n++
		}
		if i >= 2 && n != 2 {
			t.Errorf("packet %d has %d blocks", i, n)
		}
	}
}
