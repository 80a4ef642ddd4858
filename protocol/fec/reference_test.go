package fec_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// What GStreamer protects by ULPFEC in RED is repaired, byte for byte: nearly all of 5 % loss by one repair packet for two of media.
func TestULPFECOfGStreamer(t *testing.T) {
	need.Program(t, "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good", "gst-launch-1.0")
	const redType, repairType = 116, 122
	folder := t.TempDir()
	pipeline := "videotestsrc num-buffers=100 ! video/x-raw,width=320,height=240 ! vp8enc deadline=1 target-bitrate=1000000 ! rtpvp8pay mtu=500 pt=96 ! " +
		"rtpulpfecenc percentage=50 pt=122 ! rtpredenc pt=116 ! rtpstreampay ! filesink location=stream.rtp"
	cmd := exec.CommandContext(t.Context(), "gst-launch-1.0", append([]string{"-q"}, strings.Fields(pipeline)...)...)
	cmd.Dir = folder // whose path may have spaces
	cmd.Env = append(os.Environ(), "GST_REGISTRY_FORK=no")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	stream, err := os.ReadFile(filepath.Join(folder, "stream.rtp"))
	if err != nil {
		t.Fatal(err)
	}
	var packets []rtp.Packet
	for len(stream) > 0 {
		n := 2 + int(binary.BigEndian.Uint16(stream))
		p, err := rtp.Parse(stream[2:n])
		if err != nil || p.PayloadType != redType {
			t.Fatalf("%+v, %v", p, err)
		}
		packets, stream = append(packets, p), stream[n:]
	}
	rng := seeded(7)
	d, whole := fec.NewDecoder(fec.Config{Format: fec.ULPFEC}), fec.NewDecoder(fec.Config{Format: fec.ULPFEC})
	lost, back, repairs := map[uint16][]byte{}, 0, 0
	for i := range packets {
		media, ok := whole.RED(&packets[i], repairType)
		if !ok {
			repairs++
		}
		if rng.IntN(20) == 0 {
			if ok {
				lost[media.SequenceNumber] = media.Append(nil)
			}
			continue
		}
		d.RED(&packets[i], repairType)
		for p, ok := d.Next(); ok; p, ok = d.Next() {
			n := binary.BigEndian.Uint16(p[2:])
			if !slices.Equal(p, lost[n]) {
				t.Fatalf("packet %d was repaired to\n%x, sent was\n%x", n, p, lost[n])
			}
			back++
		}
	}
	t.Logf("%d packets, %d of them repair; %d of media lost, %d repaired: %+v", len(packets), repairs, len(lost), back, d.Counts())
	if repairs < len(packets)/4 || len(lost) < 20 || back < len(lost)*8/10 {
		t.Errorf("%d packets, %d of them repair; %d of media lost, %d repaired", len(packets), repairs, len(lost), back)
	}
}
