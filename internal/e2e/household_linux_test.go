package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A household is a machine that runs `parley serve`, and a phone that has taken the authority from /trust there.
type household struct {
	home, phone *host
	server      *process
	base        string // of the server's URLs, for the phone
	profile     string // HOME of a browser that trusts the server
	authority   []byte // the server's, in PEM
	roots       string // the file of it
}

func newHousehold(t *testing.T, home, phone *host, flags ...string) *household {
	t.Helper()
	h := &household{home: home, phone: phone, base: "https://" + home.addr + ":8443", profile: t.TempDir(), roots: filepath.Join(t.TempDir(), "authority.pem")}
	h.server = start(t, home.command(parley(t), append([]string{"serve", "--state-dir", filepath.Join(t.TempDir(), "state")}, flags...)...))
	h.server.ready(home.client(), "http://127.0.0.1:8080")
	h.authority = authorityOf(t, phone, h.base)
	trust(t, h.profile, h.authority)
	if err := os.WriteFile(h.roots, h.authority, 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// robot starts a robot at one of the household's machines.
func (h *household) robot(t *testing.T, at *host, o robotOptions) {
	t.Helper()
	startRobot(t, o, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Environ(), "SSL_CERT_FILE="+h.roots)
		return inNamespace(cmd, at.ns)
	})
}

// firefox starts a browser on the phone that trusts the server, and ends with the test.
func (h *household) firefox(t *testing.T) *firefox {
	t.Helper()
	profile := t.TempDir()
	trustIn(t, profile, h.authority)
	f, stop, err := startFirefox(h.phone.ns, &http.Client{Transport: &http.Transport{DialContext: h.phone.dial}}, t.TempDir(), profile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return f
}
