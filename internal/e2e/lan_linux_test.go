package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
)

// Two machines of a local network: one runs `parley serve` and nothing else, the other has taken the authority from
// /trust. No certificate is excused, so what the browser shows is what people get.
func TestLocalNetwork(t *testing.T) {
	needs(t, needChromium, needCertutil, needNamespaces)
	lan := newLAN(t, "192.168.77.10", "192.168.77.11")
	home, phone := lan[0], lan[1]
	proc := start(t, home.command(parley(t), "serve", "--state-dir", filepath.Join(t.TempDir(), "state")))
	proc.ready(home.client(), "http://127.0.0.1:8080")

	// Plain http from another device is sent to https.
	res, err := phone.client().Get("http://192.168.77.10:8080/r/kitchen")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if to := res.Header.Get("Location"); res.StatusCode/100 != 3 || to != "https://192.168.77.10:8443/r/kitchen" {
		t.Errorf("plain http from another device: %s, Location %q", res.Status, to)
	}

	// Without the authority the browser warns: so the test does see certificates.
	stranger := launch(t, browserOptions{netns: phone.ns}).person(t, "Stranger", personOptions{})
	if err := stranger.visit("https://192.168.77.10:8443/"); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
		t.Errorf("a browser that does not know the authority: %v, want ERR_CERT_AUTHORITY_INVALID", err)
	}

	profile := t.TempDir()
	trust(t, profile, authorityOf(t, phone, "https://192.168.77.10:8443"))
	bob := launch(t, browserOptions{netns: phone.ns, home: profile}).person(t, "Bob", personOptions{})
	ada := launch(t, browserOptions{netns: home.ns}).person(t, "Ada", personOptions{})
	ada.opensRoom("http://localhost:8080")
	invitation := ada.invites()
	if !strings.HasPrefix(invitation, "https://192.168.77.10:8443/r/") {
		t.Errorf("the invitation is %s: others cannot reach that", invitation)
	}
	ada.click("copy-link")
	ada.decides(cdpbrowser.PermissionSettingGranted, "clipboard-read")
	ada.until("has copied the invitation", fmt.Sprintf("await navigator.clipboard.readText() === %q", invitation))
	bob.open(invitation)
	if !eval[bool](bob, "isSecureContext") {
		t.Error("the address of the local network is no secure context")
	}
	bob.goesIn()
	meet(ada, bob)
	bob.says("hello from the other room")
	ada.hears("hello from the other room")
	for _, p := range []*tab{ada, bob} {
		path := eval[string](p, "e2e.calls().then(([c]) => c.local + ' to ' + c.remote)")
		t.Logf("%s: %s", p.name, path)
		if !strings.Contains(path, "192.168.77.10") && !strings.Contains(path, "192.168.77.11") && !strings.Contains(path, "fe80") {
			t.Errorf("%s: the call does not go over the local network: %s", p.name, path)
		}
	}
	// The phone goes to another network: it has another address, and the call finds its way.
	moved := time.Now()
	ip(t, phone.ns, "addr del 192.168.77.11/24 dev eth0", "addr add 192.168.77.12/24 dev eth0", "route replace default dev eth0")
	for _, p := range []*tab{ada, bob} {
		p.until("is connected to where the phone is now", `(await e2e.calls()).some((c) => c.state === 'connected' && (c.local + c.remote).includes('192.168.77.12'))`)
		decoded := eval[float64](p, "e2e.calls().then(([c]) => c.framesDecoded)")
		p.until("gets pictures from there", fmt.Sprintf("(await e2e.calls())[0].framesDecoded > %f", decoded+20))
	}
	t.Logf("the call has found the phone's new address after %.1f s", time.Since(moved).Seconds())
	if os.Getenv("PARLEY_LONG") != "" {
		// Chromium 156 decodes them, but now and then goes on showing the last one from before, whatever the element is given:
		// known, and not yet understood.
		meet(ada, bob)
	}
}

// authorityOf takes the server's authority from where /trust points.
func authorityOf(t *testing.T, h *host, base string) []byte {
	t.Helper()
	c := h.client()
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // as after the browser's warning
	fetch := func(url string) (*http.Response, []byte) {
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v %s", url, res.Status, err, b)
		}
		return res, b
	}
	_, html := fetch(base + "/trust")
	for _, part := range strings.Split(string(html), `href="`)[1:] {
		link, _, _ := strings.Cut(part, `"`)
		if strings.HasSuffix(link, ".crt") {
			_, crt := fetch(base + "/" + strings.TrimPrefix(link, "/"))
			return crt
		}
	}
	t.Fatalf("/trust links to no .crt:\n%s", html)
	return nil
}

// trust gives an authority to the Chromiums whose HOME is home, as a user does by their settings.
func trust(t *testing.T, home string, authority []byte) {
	t.Helper()
	trustIn(t, filepath.Join(home, ".pki", "nssdb"), authority)
}

// trustIn puts an authority into the database of a browser, which is made.
func trustIn(t *testing.T, db string, authority []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "authority.crt")
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-N", "--empty-password"},
		{"-A", "-n", "authority", "-t", "C,,", "-i", file},
	} {
		if out, err := exec.Command("certutil", append([]string{"-d", "sql:" + db}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %q: %v: %s", args, err, out)
		}
	}
}
