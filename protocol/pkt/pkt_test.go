package pkt_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/parley-rtc/parley/protocol/pkt"
)

var path = pkt.Path{
	Socket: 3,
	Local:  netip.MustParseAddrPort("192.0.2.1:3478"),
	Remote: netip.MustParseAddrPort("[2001:db8::1]:9"),
}

func TestBatchIsFullByBytesAndByTransmits(t *testing.T) {
	b := pkt.NewBatch(10, 2)
	if b.Reserve(11) != nil {
		t.Error("Reserve(11) of 10 bytes succeeded")
	}
	if b.Reserve(-1) != nil {
		t.Error("Reserve(-1) succeeded")
	}
	if !b.Append(pkt.Transmit{Path: path, Payload: []byte("123456")}) {
		t.Fatal("no room for the first")
	}
	if b.Append(pkt.Transmit{Path: path, Payload: []byte("12345")}) {
		t.Error("11 bytes went into 10")
	}
	if !b.Append(pkt.Transmit{Path: path, Payload: []byte("7890")}) {
		t.Fatal("no room for what fits exactly")
	}
	if b.Reserve(0) != nil {
		t.Error("a third transmit went into a batch of two")
	}
	if bytes, transmits := b.Room(); bytes != 0 || transmits != 0 {
		t.Errorf("a full batch has room for %d bytes, %d transmits", bytes, transmits)
	}
	if b.Len() != 2 || string(b.Transmits()[0].Payload) != "123456" || string(b.Transmits()[1].Payload) != "7890" {
		t.Errorf("transmits are %v", b.Transmits())
	}
	b.Reset()
	if b.Len() != 0 || cap(b.Reserve(10)) != 10 {
		t.Error("Reset did not empty the batch")
	}
}

func TestReserveClaimsNothingUntilCommit(t *testing.T) {
	b := pkt.NewBatch(8, 8)
	_ = append(b.Reserve(8), "rejected"...)
	b.Commit(pkt.Transmit{Path: path, ECN: pkt.CE, DSCP: pkt.EF, Payload: append(b.Reserve(8), "kept"...)})
	got := b.Transmits()
	if len(got) != 1 || string(got[0].Payload) != "kept" || got[0].Path != path || got[0].ECN != pkt.CE || got[0].DSCP != pkt.EF {
		t.Errorf("committed %+v", got)
	}
	if got := cap(b.Reserve(4)); got != 4 {
		t.Errorf("4 bytes should be left, Reserve gave %d", got)
	}
}

// A driver that appends to one payload must not write into the next.
func TestPayloadsDoNotOverlap(t *testing.T) {
	b := pkt.NewBatch(8, 2)
	b.Append(pkt.Transmit{Payload: []byte("ab")})
	b.Append(pkt.Transmit{Payload: []byte("cd")})
	_ = append(b.Transmits()[0].Payload, "xx"...)
	if got := b.Transmits()[1].Payload; !bytes.Equal(got, []byte("cd")) {
		t.Errorf("the second payload became %q", got)
	}
}

func TestCommitRefusesForeignMemory(t *testing.T) {
	for name, write := range map[string]func(b *pkt.Batch) []byte{
		"outgrown": func(b *pkt.Batch) []byte { return append(b.Reserve(2), "abc"...) },
		"foreign":  func(b *pkt.Batch) []byte { b.Reserve(2); return []byte("ab") },
		"twice": func(b *pkt.Batch) []byte {
			p := append(b.Reserve(2), "ab"...)
			b.Commit(pkt.Transmit{Payload: p})
			return p
		},
		"full": func(b *pkt.Batch) []byte {
			b.Append(pkt.Transmit{})
			b.Append(pkt.Transmit{})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("Commit took it")
				}
			}()
			b := pkt.NewBatch(8, 2)
			b.Commit(pkt.Transmit{Payload: write(b)})
		})
	}
}

func TestLendCopiesNothing(t *testing.T) {
	b := pkt.NewBatch(1, 1)
	mine := []byte("longer than the arena")
	if !b.Lend(pkt.Transmit{Path: path, Payload: mine}) {
		t.Fatal("an empty batch has no room")
	}
	if got := b.Transmits()[0].Payload; &got[0] != &mine[0] || len(got) != len(mine) {
		t.Error("the payload was copied")
	}
	if b.Lend(pkt.Transmit{}) {
		t.Error("a second transmit went into a batch of one")
	}
}

func TestSegments(t *testing.T) {
	for _, c := range []struct{ payload, size, want int }{
		{0, 0, 1}, {1000, 0, 1}, {0, 100, 1}, {100, 100, 1}, {101, 100, 2}, {300, 100, 3}, {301, 100, 4},
	} {
		tr := pkt.Transmit{Payload: make([]byte, c.payload), SegmentSize: uint16(c.size)}
		if got := tr.Segments(); got != c.want {
			t.Errorf("%d bytes in segments of %d: %d datagrams, want %d", c.payload, c.size, got, c.want)
		}
	}
}

func TestBatchDoesNotAllocate(t *testing.T) {
	b := pkt.NewBatch(1<<16, 64)
	payload := make([]byte, 1200)
	if n := testing.AllocsPerRun(100, func() {
		for b.Append(pkt.Transmit{Path: path, Payload: payload}) {
		}
		for _, tr := range b.Transmits() {
			if tr.Segments() != 1 {
				t.Error("one payload is not one datagram")
			}
		}
		b.Reset()
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
