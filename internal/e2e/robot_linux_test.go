package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A page and a Go program that both have nothing but the relay, over everything that it speaks. In a relayed call the
// server stands still for three seconds, and nothing of what was said is lost.
func TestRobotOverRelay(t *testing.T) {
	need(t, needChromium, needCertutil, needNamespaces)
	lan := newLAN(t, "192.168.78.10", "192.168.78.11")
	home, phone := lan[0], lan[1]
	const base = "https://192.168.78.10:8443"
	const name = "kitchen-server.local"
	server := start(t, home.command(parley(t), "serve", "--name", name, "--state-dir", filepath.Join(t.TempDir(), "state")))
	server.ready(home.client(), "http://127.0.0.1:8080")
	authority := authorityOf(t, phone, base)
	profile := t.TempDir()
	trust(t, profile, authority)
	roots := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(roots, authority, 0o644); err != nil {
		t.Fatal(err)
	}
	b := launch(t, browserOptions{netns: phone.ns, home: profile, names: "MAP " + name + " 192.168.78.10"})
	for _, way := range []string{"udp", "tcp", "tls"} {
		t.Run(way, func(t *testing.T) {
			room := "robots-" + way
			o := robotOptions{Link: base + "/r/" + room, Only: "transport=" + way}
			choose := only(":3478?transport=" + way)
			if way == "tls" {
				o.Only, o.Also = "turns:192.168.78.10", "turns:192.168.78.10:5349?transport=tcp"
				choose = only(":5349")
			}
			startRobot(t, o, func(cmd *exec.Cmd) *exec.Cmd {
				cmd.Env = append(cmd.Environ(), "SSL_CERT_FILE="+roots)
				return inNamespace(cmd, phone.ns)
			})
			ada := b.person(t, "Ada", personOptions{})
			ada.open(base + "/healthz")
			ada.joinsRobots(room, fmt.Sprintf("{relayOnly: true, iceServers: %s}", choose))
			ada.meetsRobot()
			if got := eval[string](ada, relayed); !strings.HasPrefix(got, way+" turn") {
				t.Errorf("Ada is connected over %q", got)
			}
			if got := eval[robotPath](ada, askPath); got.Type != "relay" || got.RelayProtocol != way {
				t.Errorf("the robot is connected over %+v", got)
			}
			if got := eval[string](ada, echoes); got != "again" {
				t.Errorf("the robot said %q", got)
			}
			if way != "udp" {
				return
			}
			eval[any](ada, `(async () => {
				const ch = window.frozen = await channel('echo');
				window.timer = setInterval(() => ch.send(String(ch.sent = (ch.sent ?? 0) + 1)), 20);
			})()`)
			ada.until("hears the robot", "frozen.heard.length > 20")
			server.cmd.Process.Signal(syscall.SIGSTOP)
			stopped := eval[int](ada, "frozen.sent")
			ada.until("has talked for three seconds to nobody", fmt.Sprintf("frozen.sent >= %d", stopped+150))
			server.cmd.Process.Signal(syscall.SIGCONT)
			ada.until("hears all", fmt.Sprintf("frozen.heard.length >= %d && frozen.heard.every((s, i) => s === String(i + 1))", stopped+150))
			eval[any](ada, "clearInterval(timer)")
		})
	}
}
