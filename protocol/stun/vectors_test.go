package stun_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/stun"
)

// unhex decodes groups of hexadecimal digits.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The sample messages of RFC 5769 section 2 and of RFC 8489 appendix B.1.
var (
	sampleRequest = unhex(`00010058 2112a442 b7e7a701bc34d686fa87dfae
		80220010 5354554e207465737420636c69656e74
		00240004 6e0001ff
		80290008 932ff9b151263b36
		00060009 6576746a3a68367659202020
		00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
		80280004 e57a3bcf`)
	sampleIPv4Response = unhex(`0101003c 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220
		00200008 0001a147e112a643
		00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
		80280004 c07d4c96`)
	sampleIPv6Response = unhex(`01010048 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220
		00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9
		00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
		80280004 c8fb0b4c`)
	sampleLongTerm = unhex(`00010060 2112a442 78ad3433c6ad72c029da412e
		00060012 e3839ee38388e383aae38383e382afe382b90000
		0015001c 662f2f3439396b39353464364f4c33346f4c394653547679363473 41
		0014000b 6578616d706c652e6f726700
		00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666`)
	sampleSHA256 = unhex(`0001009c 2112a442 78ad3433c6ad72c029da412e
		001e0020 4a3cf38fef6992bda952c67804 17da0f2481941556 9e60b205c46e41407f1704
		00150029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473 41000000
		0014000b 6578616d706c652e6f726700
		001c0020 e4686c8f0edeb59013e07090010a93efccbccc544c0a45d9f830aa6d6f735a01`)
)

const (
	samplePassword = "VOkJxbRl1RmTxUk/WvJxBt"
	matrixUser     = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
	matrixPassword = "TheMatrIX"
)

func mustParse(t testing.TB, b []byte) stun.Message {
	t.Helper()
	m, err := stun.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSampleRequest(t *testing.T) { // RFC 5769 section 2.1
	m := mustParse(t, sampleRequest)
	if m.Class() != stun.Request || m.Method() != stun.Binding || !m.HasFingerprint() {
		t.Errorf("got %v %v, fingerprint %v", m.Method(), m.Class(), m.HasFingerprint())
	}
	if v, _ := m.Get(stun.AttrSoftware); string(v) != "STUN test client" {
		t.Errorf("SOFTWARE %q", v)
	}
	if v, _ := m.Get(stun.AttrUsername); string(v) != "evtj:h6vY" {
		t.Errorf("USERNAME %q", v)
	}
	if v, ok := m.Uint32(stun.AttrPriority); !ok || v != 0x6e0001ff {
		t.Errorf("PRIORITY %x", v)
	}
	if v, ok := m.Uint64(stun.AttrICEControlled); !ok || v != 0x932ff9b151263b36 {
		t.Errorf("ICE-CONTROLLED %x", v)
	}
	h := stun.NewHasher()
	if !h.Verify(&m, []byte(samplePassword)) {
		t.Error("the right password fails")
	}
	if h.Verify(&m, []byte(samplePassword+"x")) {
		t.Error("a wrong password passes")
	}
}

func TestSampleResponses(t *testing.T) { // RFC 5769 sections 2.2 and 2.3
	for _, c := range []struct {
		raw    []byte
		mapped string
	}{
		{sampleIPv4Response, "192.0.2.1:32853"},
		{sampleIPv6Response, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
	} {
		m := mustParse(t, c.raw)
		a, err := m.XORAddress(stun.AttrXORMappedAddress)
		if err != nil || a != netip.MustParseAddrPort(c.mapped) {
			t.Errorf("mapped address %v, %v; want %s", a, err, c.mapped)
		}
		if !stun.NewHasher().Verify(&m, []byte(samplePassword)) {
			t.Errorf("%s: the right password fails", c.mapped)
		}
		// Written anew, with zeroes for the vector's spaces as padding, everything before the integrity must be the same.
		b := stun.NewBuilder(nil, stun.Success, stun.Binding, m.ID())
		b.Text(stun.AttrSoftware, "test vector")
		b.XORAddress(stun.AttrXORMappedAddress, a)
		b.Integrity(stun.NewHasher(), []byte(samplePassword))
		b.Fingerprint()
		got, err := b.Message()
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(c.raw)
		want[35] = 0
		if n := len(want) - 32; !bytes.Equal(got[:n], want[:n]) || len(got) != len(want) {
			t.Errorf("wrote\n%x, want\n%x", got, want)
		}
		if m := mustParse(t, got); !stun.NewHasher().Verify(&m, []byte(samplePassword)) {
			t.Errorf("%s: what was written fails its own check", c.mapped)
		}
	}
}

func TestSampleLongTermRequest(t *testing.T) { // RFC 5769 section 2.4
	m := mustParse(t, sampleLongTerm)
	h := stun.NewHasher()
	realm, _ := m.Get(stun.AttrRealm)
	key := h.AppendLongTermKey(nil, stun.MD5, []byte(matrixUser), realm, []byte(matrixPassword))
	if !h.Verify(&m, key) {
		t.Error("the right password fails")
	}
	b := stun.NewBuilder([]byte("before"), stun.Request, stun.Binding, m.ID())
	b.Text(stun.AttrUsername, matrixUser)
	b.Text(stun.AttrNonce, "f//499k954d6OL34oL9FSTvy64sA")
	b.Text(stun.AttrRealm, "example.org")
	b.Integrity(h, key)
	got, err := b.Message()
	if err != nil || !bytes.Equal(got, append([]byte("before"), sampleLongTerm...)) {
		t.Errorf("wrote\n%x, %v; want\n%x", got, err, sampleLongTerm)
	}
}

// The vector of RFC 8489 appendix B.1 contradicts the RFC in its length field: it says 156 where 136 bytes follow (the
// header is counted too), and the printed HMAC, whose key is that of SHA-256, covers that number. So the message as
// printed must be refused; its parts are checked one by one, and the whole with the length put right.
func TestSampleSHA256Request(t *testing.T) {
	if _, err := stun.Parse(sampleSHA256); err != stun.ErrLength {
		t.Errorf("as printed: %v, want ErrLength", err)
	}
	h := stun.NewHasher()
	key := h.AppendLongTermKey(nil, stun.SHA256, []byte(matrixUser), []byte("example.org"), []byte(matrixPassword))
	printed, before := sampleSHA256[len(sampleSHA256)-32:], sampleSHA256[:len(sampleSHA256)-36]
	if got := h.AppendHMACSHA256(nil, key, before); !bytes.Equal(got, printed) {
		t.Errorf("HMAC %x, want the printed %x", got, printed)
	}

	corrected := bytes.Clone(sampleSHA256)
	corrected[3] = 136
	m := mustParse(t, corrected)
	if h.Verify(&m, key) {
		t.Error("the printed HMAC passes although it covers another length")
	}
	nonce, _ := m.Get(stun.AttrNonce)
	if f, ok := stun.ParseNonceCookie(nonce); !ok || f != 2 { // "AAAC"
		t.Errorf("nonce cookie %06x, %v", f, ok)
	}
	hash, _ := m.Get(stun.AttrUserhash)
	if got := h.AppendUserhash(nil, []byte(matrixUser), []byte("example.org")); !bytes.Equal(got, hash) {
		t.Errorf("userhash %x, want %x", got, hash)
	}
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, m.ID())
	b.Bytes(stun.AttrUserhash, hash)
	b.Bytes(stun.AttrNonce, nonce)
	b.Text(stun.AttrRealm, "example.org")
	b.IntegritySHA256(h, key)
	got, err := b.Message()
	if n := len(corrected) - 32; err != nil || !bytes.Equal(got[:n], corrected[:n]) || len(got) != len(corrected) {
		t.Errorf("wrote\n%x, %v; want, but for the last 32 bytes,\n%x", got, err, corrected)
	}
	if m := mustParse(t, got); !h.Verify(&m, key) {
		t.Error("what was written fails its own check")
	}
}

// "if the username is 'user', the realm is 'realm', and the password is 'pass', then the 16-byte HMAC key would be ...
// 0x8493fbc53ba582fb4c044c456bdc40eb" (RFC 8489 section 9.2.2)
func TestLongTermKeyExample(t *testing.T) {
	got := stun.NewHasher().AppendLongTermKey(nil, stun.MD5, []byte("user"), []byte("realm"), []byte("pass"))
	if want := unhex("8493fbc53ba582fb4c044c456bdc40eb"); !bytes.Equal(got, want) {
		t.Errorf("key %x, want %x", got, want)
	}
}
