package dtls

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/ecdh"
	"crypto/hkdf"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("%s is %x, want %s", what, got, want)
	}
}

// The simple 1-RTT handshake of RFC 8448 section 3. The key schedule of DTLS differs from it in the prefix of labels only.
func TestKeyScheduleOfRFC8448(t *testing.T) {
	const h, prefix = crypto.SHA256, "tls13 "
	private, err := ecdh.X25519().NewPrivateKey(unhex(t, "49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005"))
	if err != nil {
		t.Fatal(err)
	}
	key := &privateKey{group: X25519, ecdh: private}
	checkHex(t, "client's share", key.share(), "99381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c")
	shared, err := key.agree(unhex(t, "c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSchedule(h)
	s.prefix = prefix
	checkHex(t, "early secret", s.secret, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a")
	s.mix(shared)
	checkHex(t, "handshake secret", s.secret, "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac")
	hello := unhex(t, "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")
	checkHex(t, "c hs traffic", s.derive("c hs traffic", hello), "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21")
	server := s.derive("s hs traffic", hello)
	checkHex(t, "s hs traffic", server, "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
	checkHex(t, "key", s.expand(server, "key", nil, 16), "3fce516009c21727d0f2e4e86ee403bc")
	checkHex(t, "iv", s.expand(server, "iv", nil, 12), "5d313eb2671276ee13000b30")
	s.mix(nil)
	checkHex(t, "master secret", s.secret, "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919")
	finished := unhex(t, "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13")
	checkHex(t, "c ap traffic", s.derive("c ap traffic", finished), "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
	checkHex(t, "s ap traffic", s.derive("s ap traffic", finished), "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
	checkHex(t, "exp master", s.derive("exp master", finished), "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50")
}

// What a kdf derives, one after the other, from any secret and of any length, is that of HKDF (RFC 5869).
func TestKDF(t *testing.T) {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		k := newKDF(h)
		for _, n := range []int{0, 1, 16, 32, 33, 48, 97, 128, 129, 255 * 32} {
			secret := bytes.Repeat([]byte{7}, n)
			if want, err := hkdf.Extract(h.New, []byte("input"), secret); err != nil || !bytes.Equal(k.extract(secret, []byte("input")), want) {
				t.Errorf("%v, a salt of %d bytes: %v", h, n, err)
			}
			info := string([]byte{byte(n >> 8), byte(n), 9}) + "dtls13key\x03ctx"
			want, err := hkdf.Expand(h.New, secret, info, n)
			if err != nil {
				t.Fatal(err)
			}
			if got := k.expand(secret, "key", []byte("ctx"), n); !bytes.Equal(got, want) {
				t.Errorf("%v, %d bytes: %x, want %x", h, n, got, want)
			}
		}
	}
}

// The PRF of TLS 1.2 with SHA-256: the vector that the IETF's TLS list agreed on in 2009.
func TestPRF(t *testing.T) {
	got := prf(crypto.SHA256, unhex(t, "9bbe436ba940f017b17652849a71db35"), "test label", unhex(t, "a0ba9f936cda311827a6f796ffd5198c"), 100)
	checkHex(t, "PRF", got, `e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af
		0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66`)
}

// RFC 9147 section 4.2.3: the mask is a block of the cipher: AES by the example of FIPS 197, ChaCha20 by RFC 8439 section
// 2.3.2, whose counter is the first four bytes, little-endian.
func TestRecordNumberMask(t *testing.T) {
	var scratch [aes.BlockSize]byte
	block, err := aes.NewCipher(unhex(t, "000102030405060708090a0b0c0d0e0f"))
	if err != nil {
		t.Fatal(err)
	}
	number := []byte{0, 0}
	p := protection{maskBlock: block}
	p.mask(&scratch, number, unhex(t, "00112233445566778899aabbccddeeff"))
	checkHex(t, "AES mask", number, "69c4")

	number = []byte{0, 0}
	p = protection{maskKey: unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")}
	p.mask(&scratch, number, unhex(t, "01000000 000000090000004a00000000"))
	checkHex(t, "ChaCha20 mask", number, "10f1")
}

func TestReconstruct(t *testing.T) {
	for _, c := range []struct {
		expected, low uint64
		bits          uint
		want          uint64
	}{
		{0, 0, 8, 0}, {0, 5, 8, 5}, {0, 255, 8, 255},
		{256, 255, 8, 255}, {256, 0, 8, 256}, {300, 40, 8, 296}, {300, 200, 8, 200}, {300, 100, 8, 356},
		{1 << 20, 0xffff, 16, 1<<20 - 1}, {1<<20 - 1, 0, 16, 1 << 20}, {70000, 4464, 16, 70000},
	} {
		if got := reconstruct(c.expected, c.low, c.bits); got != c.want {
			t.Errorf("reconstruct(%d, %d, %d) = %d, want %d", c.expected, c.low, c.bits, got, c.want)
		}
	}
}

func TestReplayWindow(t *testing.T) {
	const size = windowBlocks * 64
	var w replayWindow
	seen := map[uint64]bool{}
	next := entropy("window")
	at := uint64(0)
	for range 100_000 {
		step := next.Uint64()
		switch step % 100 {
		case 0:
			at += step >> 32 % 5000
		default:
			at += step >> 32 % 3
		}
		seq := at - min(at, step>>40%700)
		fresh := w.fresh(seq)
		if fresh && seen[seq] {
			t.Fatalf("%d is fresh again", seq)
		}
		if !fresh && !seen[seq] && seq+size-64 > w.next {
			t.Fatalf("%d was never seen, and is within the window that ends at %d", seq, w.next)
		}
		if fresh {
			w.mark(seq)
			seen[seq] = true
		}
		if w.fresh(seq) {
			t.Fatalf("%d is fresh after it was marked", seq)
		}
	}
}

var update = flag.Bool("update", false, "write the golden transcripts anew")

// The whole conversation, byte for byte, for given entropy. A change here is a change of what goes over the wire.
func TestGoldenTranscripts(t *testing.T) {
	for name, change := range map[string]func(client, server *Config){
		"1.2":        func(c, s *Config) { only(c, Version12); only(s, Version12) },
		"1.2-cookie": func(c, s *Config) { only(c, Version12); only(s, Version12).CookieSecret = make([]byte, 32) },
		"1.3":        func(c, s *Config) { c.Groups = []Group{X25519} },
		"1.3-hybrid": func(c, s *Config) {},
		"1.3-retry":  func(c, s *Config) { c.Groups = []Group{X25519, P384}; s.Groups = []Group{P384} },
		"1.3-chacha": func(c, s *Config) {
			c.CipherSuites = []CipherSuite{ChaCha20Poly1305}
			c.Groups = []Group{P256}
			c.ConnectionID, s.ConnectionID = []byte("to client"), []byte("to server")
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := configOf(t, "client", 1), configOf(t, "server", 1)
			var log bytes.Buffer
			client.KeyLog = &log
			change(client, server)
			p := newPair(t, client, server)
			var got strings.Builder
			p.filter = func(from *end, b []byte) [][]byte {
				fmt.Fprintf(&got, "%s %x\n", from.name, b)
				return [][]byte{b}
			}
			p.connect()
			p.sendData(p.client, "from the client")
			p.sendData(p.server, "from the server")
			p.idle(time.Second)
			p.client.Close(p.now)
			p.idle(time.Second)
			got.WriteString(log.String())
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("the conversation differs from %s; if that is meant, run go test -update.\n%s", file, got.String())
			}
		})
	}
}
