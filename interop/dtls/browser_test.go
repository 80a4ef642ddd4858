package dtls_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/srtp"
	"github.com/parley-rtc/parley/protocol/stun"
)

// The smallest page that makes a browser speak DTLS with us: it takes our offer, answers, and tells what it became.
const page = `<!DOCTYPE html><script>
(async () => {
	const post = (path, value) => fetch(path, {method: 'POST', body: JSON.stringify(value)});
	try {
		const pc = new RTCPeerConnection();
		pc.onconnectionstatechange = async () => {
			if (pc.connectionState !== 'connected') return;
			const all = [...(await pc.getStats()).values()];
			await post('/stats', {dtlsState: 'connected', ...all.find((s) => s.type === 'transport')});
		};
		await pc.setRemoteDescription({type: 'offer', sdp: await (await fetch('/offer')).text()});
		const canvas = document.createElement('canvas').getContext('2d');
		setInterval(() => canvas.fillRect(Math.random() * 99, Math.random() * 99, 9, 9), 50);
		for (const t of pc.getTransceivers()) {
			t.direction = 'sendonly';
			await t.sender.replaceTrack(canvas.canvas.captureStream(20).getVideoTracks()[0]);
		}
		await pc.setLocalDescription(await pc.createAnswer());
		await post('/answer', pc.localDescription.sdp);
	} catch (e) { await post('/error', String(e)); }
})();
</script>`

const icePassword = "parleyparleyparleyparley"

// offer describes our end: one data channel, one video to receive, ICE lite, the role in DTLS.
func offer(local netip.AddrPort, setup string, cert *dtls.Certificate) string {
	return strings.ReplaceAll(fmt.Sprintf(`v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=ice-lite
a=ice-ufrag:parley
a=ice-pwd:%[2]s
a=fingerprint:%[3]v
a=setup:%[4]s
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 %[1]s
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
a=candidate:1 1 udp 2130706431 %[1]s %[5]d typ host
a=end-of-candidates
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 %[1]s
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
`, local.Addr(), icePassword, cert.Fingerprint(), setup, local.Port()), "\n", "\r\n")
}

type stats struct{ TLSVersion, DTLSCipher, SRTPCipher, DTLSState, DTLSRole string }

func TestChromium(t *testing.T) {
	need.Program(t, "chromium", "chromium")
	testBrowser(t, "chromium", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--user-data-dir="+t.TempDir())
}

func TestFirefox(t *testing.T) {
	program, err := exec.LookPath("firefox")
	if err != nil {
		need.Program(t, "firefox-esr", "firefox-esr")
		program = "firefox-esr"
	}
	const prefs = `user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
`
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	testBrowser(t, "firefox", program, "--headless", "--no-remote", "--profile", profile)
}

// show starts a browser, which takes seconds, and returns how its frame is made to show one page after another.
func show(t *testing.T, browser ...string) func(url string) {
	const frame = `<!DOCTYPE html><iframe></iframe><script>
(async () => {
	for (;;) document.querySelector('iframe').src = await (await fetch('/next')).text();
})();
</script>`
	next := make(chan string)
	site := http.NewServeMux()
	site.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, frame)
	})
	site.HandleFunc("/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case url := <-next:
			io.WriteString(w, url)
		case <-r.Context().Done():
		}
	})
	web := httptest.NewServer(site)
	t.Cleanup(web.Close)
	launch(t, "", browser[0], append(browser[1:], web.URL)...)
	return func(url string) {
		t.Helper()
		select {
		case next <- url:
		case <-time.After(4 * patience):
			t.Fatal("the browser has not come")
		}
	}
}

// testBrowser opens the page in a browser that a command starts, in every version and role.
func testBrowser(t *testing.T, browser string, command ...string) {
	host := need.Network(t)
	open := show(t, command...)
	for _, c := range []struct {
		name  string
		role  dtls.Role
		tune  func(*dtls.Config)
		tls   string
		group dtls.Group
	}{
		{"client, 1.3", dtls.Client, nil, "FEFC", 0},
		{"server, 1.3", dtls.Server, nil, "FEFC", dtls.X25519MLKEM768},
		{"server, 1.3, retry", dtls.Server, func(c *dtls.Config) { c.Groups = []dtls.Group{dtls.P384} }, "FEFC", dtls.P384},
		{"server, 1.3, cookie", dtls.Server, func(c *dtls.Config) { c.CookieSecret = make([]byte, 32) }, "FEFC", dtls.X25519MLKEM768},
		{"server, 1.3, ChaCha20", dtls.Server, func(c *dtls.Config) { c.CipherSuites = []dtls.CipherSuite{dtls.ChaCha20Poly1305} }, "FEFC", dtls.X25519MLKEM768},
		{"client, 1.3, small MTU", dtls.Client, func(c *dtls.Config) { c.MTU = 300 }, "FEFC", 0},
		{"server, 1.3, small MTU", dtls.Server, func(c *dtls.Config) { c.MTU = 300 }, "FEFC", 0},
		{"client, 1.2", dtls.Client, func(c *dtls.Config) { only(c, dtls.Version12) }, "FEFD", 0},
		{"server, 1.2", dtls.Server, func(c *dtls.Config) { only(c, dtls.Version12) }, "FEFD", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			if c.tune != nil {
				c.tune(cfg)
			}
			udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: host})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { udp.Close() })
			said := make(chan string, 10)
			site := http.NewServeMux()
			site.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				io.WriteString(w, page)
			})
			site.HandleFunc("/offer", func(w http.ResponseWriter, _ *http.Request) {
				setup := map[dtls.Role]string{dtls.Client: "active", dtls.Server: "passive"}[c.role]
				io.WriteString(w, offer(addrOf(udp), setup, cfg.Certificate))
			})
			for _, path := range []string{"/answer", "/stats", "/error"} {
				site.HandleFunc(path, func(_ http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					said <- path + " " + string(b)
				})
			}
			web := httptest.NewServer(site)
			t.Cleanup(web.Close)
			open(web.URL)

			remote := waitForChecks(t, udp)
			s := newSession(t, c.role, cfg, udp, remote)
			s.stun = func(b []byte, from netip.AddrPort) { answerCheck(t, udp, b, from) }
			if dir := os.Getenv("PARLEY_RECORD"); dir != "" {
				s.record, err = os.Create(filepath.Join(dir, browser+" "+c.name+".txt"))
				if err != nil {
					t.Fatal(err)
				}
				defer s.record.Close()
			}
			s.connect()
			st := s.conn.State()
			if c.group != 0 && st.Group != c.group {
				t.Errorf("group %v, want %v", st.Group, c.group)
			}
			// Its SCTP begins with an INIT, which is for others to read.
			s.run("the browser's SCTP", func() bool { return s.data.Len() > 0 })
			var answer string
			var got stats
			s.run("the browser's report", func() bool {
				for {
					select {
					case line := <-said:
						kind, body, _ := strings.Cut(line, " ")
						switch kind {
						case "/answer":
							if err := json.Unmarshal([]byte(body), &answer); err != nil {
								t.Fatal(err)
							}
						case "/stats":
							if err := json.Unmarshal([]byte(body), &got); err != nil {
								t.Fatal(err)
							}
						default:
							t.Fatal(line)
						}
					default:
						return answer != "" && got.DTLSState != ""
					}
				}
			})
			t.Logf("%s: %+v", browser, got)
			if got.TLSVersion != "" && !strings.EqualFold(got.TLSVersion, c.tls) || got.DTLSState != "connected" {
				t.Errorf("%s says %+v, want version %s", browser, got, c.tls)
			}
			if want := map[bool]dtls.Version{true: dtls.Version13, false: dtls.Version12}[c.tls == "FEFC"]; st.Version != want {
				t.Errorf("%v, want %v", st.Version, want)
			}
			_, line, ok := strings.Cut(answer, "a=fingerprint:")
			algorithm, value, _ := strings.Cut(strings.TrimSpace(strings.SplitN(line, "\n", 2)[0]), " ")
			if !ok || !dtls.MatchFingerprint(s.certs[0], []dtls.Fingerprint{{Algorithm: algorithm, Value: value}}) {
				t.Errorf("the certificate that came is not the one of the answer, %s %s", algorithm, value)
			}
			// The keys of DTLS-SRTP are right if they open the browser's media.
			_, keys, err := s.conn.SRTPKeys()
			if err != nil {
				t.Fatal(err)
			}
			in, err := srtp.New(srtp.Config{Profile: srtp.Profile(st.SRTPProfile), Master: keys})
			if err != nil {
				t.Fatal(err)
			}
			packets, reports := 0, 0
			s.media = func(b []byte) {
				b = bytes.Clone(b)
				if rtp.IsRTCP(b) {
					if b, err = in.DecryptRTCP(b); err == nil {
						err = rtcp.Check(b, true)
						reports++
					}
				} else if b, err = in.DecryptRTP(b); err == nil {
					_, err = rtp.Parse(b)
					packets++
				}
				if err != nil {
					t.Error(err)
				}
			}
			s.run("media and reports that our SRTP keys open", func() bool { return packets >= 20 && reports >= 1 })
			if c.tls == "FEFC" {
				if err := s.conn.UpdateKeys(true); err != nil {
					t.Fatal(err)
				}
				s.run("a key update", func() bool { return s.conn.UpdateKeys(false) == nil })
			}
			s.close()
		})
	}
}

// waitForChecks answers connectivity checks until one comes, and returns from where.
func waitForChecks(t *testing.T, udp *net.UDPConn) netip.AddrPort {
	t.Helper()
	buf := make([]byte, 2000)
	udp.SetReadDeadline(time.Now().Add(4 * patience))
	n, from, err := udp.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal("no connectivity check: ", err)
	}
	answerCheck(t, udp, buf[:n], from)
	return from
}

func answerCheck(t *testing.T, udp *net.UDPConn, b []byte, from netip.AddrPort) {
	m, err := stun.Parse(b)
	if err != nil || m.Class() != stun.Request {
		return
	}
	r := stun.Respond(nil, stun.Success, &m)
	r.XORAddress(stun.AttrXORMappedAddress, from)
	r.Integrity(stun.NewHasher(), []byte(icePassword))
	r.Fingerprint()
	response, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	udp.WriteToUDPAddrPort(response, from)
}
