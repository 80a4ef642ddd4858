package dtls_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
)

// wolfssl returns the folder of wolfSSL's sources, where its programs find their certificates, and of its programs. How
// to build them stands in README.md.
func wolfssl(t *testing.T) (sources, programs string) {
	t.Helper()
	sources, programs = os.Getenv("PARLEY_WOLFSSL_SOURCE"), os.Getenv("PARLEY_WOLFSSL_BUILD")
	if sources == "" || programs == "" {
		t.Skip("wolfSSL is not there: build its programs as README.md says, and set PARLEY_WOLFSSL_SOURCE and PARLEY_WOLFSSL_BUILD")
	}
	return sources, programs
}

var wolfSuites = map[string]dtls.CipherSuite{
	"TLS13-AES128-GCM-SHA256":        dtls.AES128GCM,
	"TLS13-AES256-GCM-SHA384":        dtls.AES256GCM,
	"TLS13-CHACHA20-POLY1305-SHA256": dtls.ChaCha20Poly1305,
}

func TestWolfSSLClient(t *testing.T) {
	sources, programs := wolfssl(t)
	for suite, id := range wolfSuites {
		for _, extra := range []string{
			"",
			"-c ./certs/client-ecc-cert.pem -k ./certs/ecc-client-key.pem",
			"-J",        // no share in the first hello: we ask for one
			"-J cookie", // and for a cookie
			"cookie",
			"-I", // updates its keys
			"--srtp SRTP_AES128_CM_SHA1_80",
		} {
			t.Run(suite+" "+extra, func(t *testing.T) {
				cfg := only(config(t), dtls.Version13)
				args := []string{"-u", "-v", "4", "-d", "-l", suite}
				for _, f := range strings.Fields(extra) {
					if f == "cookie" {
						cfg.CookieSecret = make([]byte, 32)
					} else {
						args = append(args, f)
					}
				}
				s := newSession(t, dtls.Server, cfg, listen(t), netip.AddrPort{})
				args = append(args, "-h", "127.0.0.1", "-p", fmt.Sprint(addrOf(s.udp).Port()))
				p := launch(t, sources, filepath.Join(programs, "client"), args...)
				s.connect()
				if st := s.conn.State(); st.Version != dtls.Version13 || st.CipherSuite != id {
					t.Errorf("negotiated %+v", st)
				}
				s.expect("hello wolfssl!")
				s.send("I hear you, says parley")
				p.awaitOutput("I hear you, says parley")
			})
		}
	}
}

func TestWolfSSLServer(t *testing.T) {
	sources, programs := wolfssl(t)
	for suite, id := range wolfSuites {
		for _, extra := range []string{
			"",
			"-c ./certs/server-ecc.pem -k ./certs/ecc-key.pem",
			"groups P-384",
			"update", // we update our keys, and ask for theirs
		} {
			t.Run(suite+" "+extra, func(t *testing.T) {
				cfg := only(config(t), dtls.Version13)
				cfg.Groups = []dtls.Group{dtls.X25519, dtls.P256, dtls.P384} // its server wants the hello in one piece
				args := []string{"-u", "-v", "4", "-d", "-l", suite}
				switch extra {
				case "groups P-384":
					cfg.Groups = []dtls.Group{dtls.P384, dtls.X25519}
				case "update":
				default:
					args = append(args, strings.Fields(extra)...)
				}
				port := uint16(need.Port(t))
				args = append(args, "-p", fmt.Sprint(port))
				launch(t, sources, filepath.Join(programs, "server"), args...)
				s := newSession(t, dtls.Client, cfg, listen(t), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
				s.connect()
				if st := s.conn.State(); st.Version != dtls.Version13 || st.CipherSuite != id {
					t.Errorf("negotiated %+v", st)
				}
				if extra == "update" {
					if err := s.conn.UpdateKeys(true); err != nil {
						t.Fatal(err)
					}
					s.run("the key update", func() bool { return s.conn.UpdateKeys(false) == nil })
				}
				s.send("hello from parley")
				s.expect("I hear you") // which it says when our line came
			})
		}
	}
}
