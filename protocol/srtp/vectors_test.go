package srtp

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("%s is %x\nwant %s", what, got, want)
	}
}

// RFC 3711 appendix B.2: the keystream of AES-CM.
func TestKeystreamOfRFC3711(t *testing.T) {
	block, err := aes.NewCipher(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"))
	if err != nil {
		t.Fatal(err)
	}
	k := keys{ctr: block}
	copy(k.salt[:], unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"))
	stream := make([]byte, 1044512)
	k.xor(0, 0, stream)
	same(t, "the beginning", stream[:48], "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0")
	same(t, "the end", stream[len(stream)-48:], "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44")
}

func derivationOf(t *testing.T, key, salt string) *derivation {
	t.Helper()
	block, err := aes.NewCipher(unhex(t, key))
	if err != nil {
		t.Fatal(err)
	}
	d := &derivation{block: block}
	copy(d.salt[:], unhex(t, salt))
	return d
}

// RFC 3711 appendix B.3, RFC 6188 section 7.2 and RFC 6904 appendix A.1: key derivation.
func TestDerivation(t *testing.T) {
	d := derivationOf(t, "E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6")
	same(t, "the cipher key", d.derive(labelRTPKey, 16), "C61E7A93744F39EE10734AFE3FF7A087")
	same(t, "the cipher salt", d.derive(labelRTPKey+2, 14), "30CBBC08863D8C85D49DB34A9AE1")
	same(t, "the auth key", d.derive(labelRTPKey+1, 94), `CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
		E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2`)
	same(t, "the header's cipher key", d.derive(labelExtensionKey, 16), "549752054D6FB708622C4A2E596A1B93")
	same(t, "the header's cipher salt", d.derive(labelExtensionKey+1, 14), "AB01818174C40D39A3781F7C2D27")

	d = derivationOf(t, "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2")
	same(t, "the cipher key of 256 bits", d.derive(labelRTPKey, 32), "5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4")
	same(t, "its salt", d.derive(labelRTPKey+2, 14), "fa31791685ca444a9e07c6c64e93")
	same(t, "its auth key", d.derive(labelRTPKey+1, 20), "fd9c32d39ed5fbb5a9dc96b30818454d 1313dc05")
}

// RFC 6904 appendix A.2: header extensions 1, 3 and 4 are encrypted.
func TestHeaderEncryptionOfRFC6904(t *testing.T) {
	var h headerKeys
	var err error
	if h.block, err = aes.NewCipher(unhex(t, "549752054D6FB708622C4A2E596A1B93")); err != nil {
		t.Fatal(err)
	}
	copy(h.salt[:], unhex(t, "AB01818174C40D39A3781F7C2D27"))
	h.ids[1], h.ids[3], h.ids[4] = true, true, true
	header := unhex(t, "900f1234 decafbad cafebabe bede0006 17414273A475262748220000C8308E46 55996386B395FB00")
	h.apply(header, 0xcafebabe, 0x1234)
	same(t, "the header extension", header[16:], "17588A9270F4E15E1C220000C8309546 A994F0BC54789700")
	h.apply(header, 0xcafebabe, 0x1234)
	same(t, "decrypted it", header[16:], "17414273A475262748220000C8308E46 55996386B395FB00")
}

// session makes a Context of session keys: what RFC 7714 gives.
func session(t *testing.T, p Profile, key, salt string) *Context {
	t.Helper()
	c, err := New(Config{Profile: p, Master: make([]byte, p.KeyLen()+p.SaltLen())})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*keys{&c.rtp, &c.rtcp} {
		if err := k.install(p.suite(), 16, unhex(t, key), nil, unhex(t, salt)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

const (
	key128    = "000102030405060708090a0b0c0d0e0f"
	key256    = key128 + "101112131415161718191a1b1c1d1e1f"
	quidProQu = "51756964 2070726f 2071756f"
	gallia    = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573"
	marsNTP   = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef"
)

// RFC 7714 section 16: SRTP, encrypted and decrypted.
func TestRTPOfRFC7714(t *testing.T) {
	for _, v := range []struct {
		p            Profile
		key, protect string
	}{
		{AEAD_AES_128_GCM, key128, `8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
			0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce`},
		{AEAD_AES_256_GCM, key256, `8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
			9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13`},
	} {
		got, err := session(t, v.p, v.key, quidProQu).AppendRTP(nil, unhex(t, gallia))
		if err != nil {
			t.Fatal(err)
		}
		same(t, v.p.String(), got, v.protect)
		got, err = session(t, v.p, v.key, quidProQu).DecryptRTP(unhex(t, v.protect))
		if err != nil {
			t.Fatal(err)
		}
		same(t, v.p.String()+", decrypted,", got, gallia)
	}
}

// RFC 7714 section 17: SRTCP with index 0x5d4, encrypted, and authenticated only.
func TestRTCPOfRFC7714(t *testing.T) {
	const encrypted128 = `81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
		c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4`
	sender := session(t, AEAD_AES_128_GCM, key128, quidProQu)
	s := sender.lookup(0x4d617273)
	sender.adopt(s)
	s.sent = 0x5d4
	got, err := sender.AppendRTCP(nil, unhex(t, marsNTP))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "section 17.1", got, encrypted128)
	for _, v := range []struct {
		section string
		p       Profile
		key     string
		protect string
	}{
		{"17.1", AEAD_AES_128_GCM, key128, encrypted128},
		{"17.2", AEAD_AES_256_GCM, key256, `81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
			a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4`},
		{"17.3", AEAD_AES_128_GCM, key128, marsNTP + "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4"},
		{"17.4", AEAD_AES_256_GCM, key256, marsNTP + "91db4afb feee5a97 8fab4393 ed2615fe 000005d4"},
	} {
		c := session(t, v.p, v.key, quidProQu)
		got, err := c.DecryptRTCP(unhex(t, v.protect))
		if err != nil {
			t.Errorf("section %s: %v", v.section, err)
			continue
		}
		same(t, "section "+v.section, got, marsNTP)
		if _, err := c.DecryptRTCP(unhex(t, v.protect)); err != ErrReplayed {
			t.Errorf("section %s, again: %v", v.section, err)
		}
	}
}

// The reference packets of libsrtp (test/srtp_driver.c: srtp_validate, srtp_validate_gcm, the two with encrypted extensions
// headers, srtp_test_empty_payload), whose SRTCP begins at index 1.
func TestPacketsOfLibsrtp(t *testing.T) {
	const (
		cm       = "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6"
		gcm      = key128 + "a0a1a2a3a4a5a6a7a8a9aaab"
		packet   = "800f1234decafbadcafebabe abababababababababababababababab"
		report   = "81c8000bcafebabe abababababababababababababababab"
		extended = "900f1234decafbadcafebabe bede000617414273a475262748220000c8308e4655996386b395fb00 abababababababababababababababab"
	)
	for _, v := range []struct {
		name           string
		p              Profile
		master         string
		ids            []uint8
		plain, protect string
		cut            int // bytes of our tag that the reference, with a shorter one, does not have
		report         string
	}{
		{name: "AES-CM", p: AES128_CM_HMAC_SHA1_80, master: cm, plain: packet,
			protect: "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
			report:  "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798"},
		{name: "GCM", p: AEAD_AES_128_GCM, master: gcm, plain: packet,
			protect: "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
			report:  "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001"},
		{name: "AES-CM, encrypted extensions", p: AES128_CM_HMAC_SHA1_80, master: cm, ids: []uint8{1, 3, 4}, plain: extended,
			protect: "900f1234decafbadcafebabe bede000617588a9270f4e15e1c220000c8309546a994f0bc54789700 4e55dc4ce79978d88ca4d215949d24025a46b3ca35c535a891c7"},
		{name: "GCM, encrypted extensions", p: AEAD_AES_128_GCM, master: "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3a", ids: []uint8{1, 3, 4}, plain: extended, cut: 8,
			protect: "900f1234decafbadcafebabe bede00061712e0205bfa949b1c220000c830bb46732778d9929aab00 0eca0cf95ee955b26cd3d288b49f6ca9f4b1b759719eb5bc"},
		{name: "AES-CM, no payload", p: AES128_CM_HMAC_SHA1_80, master: cm, plain: "800f1234decafbadcafebabe",
			protect: "800f1234decafbadcafebabe 773c2e1cd91d590d16e5"},
		{name: "GCM, no payload", p: AEAD_AES_128_GCM, master: "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3a", plain: "800f1234decafbadcafebabe", cut: 8,
			protect: "800f1234decafbadcafebabe f8b471a9e44e229c"},
	} {
		t.Run(v.name, func(t *testing.T) {
			cfg := Config{Profile: v.p, Master: unhex(t, v.master), EncryptedExtensions: v.ids}
			out, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			in, _ := New(cfg)
			got, err := out.AppendRTP(nil, unhex(t, v.plain))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "SRTP", got[:len(got)-v.cut], v.protect)
			if got, err = in.DecryptRTP(got); err != nil {
				t.Fatal(err)
			}
			same(t, "RTP", got, v.plain)
			if v.report == "" {
				return
			}
			out.recent.sent = 1
			if got, err = out.AppendRTCP(nil, unhex(t, report)); err != nil {
				t.Fatal(err)
			}
			same(t, "SRTCP", got, v.report)
			if got, err = in.DecryptRTCP(got); err != nil {
				t.Fatal(err)
			}
			same(t, "RTCP", got, report)
		})
	}
}
