package rtpdump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"
)

func Example() {
	var file bytes.Buffer
	w, _ := NewWriter(&file, Header{Start: time.Unix(1000, 0), Source: netip.MustParseAddrPort("192.0.2.1:5000")})
	w.Write(Packet{Offset: 20 * time.Millisecond, Data: []byte("RTP")})
	w.Write(Packet{Offset: 25 * time.Millisecond, RTCP: true, Data: []byte("RTCP")})

	r, _ := NewReader(&file)
	fmt.Println(r.Header.Source)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Println(p.Offset, p.RTCP, string(p.Data))
	}
	// Output:
	// 192.0.2.1:5000
	// 20ms false RTP
	// 25ms true RTCP
}

// The bytes of rtptools' rtpdump -F dump: a line of text, RD_hdr_t, and RD_packet_t before each packet (rtptools, rtpdump.h).
func TestBytes(t *testing.T) {
	want := []byte("#!rtpplay1.0 127.0.0.1/5004\n" +
		"\x00\x00\x03\xe8\x00\x00\x00\x07\x7f\x00\x00\x01\x13\x8c\x00\x00" +
		"\x00\x0b\x00\x64\x00\x00\x01\x00abc" + // of 100 bytes only the head
		"\x00\x09\x00\x00\x00\x00\x01\x01x")
	var got bytes.Buffer
	w, err := NewWriter(&got, Header{Start: time.Unix(1000, 7000), Source: netip.MustParseAddrPort("127.0.0.1:5004")})
	if err != nil {
		t.Fatal(err)
	}
	packets := []Packet{{256 * time.Millisecond, false, 100, []byte("abc")}, {257 * time.Millisecond, true, 0, []byte("x")}}
	for _, p := range packets {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%q", got.Bytes())
	}
	r, err := NewReader(bytes.NewReader(want))
	if err != nil || !r.Header.Start.Equal(time.Unix(1000, 7000)) || r.Header.Source.String() != "127.0.0.1:5004" {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, p := range packets {
		got, err := r.Next()
		if err != nil || got.Offset != p.Offset || got.RTCP != p.RTCP || got.Length != p.Length || !bytes.Equal(got.Data, p.Data) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	first := bytes.IndexByte(want, '\n') + 1 + fileHeader
	for n := range want {
		r, err := NewReader(bytes.NewReader(want[:n]))
		if n < first {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		for err == nil {
			_, err = r.Next()
		}
		if n == first || n == first+packetHeader+3 {
			if err != io.EOF {
				t.Errorf("%d bytes: %v", n, err)
			}
		} else if err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, p := range []Packet{{}, {Data: make([]byte, 1<<16)}, {Length: -1, Data: []byte("a")}, {Length: 1 << 16, Data: []byte("a")}} {
		if err := w.Write(p); err == nil {
			t.Errorf("%d bytes, length %d were written", len(p.Data), p.Length)
		}
	}
	if w, err := NewWriter(&got, Header{Source: netip.MustParseAddrPort("[2001:db8::1]:5004")}); w == nil || err != nil {
		t.Error(err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("#!rtpplay1.0 127.0.0.1/5004\n\x00\x00\x03\xe8\x00\x00\x00\x07\x7f\x00\x00\x01\x13\x8c\x00\x00\x00\x0b\x00\x64\x00\x00\x01\x00abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, r.Header)
		if err != nil {
			t.Fatal(err)
		}
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if n := again.Len() - fileHeader - packetHeader; n > len(b)+maxFirstLine {
			t.Fatalf("%d bytes of %d", n, len(b))
		}
	})
}
