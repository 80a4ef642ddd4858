package seqnum_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/parley-rtc/parley/internal/seqnum"
)

type tsn uint32

func TestBefore(t *testing.T) {
	for _, c := range []struct {
		a, b uint16
		want bool
	}{
		{1, 2, true}, {2, 1, false}, {7, 7, false},
		{65535, 0, true}, {0, 65535, false},
		{0, 32767, true}, {32768, 65535, true},
		{0, 32769, false}, {32769, 0, true},
		{0, 32768, true}, {32768, 0, false}, // half the circle: the greater is the later
	} {
		if got := seqnum.Before(c.a, c.b); got != c.want {
			t.Errorf("Before(%d, %d) = %v", c.a, c.b, got)
		}
		shift := uint32(c.a) << 16
		if got := seqnum.Before(tsn(shift), tsn(uint32(c.b)<<16)); got != c.want {
			t.Errorf("the same in 32 bits: Before(%d, %d) = %v", shift, uint32(c.b)<<16, got)
		}
	}
}

// "s1 is less than s2 ... if, and only if (i1 < i2 and i2 - i1 < 2^(SERIAL_BITS - 1)) or (i1 > i2 and i1 - i2 >
// 2^(SERIAL_BITS - 1))" - RFC 1982 section 3.2.
func TestBeforeIsRFC1982AndAntisymmetric(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		a, b := uint16(r.Uint32()), uint16(r.Uint32())
		if d := int(a) - int(b); d != 32768 && d != -32768 {
			want := a < b && int(b)-int(a) < 32768 || a > b && int(a)-int(b) > 32768
			if seqnum.Before(a, b) != want {
				t.Fatalf("Before(%d, %d) = %v", a, b, !want)
			}
		}
		if a != b && seqnum.Before(a, b) == seqnum.Before(b, a) {
			t.Fatalf("%d and %d are not ordered", a, b)
		}
		if seqnum.Diff(a, b) != -seqnum.Diff(b, a) {
			t.Fatalf("Diff(%d, %d) = %d, back %d", a, b, seqnum.Diff(a, b), seqnum.Diff(b, a))
		}
		if l := seqnum.Later(a, b); l != seqnum.Later(b, a) || seqnum.Before(l, a) || seqnum.Before(l, b) {
			t.Fatalf("Later(%d, %d) = %d", a, b, l)
		}
	}
}

func TestUnwrapperFollowsACounterThroughLossAndReorder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var u16 seqnum.Unwrapper[uint16]
	var u32 seqnum.Unwrapper[tsn]
	base := int64(1)<<32 - 1000 // the 32-bit counter wraps early
	first16, first32 := int64(uint16(base)), int64(uint32(base))
	at := base
	for range 100_000 {
		at += int64(r.IntN(1000))
		v := at - int64(r.IntN(2000)) // late ones too
		if at == base || v < base {
			v = base
		}
		if got, want := u16.Unwrap(uint16(v)), v-base+first16; got != want {
			t.Fatalf("16 bits: Unwrap(%d) = %d, want %d", uint16(v), got, want)
		}
		if got, want := u32.Unwrap(tsn(v)), v-base+first32; got != want {
			t.Fatalf("32 bits: Unwrap(%d) = %d, want %d", uint32(v), got, want)
		}
	}
}

func TestUnwrapperMayGoBelowZeroAndPeekForgets(t *testing.T) {
	var u seqnum.Unwrapper[uint16]
	if _, ok := u.Highest(); ok {
		t.Error("a highest before the first number")
	}
	if got := u.Peek(5); got != 5 {
		t.Errorf("Peek(5) = %d", got)
	}
	if got := u.Unwrap(0); got != 0 {
		t.Errorf("Unwrap(0) = %d", got)
	}
	if got := u.Unwrap(65535); got != -1 {
		t.Errorf("Unwrap(65535) after 0 = %d, want -1", got)
	}
	if got := u.Peek(30000); got != 30000 {
		t.Errorf("Peek(30000) = %d", got)
	}
	if got, ok := u.Highest(); got != 0 || !ok {
		t.Errorf("Highest = %d, %v", got, ok)
	}
}

func ExampleUnwrapper() {
	var u seqnum.Unwrapper[uint16]
	for _, n := range []uint16{65534, 65535, 1, 0, 2} { // 1 and 0 came in the wrong order
		fmt.Println(u.Unwrap(n))
	}
	// Output:
	// 65534
	// 65535
	// 65537
	// 65536
	// 65538
}
