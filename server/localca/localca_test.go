package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"encoding/xml"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/state"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func stateDir(t *testing.T) *state.Dir {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func authority(t *testing.T, dir *state.Dir, now time.Time, names ...string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verify(a *Authority, der []byte, name string, now time.Time) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
	return err
}

// Whoever has the authority's key can sign what they like; the constraints have to make it worthless.
func TestConstraints(t *testing.T) {
	a := authority(t, stateDir(t), start, "pantry", "pantry.local", "app") // a machine may be called as a domain of the internet is
	for name, permitted := range map[string]bool{
		"localhost":         true,
		"app.localhost":     true,
		"pantry":            true,
		"pantry.local":      true,
		"other.local":       true,
		"127.0.0.1":         true,
		"10.1.2.3":          true,
		"172.16.9.9":        true,
		"192.168.1.5":       true,
		"169.254.7.7":       true,
		"100.64.0.1":        true,
		"::1":               true,
		"fd00::5":           true,
		"fe80::5":           true,
		"www.example.com":   false,
		"login.cash.app":    false,
		"app":               false,
		"example.com":       false,
		"local.example.com": false,
		"notlocal":          false,
		"pantries":          false,
		"8.8.8.8":           false,
		"172.32.0.1":        false,
		"192.169.1.1":       false,
		"2001:db8::1":       false,
		"::2":               false,
	} {
		if got := a.Permits(name); got != permitted {
			t.Errorf("Permits(%s) = %v", name, got)
		}
		der, err := a.sign([]string{name}, key(t), start)
		if err != nil {
			t.Fatal(err)
		}
		err = verify(a, der, name, start)
		if permitted && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !permitted && !strings.Contains(errText(err), "not permitted") {
			t.Errorf("%s: verified with %v, want that it is not permitted", name, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func TestAuthorityCertificate(t *testing.T) {
	a := authority(t, stateDir(t), start, "pantry", "pantry.local", "bad name", "")
	c := a.Certificate()
	if !c.PermittedDNSDomainsCritical || !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("constraints critical %v, CA %v, path length %d", c.PermittedDNSDomainsCritical, c.IsCA, c.MaxPathLen)
	}
	critical := false
	for _, e := range c.Extensions {
		if e.Id.String() == "2.5.29.30" { // id-ce-nameConstraints
			critical = e.Critical
		}
	}
	if !critical {
		t.Error("the name constraints are not critical")
	}
	if pub, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		t.Errorf("key is %T", c.PublicKey)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("usages %v", c.ExtKeyUsage)
	}
	if want := []string{"pantry", "pantry.local"}; !slices.Equal(a.OwnNames(), want) {
		t.Errorf("own names %q, want %q", a.OwnNames(), want)
	}
	block, rest := pem.Decode(a.PEM())
	if block == nil || len(rest) > 0 || !bytes.Equal(block.Bytes, c.Raw) {
		t.Error("PEM is something else than the certificate")
	}
	if f := a.Fingerprint(); len(f) != 32*3-1 || strings.Count(f, ":") != 31 {
		t.Errorf("fingerprint %q", f)
	} else if _, err := hex.DecodeString(strings.ReplaceAll(f, ":", "")); err != nil {
		t.Error(err)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	dir := stateDir(t)
	first := authority(t, dir, start, "pantry")
	again := authority(t, dir, start.AddDate(9, 0, 0), "pantry")
	if !first.cert.Equal(again.cert) || !first.key.Equal(again.key) {
		t.Error("a restart has made another authority")
	}
	if later := authority(t, dir, start.AddDate(10, 0, 0), "pantry"); later.cert.Equal(first.cert) {
		t.Error("an authority was kept beyond its end")
	}
}

func TestBrokenAuthority(t *testing.T) {
	dir := stateDir(t)
	if err := dir.Write(authorityFile, []byte("cut of")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, nil, start); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func here(name string, addrs ...string) *machine.Here {
	h := &machine.Here{Hostname: name}
	for _, a := range addrs {
		h.Addrs = append(h.Addrs, netip.MustParseAddr(a))
	}
	return h
}

func leaf(t *testing.T, dir *state.Dir, a *Authority, h *machine.Here, now time.Time, names ...string) (*Leaf, []string) {
	t.Helper()
	l, left, err := OpenLeaf(dir, a, h, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return l, left
}

func TestLeaf(t *testing.T) {
	dir := stateDir(t)
	a := authority(t, dir, start, "pantry", "pantry.local", "call.home.example")
	l, left := leaf(t, dir, a, here("pantry", "192.168.1.5", "fd00::5", "203.0.113.7", "fe80::5"), start, "call.home.example", "elsewhere.example")
	if !slices.Equal(left, []string{"elsewhere.example"}) {
		t.Errorf("left out %q", left)
	}
	cert := l.Certificate()
	if life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore); life > 398*24*time.Hour || life < 300*24*time.Hour {
		t.Errorf("it lives for %v", life)
	}
	for _, name := range []string{"localhost", "pantry", "pantry.local", "call.home.example", "127.0.0.1", "::1", "192.168.1.5", "fd00::5", "fe80::5"} {
		if err := verify(a, cert.Certificate[0], name, start); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cert.Leaf.VerifyHostname("203.0.113.7") == nil || cert.Leaf.VerifyHostname("elsewhere.example") == nil {
		t.Errorf("it is for %v %v", cert.Leaf.DNSNames, cert.Leaf.IPAddresses)
	}
}

func TestLeafFollowsTheMachine(t *testing.T) {
	dir := stateDir(t)
	a := authority(t, dir, start, "pantry")
	home := here("pantry", "192.168.1.5")
	l, _ := leaf(t, dir, a, home, start)
	first := l.Certificate()

	update := func(h *machine.Here, now time.Time, want bool) *tls.Certificate {
		t.Helper()
		if _, made, err := l.Update(h, nil, now); err != nil || made != want {
			t.Fatalf("made anew: %v, %v; want %v", made, err, want)
		}
		return l.Certificate()
	}
	update(home, start.AddDate(0, 6, 0), false)
	moved := update(here("pantry", "10.0.0.7"), start, true)
	if moved.Leaf.VerifyHostname("10.0.0.7") != nil || moved.Leaf.VerifyHostname("192.168.1.5") == nil {
		t.Errorf("after the move it is for %v", moved.Leaf.IPAddresses)
	}
	if !moved.PrivateKey.(*ecdsa.PrivateKey).Equal(first.PrivateKey) {
		t.Error("the key has changed")
	}
	late := moved.Leaf.NotAfter.AddDate(0, 0, -29)
	if renewed := update(here("pantry", "10.0.0.7"), late, true); !renewed.Leaf.NotAfter.After(late.AddDate(1, 0, 0)) {
		t.Errorf("renewed until %v", renewed.Leaf.NotAfter)
	}
	// A restart finds the same certificate; another authority needs another one.
	again, _ := leaf(t, dir, a, here("pantry", "10.0.0.7"), late)
	if !again.Certificate().Leaf.Equal(l.Certificate().Leaf) {
		t.Error("a restart has made another certificate")
	}
	other := authority(t, stateDir(t), start, "pantry")
	if signed, _ := leaf(t, dir, other, here("pantry", "10.0.0.7"), late); verify(other, signed.Certificate().Certificate[0], "10.0.0.7", late) != nil {
		t.Error("the certificate of another authority was kept")
	}
}

func TestBrokenLeafIsMadeAnew(t *testing.T) {
	dir := stateDir(t)
	a := authority(t, dir, start)
	if err := dir.Write(leafFile, []byte("cut of")); err != nil {
		t.Fatal(err)
	}
	if l, _ := leaf(t, dir, a, here(""), start); verify(a, l.Certificate().Certificate[0], "localhost", start) != nil {
		t.Error("it does not verify")
	}
}

func TestProfile(t *testing.T) {
	a := authority(t, stateDir(t), start, "k&k<itchen") // not a name, so only the title has it
	profile := a.Profile()
	if !bytes.Equal(profile, a.Profile()) {
		t.Error("two profiles of one authority differ")
	}
	var values []string
	for d := xml.NewDecoder(bytes.NewReader(profile)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			values = append(values, strings.TrimSpace(string(text)))
		}
	}
	for _, want := range []string{"com.apple.security.root", a.Name(), base64.StdEncoding.EncodeToString(a.cert.Raw)} {
		if !slices.Contains(values, want) {
			t.Errorf("the profile has no %q", want)
		}
	}
}
