// Package media_test measures Parley's RTP, RTCP and SRTP beside Pion's: one packet, in memory. Whatever is measured is also
// checked: each side reads what the other wrote.
package media_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	pionrtp "github.com/pion/rtp"
	pionsrtp "github.com/pion/srtp/v3"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/srtp"
)

// A protector is one direction of SRTP: both functions write behind dst.
type protector interface {
	protect(dst, packet []byte) ([]byte, error)
	decrypt(packet []byte) ([]byte, error)
	protectRTCP(dst, packet []byte) ([]byte, error)
	decryptRTCP(packet []byte) ([]byte, error)
}

type parleySRTP struct{ *srtp.Context }

func (c parleySRTP) protect(dst, packet []byte) ([]byte, error)     { return c.AppendRTP(dst, packet) }
func (c parleySRTP) decrypt(packet []byte) ([]byte, error)          { return c.DecryptRTP(packet) }
func (c parleySRTP) protectRTCP(dst, packet []byte) ([]byte, error) { return c.AppendRTCP(dst, packet) }
func (c parleySRTP) decryptRTCP(packet []byte) ([]byte, error)      { return c.DecryptRTCP(packet) }

// pionSRTP is used as Pion's own sessions use it: with a header that they have parsed.
type pionSRTP struct {
	*pionsrtp.Context
	header *pionrtp.Header
}

func (c pionSRTP) protect(dst, packet []byte) ([]byte, error) {
	if _, err := c.header.Unmarshal(packet); err != nil {
		return nil, err
	}
	return c.EncryptRTP(dst, packet, c.header)
}

func (c pionSRTP) decrypt(packet []byte) ([]byte, error) {
	if _, err := c.header.Unmarshal(packet); err != nil {
		return nil, err
	}
	return c.DecryptRTP(packet, packet, c.header)
}

func (c pionSRTP) protectRTCP(dst, packet []byte) ([]byte, error) {
	return c.EncryptRTCP(dst, packet, nil)
}
func (c pionSRTP) decryptRTCP(packet []byte) ([]byte, error) { return c.DecryptRTCP(nil, packet, nil) }

var profiles = []struct {
	ours  srtp.Profile
	pions pionsrtp.ProtectionProfile
}{
	{srtp.AEAD_AES_128_GCM, pionsrtp.ProtectionProfileAeadAes128Gcm},
	{srtp.AEAD_AES_256_GCM, pionsrtp.ProtectionProfileAeadAes256Gcm},
	{srtp.AES128_CM_HMAC_SHA1_80, pionsrtp.ProtectionProfileAes128CmHmacSha1_80},
	{srtp.AES128_CM_HMAC_SHA1_32, pionsrtp.ProtectionProfileAes128CmHmacSha1_32},
}

// contenders are new contexts of one key, by who made them.
func contenders(tb testing.TB, i int) map[string]protector {
	tb.Helper()
	p := profiles[i]
	master := make([]byte, p.ours.KeyLen()+p.ours.SaltLen())
	for i := range master {
		master[i] = byte(i)
	}
	ours, err := srtp.New(srtp.Config{Profile: p.ours, Master: master})
	if err != nil {
		tb.Fatal(err)
	}
	n := p.ours.KeyLen()
	pions, err := pionsrtp.CreateContext(master[:n], master[n:], p.pions, pionsrtp.SRTPReplayProtection(1024))
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]protector{"Parley": parleySRTP{ours}, "Pion": pionSRTP{pions, new(pionrtp.Header)}}
}

// packetOf is a packet of 1200 bytes with an extension.
func packetOf(seq uint16) []byte {
	p := rtp.Packet{PayloadType: 96, SequenceNumber: seq, SSRC: 7}
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(1, []byte("0"))
	p.Extensions.Add(3, []byte{0, 1})
	p.Payload = make([]byte, 1200-p.Len())
	return p.Append(nil)
}

func TestSRTPBothWays(t *testing.T) {
	for i, p := range profiles {
		for from := range contenders(t, i) {
			for to := range contenders(t, i) {
				out, in := contenders(t, i)[from], contenders(t, i)[to]
				for _, seq := range []uint16{65534, 65535, 0, 1, 300} { // across a rollover
					packet := packetOf(seq)
					protected, err := out.protect(nil, packet)
					if err != nil {
						t.Fatalf("%v, %s: %v", p.ours, from, err)
					}
					if got, err := in.decrypt(protected); err != nil || !bytes.Equal(got, packet) {
						t.Errorf("%v, from %s to %s, packet %d: %v", p.ours, from, to, seq, err)
					}
					report := []byte{0x80, 201, 0, 2, 0, 0, 0, 7, byte(seq), 1, 2, 3}
					protected, err = out.protectRTCP(nil, report)
					if err != nil {
						t.Fatalf("%v, %s: %v", p.ours, from, err)
					}
					if got, err := in.decryptRTCP(protected); err != nil || !bytes.Equal(got, report) {
						t.Errorf("%v, from %s to %s, RTCP: %v", p.ours, from, to, err)
					}
				}
			}
		}
	}
}

func BenchmarkSRTP(b *testing.B) {
	for i, p := range profiles[:3] {
		for _, name := range []string{"Parley", "Pion"} {
			b.Run(p.ours.String()+"/protect/"+name, func(b *testing.B) {
				out := contenders(b, i)[name]
				packet, buf, seq := packetOf(0), make([]byte, 0, 1300), uint16(0)
				b.ReportAllocs()
				b.SetBytes(1200)
				for b.Loop() {
					seq++
					binary.BigEndian.PutUint16(packet[2:], seq)
					if _, err := out.protect(buf[:0], packet); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(p.ours.String()+"/decrypt/"+name, func(b *testing.B) {
				out, in := contenders(b, i)["Parley"], contenders(b, i)[name]
				const batch = 1024
				packet, protected, left, seq := packetOf(0), make([][]byte, batch), 0, uint16(0)
				b.ReportAllocs()
				b.SetBytes(1200)
				for b.Loop() {
					if left == 0 {
						b.StopTimer()
						for i := range protected {
							seq++
							binary.BigEndian.PutUint16(packet[2:], seq)
							protected[i], _ = out.protect(protected[i][:0], packet)
						}
						left = batch
						b.StartTimer()
					}
					if _, err := in.decrypt(protected[batch-left]); err != nil {
						b.Fatal(err)
					}
					left--
				}
			})
		}
	}
}
