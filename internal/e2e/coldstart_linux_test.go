package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

// A new user: a clone, empty caches, the README's command, two tabs, a call.
func TestColdStart(t *testing.T) {
	need.Long(t)
	needs(t, needChromium)
	dir := t.TempDir()
	clone := filepath.Join(dir, "parley")
	if out, err := exec.Command("git", "clone", "--quiet", moduleRoot(), clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	readme, err := os.ReadFile(filepath.Join(clone, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^\s*(go run \./cmd/parley serve)\s*$`).FindSubmatch(readme)
	if command == nil {
		t.Fatal("the README has no line with the command that starts a server")
	}
	words := strings.Fields(string(command[1]))

	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = clone
	cmd.Env = append(os.Environ(), "GOMODCACHE="+filepath.Join(dir, "mod"), "GOCACHE="+filepath.Join(dir, "build"),
		"GOFLAGS=-modcacherw", "HOME="+filepath.Join(dir, "home"), "XDG_STATE_HOME=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run does not end what it runs
	began := time.Now()
	p := start(t, cmd)
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	var url string
	for deadline := began.Add(10 * time.Minute); url == ""; {
		if err := p.ended(); err != nil || time.Now().After(deadline) {
			t.Fatalf("no server after %v: %v", time.Since(began), err)
		}
		url = regexp.MustCompile(`http://localhost:\d+`).FindString(p.output())
		<-time.After(100 * time.Millisecond)
	}
	p.ready(http.DefaultClient, url)
	t.Logf("from `%s` with empty caches to ready: %.1f s", command[1], time.Since(began).Seconds())

	b := sharedChromium(t)
	ada := b.person(t, "Ada", personOptions{})
	link := ada.opensRoom(url)
	bob := b.person(t, "Bob", personOptions{})
	bob.joins(link)
	meet(ada, bob)
	t.Logf("to the first call: %.1f s", time.Since(began).Seconds())
}
