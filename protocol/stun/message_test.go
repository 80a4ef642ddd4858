package stun_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/stun"
)

var testID = stun.TransactionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// message builds a Binding request with whatever build adds.
func message(t testing.TB, build func(b *stun.Builder)) []byte {
	t.Helper()
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, testID)
	build(&b)
	raw, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// "a Binding request ... is encoded into the first 16 bits as 0x0001.  A Binding response ... as 0x0101." (section 5)
func TestMessageTypeInterleavesClassAndMethod(t *testing.T) {
	for _, c := range []struct {
		class  stun.Class
		method stun.Method
		want   uint16
	}{
		{stun.Request, stun.Binding, 0x0001},
		{stun.Indication, stun.Binding, 0x0011},
		{stun.Success, stun.Binding, 0x0101},
		{stun.Error, stun.Binding, 0x0111},
		{stun.Indication, stun.Send, 0x0016},
		{stun.Error, stun.ChannelBind, 0x0119},
		{stun.Error, 0xFFF, 0x3FFF},
	} {
		b := stun.NewBuilder(nil, c.class, c.method, testID)
		raw, _ := b.Message()
		if got := binary.BigEndian.Uint16(raw); got != c.want {
			t.Errorf("%v %v is written %04x, want %04x", c.method, c.class, got, c.want)
		}
		m := mustParse(t, raw)
		if m.Class() != c.class || m.Method() != c.method || m.ID() != testID {
			t.Errorf("%04x reads back as %v %v %x", c.want, m.Method(), m.Class(), m.ID())
		}
	}
}

func TestParseRefusesWhatIsNotOneMessage(t *testing.T) {
	good := message(t, func(b *stun.Builder) {
		b.Text(stun.AttrSoftware, "x")
		b.Integrity(stun.NewHasher(), []byte("key"))
		b.Fingerprint()
	})
	if _, err := stun.Parse(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := stun.Parse(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(good))
		}
	}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		// "The most significant 2 bits of every STUN message MUST be zeroes." (section 5)
		"first bits": {change(func(b []byte) []byte { b[0] |= 0x80; return b }), stun.ErrNotSTUN},
		// "The Magic Cookie field MUST contain the fixed value 0x2112A442" (section 5)
		"cookie": {change(func(b []byte) []byte { b[4]++; return b }), stun.ErrNotSTUN},
		// "the last 2 bits of this field are always zero" (section 5)
		"odd length":            {change(func(b []byte) []byte { b[3]++; return append(b, 0) }), stun.ErrLength},
		"trailing bytes":        {change(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }), stun.ErrLength},
		"attribute too long":    {change(func(b []byte) []byte { b[22] = 0xFF; return b }), stun.ErrAttribute},
		"wrong fingerprint":     {change(func(b []byte) []byte { b[len(b)-1]++; return b }), stun.ErrFingerprint},
		"short integrity":       {message(t, func(b *stun.Builder) { b.Bytes(stun.AttrMessageIntegrity, make([]byte, 16)) }), stun.ErrAttribute},
		"integrity of 12 bytes": {message(t, func(b *stun.Builder) { b.Bytes(stun.AttrMessageIntegritySHA256, make([]byte, 12)) }), stun.ErrAttribute},
		"integrity of 18 bytes": {message(t, func(b *stun.Builder) { b.Bytes(stun.AttrMessageIntegritySHA256, make([]byte, 18)) }), stun.ErrAttribute},
		"integrity of 36 bytes": {message(t, func(b *stun.Builder) { b.Bytes(stun.AttrMessageIntegritySHA256, make([]byte, 36)) }), stun.ErrAttribute},
		// "When present, the FINGERPRINT attribute MUST be the last attribute in the message" (section 14.7)
		"fingerprint in the middle": {message(t, func(b *stun.Builder) { b.Fingerprint(); b.Flag(stun.AttrUseCandidate) }), stun.ErrAttribute},
	} {
		if _, err := stun.Parse(c.raw); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// "agents MUST ignore all attributes that follow MESSAGE-INTEGRITY, with the exception of the MESSAGE-INTEGRITY-SHA256
// and FINGERPRINT attributes" (section 9)
func TestAttributesBehindTheIntegrityAreIgnored(t *testing.T) {
	h := stun.NewHasher()
	for name, integrity := range map[string]func(b *stun.Builder){
		"MESSAGE-INTEGRITY":        func(b *stun.Builder) { b.Integrity(h, []byte("key")) },
		"MESSAGE-INTEGRITY-SHA256": func(b *stun.Builder) { b.IntegritySHA256(h, []byte("key")) },
		"both":                     func(b *stun.Builder) { b.Integrity(h, []byte("key")); b.IntegritySHA256(h, []byte("key")) },
	} {
		m := mustParse(t, message(t, func(b *stun.Builder) {
			b.Text(stun.AttrUsername, "before")
			integrity(b)
			b.Text(stun.AttrSoftware, "behind")
			b.Uint32(0x7777, 1) // comprehension-required, and nobody knows it
			b.Fingerprint()
		}))
		if m.Has(stun.AttrSoftware) {
			t.Errorf("%s: an attribute behind it is found", name)
		}
		if u := m.AppendUnknown(make([]stun.AttrType, 0, 4), stun.Known); len(u) != 0 {
			t.Errorf("%s: attributes behind it count as unknown: %x", name, u)
		}
		for a := range m.Attributes() {
			if a != stun.AttrUsername {
				t.Errorf("%s: %04x is listed", name, a)
			}
		}
		if !m.HasFingerprint() || !h.Verify(&m, []byte("key")) {
			t.Errorf("%s: fingerprint %v, integrity %v", name, m.HasFingerprint(), h.Verify(&m, []byte("key")))
		}
	}
}

// "If the MESSAGE-INTEGRITY-SHA256 attribute is present, compute the value for the message integrity as described in
// Section 14.6" (section 9.1.3)
func TestTheStrongerIntegrityDecides(t *testing.T) {
	h := stun.NewHasher()
	right, wrong := []byte("right"), []byte("wrong")
	m := mustParse(t, message(t, func(b *stun.Builder) { b.Integrity(h, right); b.IntegritySHA256(h, wrong) }))
	if h.Verify(&m, right) {
		t.Error("a message passes by its SHA-1 although its SHA-256 is wrong")
	}
	m = mustParse(t, message(t, func(b *stun.Builder) { b.Integrity(h, wrong); b.IntegritySHA256(h, right) }))
	if !h.Verify(&m, right) {
		t.Error("a message fails although its SHA-256 is right")
	}
	m = mustParse(t, message(t, func(b *stun.Builder) {}))
	if h.Verify(&m, right) {
		t.Error("a message without integrity passes")
	}
}

// "The value must be the full 32 bytes unless the STUN Usage explicitly specifies that truncation is allowed."
// (section 14.6)
func TestTruncatedIntegrityNeedsPermission(t *testing.T) {
	h, key := stun.NewHasher(), []byte("key")
	for n := 16; n <= 32; n += 4 {
		m := mustParse(t, message(t, func(b *stun.Builder) { b.IntegritySHA256Truncated(h, key, n) }))
		if got := h.Verify(&m, key); got != (n == 32) {
			t.Errorf("%d bytes: Verify says %v", n, got)
		}
		if got := h.VerifyTruncated(&m, key, 20); got != (n >= 20) {
			t.Errorf("%d bytes where 20 are enough: %v", n, got)
		}
		if h.VerifyTruncated(&m, []byte("other"), 16) {
			t.Errorf("%d bytes: a wrong key passes", n)
		}
	}
}

// Every bit that the integrity covers counts, and so does every bit of the integrity.
func TestIntegrityCoversTheMessage(t *testing.T) {
	h, key := stun.NewHasher(), bytes.Repeat([]byte("long"), 30) // longer than a block, so it is hashed first
	for name, sign := range map[string]func(b *stun.Builder){
		"SHA-1":   func(b *stun.Builder) { b.Integrity(h, key) },
		"SHA-256": func(b *stun.Builder) { b.IntegritySHA256(h, key) },
	} {
		raw := message(t, func(b *stun.Builder) { b.Text(stun.AttrUsername, "somebody"); sign(b) })
		for i := range raw {
			for bit := range 8 {
				changed := bytes.Clone(raw)
				changed[i] ^= 1 << bit
				if m, err := stun.Parse(changed); err == nil && h.Verify(&m, key) {
					t.Errorf("%s: bit %d of byte %d may be changed", name, bit, i)
				}
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, s := range []string{"192.0.2.1:0", "255.255.255.255:65535", "[::]:1", "[2001:db8::1]:3478"} {
		a := netip.MustParseAddrPort(s)
		m := mustParse(t, message(t, func(b *stun.Builder) {
			b.Address(stun.AttrMappedAddress, a)
			b.XORAddress(stun.AttrXORMappedAddress, a)
		}))
		if got, err := m.Address(stun.AttrMappedAddress); err != nil || got != a {
			t.Errorf("plain %v: %v, %v", a, got, err)
		}
		if got, err := m.XORAddress(stun.AttrXORMappedAddress); err != nil || got != a {
			t.Errorf("XORed %v: %v, %v", a, got, err)
		}
	}
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")
	m := mustParse(t, message(t, func(b *stun.Builder) { b.Address(stun.AttrMappedAddress, mapped) }))
	if got, _ := m.Address(stun.AttrMappedAddress); got != netip.MustParseAddrPort("192.0.2.1:7") {
		t.Errorf("a mapped address is written as %v", got)
	}
	for _, bad := range [][]byte{nil, {0, 1, 0}, {0, 1, 0, 1, 2, 3, 4}, {0, 2, 0, 1, 2, 3, 4, 5}, {0, 3, 0, 1, 2, 3, 4, 5}, make([]byte, 20)} {
		m := mustParse(t, message(t, func(b *stun.Builder) { b.Bytes(stun.AttrMappedAddress, bad) }))
		if a, err := m.Address(stun.AttrMappedAddress); err != stun.ErrAddress {
			t.Errorf("%x is read as %v, %v", bad, a, err)
		}
	}
}

// "The Class represents the hundreds digit of the error code. The value MUST be between 3 and 6. The Number represents
// the binary encoding of the error code modulo 100, and its value MUST be between 0 and 99." (section 14.8)
func TestErrorCode(t *testing.T) {
	m := mustParse(t, message(t, func(b *stun.Builder) { b.Error(stun.CodeStaleNonce, stun.CodeStaleNonce.Reason()) }))
	if code, reason, ok := m.ErrorCode(); !ok || code != 438 || string(reason) != "Stale Nonce" {
		t.Errorf("%v %q %v", code, reason, ok)
	}
	m = mustParse(t, message(t, func(b *stun.Builder) { b.Bytes(stun.AttrErrorCode, []byte{0xFF, 0xFF, 0xFC, 1}) }))
	if code, _, ok := m.ErrorCode(); !ok || code != 401 { // "Receivers MUST ignore these bits"
		t.Errorf("reserved bits are not ignored: %v %v", code, ok)
	}
	for _, bad := range [][]byte{nil, {0, 0, 4}, {0, 0, 2, 0}, {0, 0, 7, 0}, {0, 0, 4, 100}} {
		m := mustParse(t, message(t, func(b *stun.Builder) { b.Bytes(stun.AttrErrorCode, bad) }))
		if code, _, ok := m.ErrorCode(); ok {
			t.Errorf("%x is read as %v", bad, code)
		}
	}
}

func TestUnknownAttributes(t *testing.T) {
	m := mustParse(t, message(t, func(b *stun.Builder) {
		b.Uint32(0x7000, 1)
		b.Uint32(stun.AttrPriority, 1)
		b.Uint32(0xC000, 1) // comprehension-optional
		b.Uint32(0x7001, 1)
		b.Uint32(0x7000, 2)
		b.Uint32(0x7002, 1)
	}))
	u := m.AppendUnknown(make([]stun.AttrType, 0, 8), stun.Known)
	if want := []stun.AttrType{0x7000, 0x7001, 0x7002}; !slices.Equal(u, want) {
		t.Errorf("unknown %x, want %x", u, want)
	}
	if few := m.AppendUnknown(make([]stun.AttrType, 0, 2), stun.Known); len(few) != 2 {
		t.Errorf("a bound of 2 gives %x", few)
	}
	back := mustParse(t, message(t, func(b *stun.Builder) { b.Unknown(u) }))
	if got := slices.Collect(back.UnknownAttributes()); !slices.Equal(got, u) {
		t.Errorf("written and read: %x, want %x", got, u)
	}
}

func TestBuilderRefusesWhatDoesNotFit(t *testing.T) {
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, testID)
	b.Bytes(stun.AttrData, make([]byte, 0xFFFC-4))
	raw, err := b.Message()
	if err != nil || len(raw) != stun.MaxMessageLen {
		t.Fatalf("%d bytes, %v; the largest message fits", len(raw), err)
	}
	mustParse(t, raw)
	b.Flag(stun.AttrUseCandidate)
	if _, err := b.Message(); err != stun.ErrTooLong {
		t.Errorf("four bytes more: %v, want ErrTooLong", err)
	}
	b = stun.NewBuilder(nil, stun.Request, stun.Binding, testID)
	b.Bytes(stun.AttrData, make([]byte, 1<<16))
	if _, err := b.Message(); err != stun.ErrTooLong {
		t.Errorf("a value of 65536 bytes: %v, want ErrTooLong", err)
	}
}

func TestNonceCookie(t *testing.T) {
	for _, f := range []stun.Features{0, stun.FeaturePasswordAlgorithms, stun.FeatureUsernameAnonymity, 1<<24 - 1} {
		nonce := append(stun.AppendNonceCookie(nil, f), "rest"...)
		if got, ok := stun.ParseNonceCookie(nonce); !ok || got != f {
			t.Errorf("features %06x read back as %06x, %v", f, got, ok)
		}
	}
	if got := string(stun.AppendNonceCookie(nil, stun.FeaturePasswordAlgorithms)); got != "obMatJos2gAAA" {
		t.Errorf("cookie %q", got)
	}
	for _, bad := range []string{"", "obMatJos2", "obMatJos2gAA", "obMatJos2!!!!", "obMatJos3gAAAnonce", "obMatJos2gA=="} {
		if f, ok := stun.ParseNonceCookie([]byte(bad)); ok {
			t.Errorf("%q is read as features %06x", bad, f)
		}
	}
}

// Parsing, reading, building and checking allocate nothing once the buffers are there.
func TestNothingAllocates(t *testing.T) {
	h, key := stun.NewHasher(), []byte("0123456789abcdef")
	signed := message(t, func(b *stun.Builder) {
		b.Text(stun.AttrUsername, "1732290000:seat")
		b.Integrity(h, key)
		b.IntegritySHA256(h, key)
		b.Fingerprint()
	})
	out := make([]byte, 0, 512)
	unknown := make([]stun.AttrType, 0, 8)
	addr := netip.MustParseAddrPort("192.0.2.1:3478")
	for name, f := range map[string]func(){
		"parse": func() {
			m, _ := stun.Parse(signed)
			for range m.Attributes() {
			}
			m.Get(stun.AttrRealm)
			m.XORAddress(stun.AttrXORMappedAddress)
			m.AppendUnknown(unknown[:0], stun.Known)
		},
		"verify": func() {
			m, _ := stun.Parse(signed)
			if !h.Verify(&m, key) {
				t.Fatal("verification fails")
			}
		},
		"build": func() {
			b := stun.NewBuilder(out[:0], stun.Success, stun.Binding, testID)
			b.XORAddress(stun.AttrXORMappedAddress, addr)
			b.Error(stun.CodeBadRequest, "Bad Request")
			b.Integrity(h, key)
			b.IntegritySHA256(h, key)
			b.Fingerprint()
			b.Message()
		},
		"keys": func() {
			h.AppendLongTermKey(out[:0], stun.SHA256, key, key, key)
			h.AppendUserhash(out[:0], key, key)
			h.AppendHMACSHA1(out[:0], key, key)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// Whatever the bytes, reading ends, stays within them and agrees with itself.
func FuzzParse(f *testing.F) {
	for _, seed := range [][]byte{sampleRequest, sampleIPv4Response, sampleIPv6Response, sampleLongTerm, sampleSHA256} {
		f.Add(seed)
	}
	f.Add(message(f, func(b *stun.Builder) { b.Error(420, "x"); b.Unknown([]stun.AttrType{1, 2, 3}) }))
	f.Add(message(f, func(b *stun.Builder) {
		b.Bytes(stun.AttrPasswordAlgorithms, stun.AppendPasswordAlgorithms(nil, stun.SHA256, stun.MD5))
		b.Text(stun.AttrNonce, "obMatJos2gAAAx")
		b.IntegritySHA256Truncated(stun.NewHasher(), []byte("k"), 16)
	}))
	h := stun.NewHasher()
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m, err := stun.Parse(raw)
		if err != nil {
			return
		}
		b := stun.NewBuilder(nil, m.Class(), m.Method(), m.ID())
		for a, v := range m.Attributes() {
			if got, ok := m.Get(a); !ok || len(v) > len(raw) {
				t.Fatalf("attribute %04x is listed and not found, or its value is longer than the message: %x", a, got)
			}
			m.DecodeXORAddress(v)
			stun.ParseNonceCookie(v)
			stun.ParsePasswordAlgorithms(v, func(stun.PasswordAlgorithm, []byte) bool { return true })
			b.Bytes(a, v)
		}
		m.ErrorCode()
		for range m.UnknownAttributes() {
		}
		m.AppendUnknown(make([]stun.AttrType, 0, 4), stun.Known)
		h.VerifyTruncated(&m, []byte("key"), 16)
		if !bytes.Equal(raw, before) {
			t.Fatal("reading changed the message")
		}
		// What was read can be written, signed and read again.
		b.Integrity(h, []byte("key"))
		b.Fingerprint()
		again, err := b.Message()
		if err == stun.ErrTooLong {
			return
		}
		m2, err := stun.Parse(again)
		if err != nil || !h.Verify(&m2, []byte("key")) {
			t.Fatalf("written anew: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h, key := stun.NewHasher(), make([]byte, 16)
	for name, sign := range map[string]func(b *stun.Builder){
		"SHA1":   func(b *stun.Builder) { b.Integrity(h, key) },
		"SHA256": func(b *stun.Builder) { b.IntegritySHA256(h, key) },
	} {
		raw := message(b, func(b *stun.Builder) { b.Bytes(stun.AttrUsername, make([]byte, 64)); sign(b) })
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, _ := stun.Parse(raw)
				if !h.Verify(&m, key) {
					b.Fatal("verification fails")
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	raw := message(b, func(b *stun.Builder) {
		b.XORAddress(stun.AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.1:5000"))
		data := make([]byte, 1200)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		b.Bytes(stun.AttrData, data)
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stun.Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
