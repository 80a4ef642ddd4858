package session_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Two sessions in one program: what one writes is handed to the other. Between peers it is SRTP, and package jsep says what the section
// is.
func Example() {
	opus := []jsep.Codec{{Name: "opus", Clock: 48000, Channels: "2", Payload: 111}}
	extensions := []sdp.ExtMap{{ID: 1, URI: rtp.URIMID}}
	media := []jsep.Media{{
		MID: "0", Kind: "audio", Sends: true, Receives: true, Send: opus, Receive: opus,
		SendExtensions: extensions, ReceiveExtensions: extensions, Encodings: make([]jsep.Encoding, 1),
	}}
	now := mono.Time(time.Second) // nanoseconds of a monotonic clock
	newSession := func() *session.Session {
		s, err := session.New(session.Config{Entropy: rand.Reader, Origin: rtp.NTPAt(time.Now())})
		if err != nil {
			panic(err)
		}
		s.Apply(now, media)
		s.Connect(now)
		return s
	}
	alice, bob := newSession(), newSession()
	var buf []byte
	for i := range 3 {
		err := alice.Sender("0").Send(now, 0, &session.Packet{PayloadType: 111, Timestamp: uint32(960 * i), Payload: fmt.Appendf(nil, "frame %d", i)})
		if err != nil {
			panic(err)
		}
		for {
			if buf, _ = alice.AppendPacket(buf[:0], now); len(buf) == 0 {
				break
			}
			if rtp.IsRTCP(buf) {
				bob.HandleRTCP(now, buf)
				continue
			}
			bob.HandleRTP(now, buf, 0)
			for r, ok := bob.NextPacket(); ok; r, ok = bob.NextPacket() {
				fmt.Printf("section %s: %q\n", r.Stream.MID(), r.Packet.Payload)
			}
		}
		now = now.Add(20 * time.Millisecond)
		alice.HandleTimeout(now)
	}
	// Output:
	// section 0: "frame 0"
	// section 0: "frame 1"
	// section 0: "frame 2"
}
