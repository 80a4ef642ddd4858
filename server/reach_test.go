package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/signaling"
)

func TestPeopleReadWhyTheyAreRefused(t *testing.T) {
	r := start(t, Config{})
	resp, body := r.do("GET", r.http()+"/", func(req *http.Request) {
		req.Host = "evil.example<script>"
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
	})
	if resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "host-forbidden") || !strings.Contains(body, "--name") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if strings.Contains(body, "<script>") {
		t.Error("the page repeats markup from the Host")
	}
}

func TestInvitationNeverSaysLocalhost(t *testing.T) {
	r := start(t, Config{})
	peer, err := signaling.Dial(t.Context(), r.http()+"/r/kitchen", signaling.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if want := fmt.Sprintf("https://192.168.1.5:%d/r/kitchen", r.reach.https.port); peer.Link() != want {
		t.Errorf("link is %q, want %q", peer.Link(), want)
	}
}

func TestWhereItCanBeOpened(t *testing.T) {
	n := &fakeMachine{}
	n.set("kitchen", "192.168.1.5", "fd00::5", "203.0.113.7", "fe80::5", "127.0.0.1")
	for _, c := range []struct {
		reach                   reach
		here, network, internet string
	}{
		{reach{http: place{"", 8080}, https: place{"", 8443}}, "http://localhost:8080", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"localhost", 80}, https: place{"::", 443}}, "http://localhost", "https://192.168.1.5 https://[fd00::5]", ""},
		{reach{https: place{"", 8443}}, "https://localhost:8443", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}, https: place{"", 8443}}, "https://localhost:8443", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}, https: place{"192.168.1.5", 8443}}, "https://192.168.1.5:8443", "https://192.168.1.5:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}}, "http://192.168.1.5:8080", "", ""},
		{reach{http: place{"127.0.0.1", 8080}, https: place{"127.0.0.1", 8443}}, "http://localhost:8080", "", ""},
		{reach{http: place{"", 8080}, https: place{"", 8443}, names: []string{"kitchen.lan"}}, "http://localhost:8080",
			"https://192.168.1.5:8443 https://[fd00::5]:8443 https://kitchen.lan:8443", ""},
		{reach{http: place{"", 80}, https: place{"", 443}, internet: []string{"call.example", "2001:db8::7"}}, "http://localhost",
			"https://192.168.1.5 https://[fd00::5]", "https://call.example https://[2001:db8::7]"},
		{reach{http: place{"localhost", 8080}, internet: []string{"call.example"}, proxied: true}, "http://localhost:8080", "", "https://call.example"},
	} {
		c.reach.watch = machine.NewWatch(n.look)
		here, network, internet := c.reach.fromHere(), strings.Join(c.reach.fromNetwork(), " "), strings.Join(c.reach.fromInternet(), " ")
		if here != c.here || network != c.network || internet != c.internet {
			t.Errorf("http %v, https %v:\n%s | %s | %s, want\n%s | %s | %s", c.reach.http, c.reach.https, here, network, internet, c.here, c.network, c.internet)
		}
	}
}

func TestTrustPage(t *testing.T) {
	r := start(t, Config{Names: []string{"call.home.example"}})
	resp, body := r.get(r.https() + "/trust")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if !strings.Contains(strings.ReplaceAll(body, "<wbr>", ""), r.authority.Fingerprint()) {
		t.Error("the page does not show the fingerprint")
	}
	for _, want := range []string{r.authority.Name(), "call.home.example", fmt.Sprintf("https://192.168.1.5:%d/trust", r.reach.https.port),
		"<svg viewBox=", "iPhone", "Android", "Windows", "Mac", "Chromium", "Firefox", "To remove it"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// The policy allows the page's own style by its hash, and nothing else.
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatal("no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the policy %q does not fit the style", policy)
	}
	if regexp.MustCompile(`style="|<script|(src|href)="https?://(?:[^1]|1[^9])`).MatchString(body) {
		t.Error("the page has inline style, a script or a foreign address")
	}

	resp, crt := r.get(r.https() + certPath)
	block, _ := pem.Decode([]byte(crt))
	if resp.Header.Get("Content-Type") != "application/x-x509-ca-cert" || block == nil || !bytes.Equal(block.Bytes, r.authority.Certificate().Raw) {
		t.Errorf(".crt: %s\n%s", resp.Header.Get("Content-Type"), crt)
	}
	resp, profile := r.get(r.https() + profilePath)
	if resp.Header.Get("Content-Type") != "application/x-apple-aspen-config" || profile != string(r.authority.Profile()) {
		t.Errorf(".mobileconfig: %s", resp.Header.Get("Content-Type"))
	}
}

func TestTrustIsForTheLocalNetwork(t *testing.T) {
	r := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Domains: []string{"call.example"}, HTTPS: "off"})
	for _, path := range []string{trustPath, certPath, profilePath} {
		for addr, want := range map[string]int{"8.8.8.8": http.StatusForbidden, "192.168.1.9": http.StatusOK} {
			resp, _ := r.do("GET", r.http()+path, func(req *http.Request) {
				req.Host = "call.example"
				req.Header.Set("Forwarded", "for="+addr+";proto=https")
			})
			if resp.StatusCode != want {
				t.Errorf("%s from %s: %s", path, addr, resp.Status)
			}
		}
	}
}

func TestMovedPortIsSaid(t *testing.T) {
	w := &welcome{moved: []string{"Port 8080 is taken by another program, so http is on 8081."}, here: "http://localhost:8081", network: []string{"https://192.168.1.5:8443"},
		trust: "https://192.168.1.5:8443/trust", fingerprint: "AB:CD", state: "/state"}
	var out strings.Builder
	w.print(&out)
	for _, want := range []string{"Port 8080 is taken", "http://localhost:8081", "https://192.168.1.5:8443", "█", "Local network    works", "--domain", "one call in five", "AB:CD", "/state"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "passphrase") {
		t.Errorf("a passphrase is spoken of where it does not matter:\n%s", out.String())
	}
}

func TestWelcomeOnTheInternet(t *testing.T) {
	w := &welcome{here: "http://localhost", internet: []string{"https://call.example"}, passphrase: "abcd-efgh-ijkl", kept: "/state/passphrase", certificate: "call.example: good"}
	var out strings.Builder
	w.print(&out)
	for _, want := range []string{"https://call.example", "abcd-efgh-ijkl", "call.example: good"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	var logged bytes.Buffer
	w.log(slog.New(slog.NewJSONHandler(&logged, nil)))
	if strings.Contains(logged.String(), "abcd") || !strings.Contains(logged.String(), "/state/passphrase") {
		t.Errorf("the log has the passphrase, or not where it is: %s", logged.String())
	}
}

func TestPublicNeedsAnAddress(t *testing.T) {
	n := &fakeMachine{}
	n.set("kitchen", "192.168.1.5")
	_, err := newServer(Config{Public: []string{auto}, HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", StateDir: t.TempDir(), look: n.look, Logger: slog.New(slog.DiscardHandler)})
	if _, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(err.Error(), "--public=203.0.113.7") {
		t.Errorf("got %v", err)
	}
	n.set("kitchen", "192.168.1.5", "203.0.113.7", "2001:db8::7", "fe80::1")
	if got := internetNames(&Config{Public: []string{auto}, Domains: []string{"Büro.example"}}, n.look(), nil); strings.Join(got, " ") != "xn--bro-hoa.example 203.0.113.7 2001:db8::7" {
		t.Errorf("known on the internet as %q", got)
	}
}
