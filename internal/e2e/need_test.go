package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

// A requirement is something that a test needs from the machine and that Go does not bring.
type requirement struct {
	name string
	get  string // how a person gets it, as the end of "needs <name>; "
	have func() bool
}

var (
	needChromium = requirement{
		name: "Chromium",
		get:  "on Debian: apt-get install chromium",
		have: func() bool { return chromiumPath() != "" },
	}
	needFirefox = requirement{
		name: "Firefox",
		get:  "on Debian: apt-get install firefox-esr",
		have: func() bool { return firefoxPath() != "" },
	}
	needCertutil = requirement{
		name: "certutil, to give Chromium an authority",
		get:  "on Debian: apt-get install libnss3-tools",
		have: program("certutil"),
	}
	needNamespaces = requirement{
		name: "network namespaces",
		get:  "run as root on Linux; on Debian: apt-get install iproute2",
		have: func() bool {
			return runtime.GOOS == "linux" && os.Geteuid() == 0 && program("ip")() && namespacesWork()
		},
	}
	needPebble = requirement{
		name: "Pebble, an authority that speaks ACME",
		get:  "on Debian: apt-get install pebble",
		have: program("pebble"),
	}
	needAxe = requirement{
		name: "axe-core",
		get:  "in web: npm ci",
		have: func() bool { _, err := os.Stat(axePath()); return err == nil },
	}
)

// needs skips the test on a machine that lacks something, and says what to install.
func needs(t *testing.T, what ...requirement) {
	t.Helper()
	for _, r := range what {
		if !r.have() {
			need.Missing(t, r.name, r.get)
		}
	}
}

func program(name string) func() bool {
	return func() bool { _, err := exec.LookPath(name); return err == nil }
}

// namespacesWork tells a root that may make network namespaces from one that may not, as in most containers.
func namespacesWork() bool {
	return exec.Command("ip", "netns", "add", probeNS).Run() == nil && probeGone()
}

var probeNS = fmt.Sprintf("parley-e2e-%d-probe", os.Getpid())

func probeGone() bool { return exec.Command("ip", "netns", "del", probeNS).Run() == nil }

// chromiumPath is where Chromium is, or "". PARLEY_CHROMIUM names another.
func chromiumPath() string {
	return firstProgram(os.Getenv("PARLEY_CHROMIUM"),
		"chromium", "chromium-browser", "google-chrome-stable", "google-chrome",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
		"/Applications/Chromium.app/Contents/MacOS/Chromium")
}

// firstProgram is the path of the first of some programs that is there, or "".
func firstProgram(names ...string) string {
	for _, name := range names {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func axePath() string {
	return filepath.Join(moduleRoot(), "web", "node_modules", "axe-core", "axe.min.js")
}
