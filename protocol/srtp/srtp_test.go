package srtp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

var profiles = []Profile{AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES128_CM_HMAC_SHA1_80, AES128_CM_HMAC_SHA1_32}

func each(t *testing.T, f func(t *testing.T, p Profile)) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func configOf(p Profile) Config {
	master := make([]byte, p.KeyLen()+p.SaltLen())
	for i := range master {
		master[i] = byte(3 * i)
	}
	return Config{Profile: p, Master: master}
}

// pair returns a sender and its receiver.
func pair(t testing.TB, cfg Config) (out, in *Context) {
	t.Helper()
	out, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if in, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// packetOf is a packet with a header extension and a payload that tells it from others.
func packetOf(ssrc rtp.SSRC, seq uint16) []byte {
	p := rtp.Packet{PayloadType: 96, SequenceNumber: seq, Timestamp: 90 * uint32(seq), SSRC: ssrc, Payload: fmt.Appendf(nil, "the payload of %d", seq)}
	p.CSRC.Add(ssrc + 1)
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(1, []byte("audio"))
	p.Extensions.Add(2, []byte{1, 2})
	return p.Append(nil)
}

func protect(t testing.TB, out *Context, packet []byte) []byte {
	t.Helper()
	b, err := out.AppendRTP(nil, packet)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// expect decrypts a copy.
func expect(t testing.TB, in *Context, protected []byte, want error) []byte {
	t.Helper()
	got, err := in.DecryptRTP(slices.Clone(protected))
	if !errors.Is(err, want) {
		t.Fatalf("packet %d: %v, want %v", binary.BigEndian.Uint16(protected[2:]), err, want)
	}
	return got
}

func TestThereAndBack(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, in := pair(t, configOf(p))
		for seq := range uint16(50) {
			packet := packetOf(7, seq)
			protected := protect(t, out, packet)
			n, _ := rtp.HeaderLen(packet)
			if len(protected) != len(packet)+out.RTPOverhead() || !bytes.Equal(protected[:n], packet[:n]) || bytes.Contains(protected, packet[n:]) {
				t.Fatalf("% x\nprotects % x", protected, packet)
			}
			if got := expect(t, in, protected, nil); !bytes.Equal(got, packet) {
				t.Fatalf("% x\ncame back as % x", packet, got)
			}
			report := []byte{0x80, 200, 0, 6, 0, 0, 0, 7, byte(seq), 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
			b, err := out.AppendRTCP(nil, report)
			if err != nil || len(b) != len(report)+out.RTCPOverhead() || !bytes.Equal(b[:8], report[:8]) || bytes.Contains(b, report[8:]) {
				t.Fatalf("% x, %v\nprotects % x", b, err, report)
			}
			if got, err := in.DecryptRTCP(b); err != nil || !bytes.Equal(got, report) {
				t.Fatalf("% x\ncame back as % x, %v", report, got, err)
			}
		}
	})
}

// What is written over its own packet, behind something else, or into memory of its own is the same.
func TestInPlace(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		cfg := configOf(p)
		cfg.EncryptedExtensions = []uint8{2}
		apart, in := pair(t, cfg)
		place, behind := pair(t, cfg)
		packet := packetOf(7, 1)
		want := protect(t, apart, packet)
		buf := append(make([]byte, 0, 200), packet...)
		got, err := place.AppendRTP(buf[:0], buf)
		if err != nil || !bytes.Equal(got, want) || &got[0] != &buf[:1][0] {
			t.Errorf("in place: % x, %v", got, err)
		}
		got, err = behind.AppendRTP([]byte("before"), packet)
		if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("behind something: % x, %v", got, err)
		}
		if got := expect(t, in, want, nil); !bytes.Equal(got, packet) {
			t.Errorf("came back as % x", got)
		}
		report := append(make([]byte, 0, 100), 0x80, 201, 0, 1, 0, 0, 0, 7, 'a', 'b', 'c', 'd')
		want, _ = apart.AppendRTCP(nil, report)
		if got, err := place.AppendRTCP(report[:0], report); err != nil || !bytes.Equal(got, want) {
			t.Errorf("RTCP in place: % x, %v", got, err)
		}
	})
}

// Each SSRC has a window of its own, for RTP and for RTCP; retransmissions by an SSRC of their own included.
func TestReplay(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, in := pair(t, configOf(p))
		var sent [][]byte
		for seq := range uint16(3000) {
			for _, ssrc := range []rtp.SSRC{7, 8} { // the second as one of RTX would be
				sent = append(sent, protect(t, out, packetOf(ssrc, seq)))
			}
		}
		order := rand.New(rand.NewPCG(1, 2)).Perm(200)
		for _, i := range order {
			expect(t, in, sent[i], nil)
		}
		for _, i := range order {
			expect(t, in, sent[i], ErrReplayed)
		}
		expect(t, in, sent[4000], nil) // 2000 of SSRC 7
		expect(t, in, sent[2*(2000-windowSize)], ErrReplayed)
		expect(t, in, sent[2*(2001-windowSize)], nil)
		expect(t, in, sent[2*(2001-windowSize)], ErrReplayed)
		expect(t, in, sent[401], nil) // 200 of SSRC 8 is not old
		first, _ := out.AppendRTCP(nil, make8(7))
		second, _ := out.AppendRTCP(nil, make8(7))
		for i, c := range []struct {
			b    []byte
			want error
		}{{second, nil}, {first, nil}, {first, ErrReplayed}, {second, ErrReplayed}} {
			if _, err := in.DecryptRTCP(slices.Clone(c.b)); !errors.Is(err, c.want) {
				t.Errorf("RTCP %d: %v, want %v", i, err, c.want)
			}
		}
	})
}

// make8 is the smallest RTCP packet of an SSRC.
func make8(ssrc uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 201, 0, 1}, ssrc)
}

// RFC 3711 section 3.3.1: the index is estimated, across rollover, loss and reordering of up to half the circle.
func TestRollover(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, in := pair(t, configOf(p))
		// The sender goes round three times; the receiver gets what is left of it, late ones included.
		r := rand.New(rand.NewPCG(3, 4))
		late := [][]byte{}
		for index := 30_000; index < 3<<16; index++ {
			protected := protect(t, out, packetOf(7, uint16(index)))
			switch n := r.IntN(100); {
			case index > 100_000 && index < 132_000: // all are lost for a while
				late = nil
			case n < 60: // lost
			case n < 65:
				late = append(late, protected)
			default:
				expect(t, in, protected, nil)
			}
			if len(late) > 10 {
				expect(t, in, late[0], nil)
				late = late[1:]
			}
		}
		if in.recent.rtp.highest < 2<<16 {
			t.Errorf("the highest index is %d", in.recent.rtp.highest)
		}
	})
}

// A forged packet changes nothing: neither the window nor the rollover counter, and of a new SSRC nothing is kept.
func TestForgedPacketsChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, in := pair(t, configOf(p))
		first, second, jump := protect(t, out, packetOf(7, 65_000)), protect(t, out, packetOf(7, 65_001)), protect(t, out, packetOf(7, 200))
		expect(t, in, first, nil)
		for _, protected := range [][]byte{second, jump} {
			for i := range protected {
				forged := slices.Clone(protected)
				forged[i] ^= 0x40
				if got, err := in.DecryptRTP(forged); err == nil {
					t.Fatalf("byte %d changed, and it is believed: % x", i, got)
				}
			}
		}
		if len(in.streams) != 1 || in.recent.rtp.highest != 65_000 {
			t.Errorf("%d streams, the highest index is %d", len(in.streams), in.recent.rtp.highest)
		}
		expect(t, in, second, nil)
		expect(t, in, jump, nil)
		report, _ := out.AppendRTCP(nil, append(make8(7), 1, 2, 3, 4))
		for i := range report {
			forged := slices.Clone(report)
			forged[i] ^= 0x01
			if _, err := in.DecryptRTCP(forged); err == nil {
				t.Fatalf("byte %d of RTCP changed, and it is believed", i)
			}
		}
		if _, err := in.DecryptRTCP(report); err != nil {
			t.Error(err)
		}
		other, _ := pair(t, Config{Profile: p, Master: make([]byte, p.KeyLen()+p.SaltLen())})
		expect(t, in, protect(t, other, packetOf(7, 300)), ErrForged)
	})
}

func TestStreamsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		cfg := configOf(p)
		out, _ := pair(t, cfg)
		cfg.MaxStreams = 10
		few, in := pair(t, cfg)
		for ssrc := range rtp.SSRC(12) {
			var want error
			if ssrc >= 10 {
				want = ErrStreams
			}
			expect(t, in, protect(t, out, packetOf(ssrc, 1)), want)
			if _, err := few.AppendRTP(nil, packetOf(ssrc, 1)); err != want {
				t.Errorf("sending by SSRC %d: %v", ssrc, err)
			}
			report, _ := out.AppendRTCP(nil, make8(uint32(ssrc)))
			if _, err := in.DecryptRTCP(report); err != want {
				t.Errorf("RTCP by SSRC %d: %v", ssrc, err)
			}
			if _, err := few.AppendRTCP(nil, make8(uint32(ssrc))); err != want {
				t.Errorf("sending RTCP by SSRC %d: %v", ssrc, err)
			}
		}
	})
}

// RFC 7714 section 8.4: "it is vital that the counter value is never repeated with the same key".
func TestNothingIsSentTwice(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, _ := pair(t, configOf(p))
		protect(t, out, packetOf(7, 65_535))
		protect(t, out, packetOf(7, 0))
		protect(t, out, packetOf(7, 65_534)) // one that comes late to be sent
		for _, seq := range []uint16{65_534, 65_535, 0} {
			if b, err := out.AppendRTP([]byte("x"), packetOf(7, seq)); err != ErrReused || string(b) != "x" {
				t.Errorf("%d again: % x, %v", seq, b, err)
			}
		}
		early, _ := pair(t, configOf(p))
		protect(t, early, packetOf(7, 0))
		if _, err := early.AppendRTP(nil, packetOf(7, 65_535)); err != ErrReused {
			t.Errorf("before the first: %v", err)
		}
		out.recent.rtp.highest, out.recent.sent = maxIndex, maxRTCPIndex+1
		if _, err := out.AppendRTP(nil, packetOf(7, 0)); err != ErrExpired {
			t.Errorf("after 2^48 packets: %v", err)
		}
		if _, err := out.AppendRTCP(nil, make8(7)); err != ErrExpired {
			t.Errorf("after 2^31 of RTCP: %v", err)
		}
	})
}

func TestWhatIsMalformed(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		out, in := pair(t, configOf(p))
		protected := protect(t, out, packetOf(7, 1))
		n, _ := rtp.HeaderLen(protected)
		for _, b := range [][]byte{nil, protected[:11], protected[:n], protected[:n+in.RTPOverhead()-1], append([]byte{0x40}, protected[1:]...)} {
			if _, err := in.DecryptRTP(slices.Clone(b)); err != ErrMalformed {
				t.Errorf("%d bytes: %v", len(b), err)
			}
		}
		if _, err := out.AppendRTP(nil, make([]byte, 11)); err != ErrMalformed {
			t.Errorf("sending eleven bytes: %v", err)
		}
		report, _ := out.AppendRTCP(nil, make8(7))
		for _, b := range [][]byte{nil, report[:7], report[:len(report)-1], append([]byte{0x40}, report[1:]...)} {
			if _, err := in.DecryptRTCP(slices.Clone(b)); err != ErrMalformed {
				t.Errorf("RTCP of %d bytes: %v", len(b), err)
			}
		}
		for _, b := range [][]byte{make([]byte, 8), {0x80, 200, 0, 0, 0, 0, 0}} {
			if _, err := out.AppendRTCP(nil, b); err != ErrMalformed {
				t.Errorf("sending RTCP % x: %v", b, err)
			}
		}
	})
}

// RFC 3711 section 3.4: the flag E is zero where a sender has only authenticated.
func TestRTCPThatIsNotEncrypted(t *testing.T) {
	out, in := pair(t, configOf(AES128_CM_HMAC_SHA1_80))
	b := append(make8(7), 0, 0, 0, 5)
	b = append(b, out.rtcp.authenticateRTCP(b)...)
	if got, err := in.DecryptRTCP(b); err != nil || !bytes.Equal(got, make8(7)) {
		t.Errorf("% x, %v", got, err)
	}
}

func TestValidate(t *testing.T) {
	for name, cfg := range map[string]Config{
		"profile":    {Profile: 3, Master: make([]byte, 30)},
		"key":        {Profile: AEAD_AES_128_GCM, Master: make([]byte, 30)},
		"maxStreams": {Profile: AEAD_AES_128_GCM, Master: make([]byte, 28), MaxStreams: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if Profile(3).String() != "SRTP profile 0x0003" || Profile(3).KeyLen() != 0 {
		t.Error(Profile(3))
	}
}

// The allocation of a counter mode, which the standard library cannot set back, is the only one.
func TestAllocations(t *testing.T) {
	each(t, func(t *testing.T, p Profile) {
		want := 0.0
		if p == AES128_CM_HMAC_SHA1_80 || p == AES128_CM_HMAC_SHA1_32 {
			want = 1
		}
		cfg := configOf(p)
		cfg.EncryptedExtensions = []uint8{1}
		out, in := pair(t, cfg)
		packet, buf := packetOf(7, 0), make([]byte, 0, 200)
		seq := uint16(0)
		report := append(make8(7), 1, 2, 3, 4)
		do := map[string]func(){
			"RTP": func() {
				seq++
				binary.BigEndian.PutUint16(packet[2:], seq)
				buf, _ = out.AppendRTP(buf[:0], packet)
			},
			"RTCP": func() { buf, _ = out.AppendRTCP(buf[:0], report) },
		}
		open := map[string]func([]byte) ([]byte, error){"RTP": in.DecryptRTP, "RTCP": in.DecryptRTCP}
		for name, protect := range do {
			protect()
			if n := testing.AllocsPerRun(100, protect); n != want {
				t.Errorf("protecting %s: %v allocations, want %v", name, n, want)
			}
			if n := testing.AllocsPerRun(100, func() {
				protect()
				if _, err := open[name](buf); err != nil {
					t.Fatal(err)
				}
			}); n != 2*want {
				t.Errorf("both ways of %s: %v allocations, want %v", name, n, 2*want)
			}
		}
	})
}

// Whatever comes, nothing panics, and nothing but what was protected is believed.
func FuzzDecrypt(f *testing.F) {
	for i, p := range profiles {
		out, _ := pair(f, configOf(p))
		f.Add(byte(i), protect(f, out, packetOf(7, 1)))
		report, _ := out.AppendRTCP(nil, append(make8(7), 1, 2, 3, 4))
		f.Add(byte(i), report)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		cfg := configOf(profiles[int(which)%len(profiles)])
		cfg.EncryptedExtensions = []uint8{1, 2, 255}
		out, in := pair(t, cfg)
		if got, err := out.AppendRTP(nil, b); err == nil {
			plain, err := in.DecryptRTP(got)
			if err != nil || !bytes.Equal(plain, b) {
				t.Fatalf("% x came back as % x, %v", b, plain, err)
			}
		}
		if got, err := out.AppendRTCP(nil, b); err == nil {
			plain, err := in.DecryptRTCP(got)
			if err != nil || !bytes.Equal(plain, b) {
				t.Fatalf("RTCP % x came back as % x, %v", b, plain, err)
			}
		}
		_, _ = in.DecryptRTP(slices.Clone(b))
		_, _ = in.DecryptRTCP(slices.Clone(b))
	})
}

func Example() {
	keys := make([]byte, AEAD_AES_128_GCM.KeyLen()+AEAD_AES_128_GCM.SaltLen()) // of dtls.Conn.SRTPKeys
	out, err := New(Config{Profile: AEAD_AES_128_GCM, Master: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	in, _ := New(Config{Profile: AEAD_AES_128_GCM, Master: keys})
	p := rtp.Packet{SequenceNumber: 1, SSRC: 1234, Payload: []byte("hello")}
	datagram, err := out.AppendRTP(nil, p.Append(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	packet, err := in.DecryptRTP(datagram)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, _ = rtp.Parse(packet)
	fmt.Printf("%s\n", p.Payload)
	// Output: hello
}

// BenchmarkRTP is one packet of 1200 bytes, beside what the cryptography alone costs.
func BenchmarkRTP(b *testing.B) {
	p := rtp.Packet{PayloadType: 96, SSRC: 7, Payload: make([]byte, 1200-12)}
	packet := p.Append(nil)
	for _, profile := range profiles {
		b.Run(fmt.Sprintf("%v/protect", profile), func(b *testing.B) {
			out, _ := pair(b, configOf(profile))
			buf, seq := make([]byte, 0, 1300), uint16(0)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				seq++
				binary.BigEndian.PutUint16(packet[2:], seq)
				buf, _ = out.AppendRTP(buf[:0], packet)
			}
		})
		b.Run(fmt.Sprintf("%v/decrypt", profile), func(b *testing.B) {
			const batch = 1024
			out, in := pair(b, configOf(profile))
			protected, left, seq := make([][]byte, batch), 0, uint16(0)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					for i := range protected {
						seq++
						binary.BigEndian.PutUint16(packet[2:], seq)
						protected[i], _ = out.AppendRTP(protected[i][:0], packet)
					}
					left = batch
					b.StartTimer()
				}
				if _, err := in.DecryptRTP(protected[batch-left]); err != nil {
					b.Fatal(err)
				}
				left--
			}
		})
	}
	b.Run("AES-128-GCM alone", func(b *testing.B) {
		block, _ := aes.NewCipher(make([]byte, 16))
		aead, _ := cipher.NewGCM(block)
		nonce, buf := make([]byte, 12), make([]byte, 0, 1300)
		b.ReportAllocs()
		b.SetBytes(1200)
		for b.Loop() {
			buf = aead.Seal(buf[:0], nonce, packet[12:], packet[:12])
		}
	})
	b.Run("AES-CM and HMAC-SHA1 alone", func(b *testing.B) {
		block, _ := aes.NewCipher(make([]byte, 16))
		mac, sum := hmac.New(sha1.New, make([]byte, 20)), make([]byte, 20)
		iv, buf := make([]byte, 16), make([]byte, 1200)
		b.ReportAllocs()
		b.SetBytes(1200)
		for b.Loop() {
			copy(buf, packet)
			cipher.NewCTR(block, iv).XORKeyStream(buf[12:], buf[12:])
			mac.Reset()
			mac.Write(buf)
			mac.Write(iv[:4])
			mac.Sum(sum[:0])
		}
	})
}
