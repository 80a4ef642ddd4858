package dtls_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
)

const exportLabel = "EXPORTER-interop"

func openssl(t *testing.T) string {
	t.Helper()
	need.Program(t, "openssl", "openssl")
	return "openssl"
}

// keysOf makes a key and a certificate for OpenSSL.
func keysOf(t *testing.T, tool, kind string) (key, cert string) {
	t.Helper()
	dir := t.TempDir()
	key, cert = filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	args := []string{"req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=openssl", "-keyout", key, "-out", cert, "-newkey"}
	args = append(args, strings.Fields(kind)...)
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl req: %v\n%s", err, out)
	}
	return key, cert
}

// kinds of certificate that OpenSSL shows us.
var kinds = map[string]string{
	"P-256":   "ec -pkeyopt ec_paramgen_curve:P-256",
	"P-384":   "ec -pkeyopt ec_paramgen_curve:P-384",
	"RSA":     "rsa:2048",
	"Ed25519": "ed25519",
}

func exported(t *testing.T, s *session, p *program) {
	t.Helper()
	want, err := s.conn.Export(exportLabel, nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ToUpper(hex.EncodeToString(want)); !strings.Contains(p.output(), "Keying material: "+got) {
		t.Errorf("OpenSSL exports other keying material than %s", got)
	}
}

func TestOpenSSLServer(t *testing.T) {
	tool := openssl(t)
	for kind, spec := range kinds {
		if kind == "Ed25519" {
			continue // OpenSSL 3.0's server finds no suite for such a certificate in DTLS 1.2
		}
		for _, extra := range []string{"", "anonymous client", "-listen", "-cipher ECDHE+CHACHA20", "-cipher ECDHE+AES256", "-mtu 400"} {
			t.Run(kind+" "+extra, func(t *testing.T) {
				key, cert := keysOf(t, tool, spec)
				args := []string{"s_server", "-dtls1_2", "-accept", "127.0.0.1:0", "-key", key, "-cert", cert,
					"-use_srtp", "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80",
					"-keymatexport", exportLabel, "-keymatexportlen", "32"}
				if extra != "anonymous client" {
					args = append(args, "-Verify", "1")
					args = append(args, strings.Fields(extra)...)
				}
				p := launch(t, "", tool, args...)
				at := netip.MustParseAddrPort(p.awaitOutput(`ACCEPT (\S+)\s`))
				s := newSession(t, dtls.Client, config(t), listen(t), at)
				s.connect()
				if st := s.conn.State(); st.Version != dtls.Version12 || st.SRTPProfile != dtls.SRTP_AEAD_AES_128_GCM {
					t.Errorf("negotiated %+v", st)
				}
				s.run("OpenSSL's report", p.printed("Keying material: "))
				s.run("OpenSSL's report", p.printed("SRTP Extension negotiated, profile=SRTP_AEAD_AES_128_GCM"))
				exported(t, s, p)
				s.send("hello from parley\n")
				s.run("our line at OpenSSL", p.printed("hello from parley"))
				p.say("hello from openssl")
				s.expect("hello from openssl")
				s.close()
			})
		}
	}
}

func TestOpenSSLClient(t *testing.T) {
	tool := openssl(t)
	for kind, spec := range kinds {
		for _, cookie := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s cookie %v", kind, cookie), func(t *testing.T) {
				key, cert := keysOf(t, tool, spec)
				cfg := config(t)
				if cookie {
					cfg.CookieSecret = make([]byte, 32)
				}
				s := newSession(t, dtls.Server, cfg, listen(t), netip.AddrPort{})
				p := launch(t, "", tool, "s_client", "-dtls1_2", "-connect", addrOf(s.udp).String(), "-key", key, "-cert", cert,
					"-use_srtp", "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM",
					"-keymatexport", exportLabel, "-keymatexportlen", "32")
				s.connect()
				if st := s.conn.State(); st.Version != dtls.Version12 || st.SRTPProfile != dtls.SRTP_AEAD_AES_128_GCM {
					t.Errorf("negotiated %+v", st)
				}
				s.run("OpenSSL's report", p.printed("Keying material: "))
				exported(t, s, p)
				s.send("hello from parley\n")
				s.run("our line at OpenSSL", p.printed("hello from parley"))
				p.say("hello from openssl")
				s.expect("hello from openssl")
				if cookie {
					s.close()
					return
				}
				// We decline a renegotiation and stay (RFC 5246 section 7.2.2); OpenSSL then gives up by itself.
				p.say("R")
				s.run("OpenSSL's alert", func() bool { return s.closed })
				var e *dtls.Error
				if !errors.As(s.err, &e) || !e.Received {
					t.Errorf("closed with %v", s.err)
				}
			})
		}
	}
}
