package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

// A page and a Go program that both have nothing but the relay, over everything that it speaks. In a relayed call the
// server stands still for three seconds, and nothing of what was said is lost.
func TestRobotOverRelay(t *testing.T) {
	const name = "kitchen-server.local"
	for _, c := range []struct {
		name  string
		ways  []string
		start func(t *testing.T, house *household) browser
	}{
		{"Chromium", []string{"udp", "tcp", "tls"}, func(t *testing.T, house *household) browser {
			needs(t, needChromium)
			return launch(t, browserOptions{netns: house.phone.ns, home: house.profile, names: "MAP " + name + " 192.168.78.10"})
		}},
		// Firefox cannot be told where the name is found that the relay over TLS is offered by.
		{"Firefox", []string{"udp", "tcp"}, func(t *testing.T, house *household) browser {
			need.Long(t)
			needs(t, needFirefox)
			return house.firefox(t)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			needs(t, needCertutil, needNamespaces)
			lan := newLAN(t, "192.168.78.10", "192.168.78.11")
			house := newHousehold(t, lan[0], lan[1], "--name", name)
			throughRelays(t, house, c.start(t, house), c.ways)
		})
	}
}

func throughRelays(t *testing.T, house *household, b browser, ways []string) {
	t.Helper()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			room := "robots-" + way
			o := robotOptions{Link: house.base + "/r/" + room, Only: "transport=" + way}
			choose := only(":3478?transport=" + way)
			if way == "tls" {
				o.Only, o.Also = "turns:192.168.78.10", "turns:192.168.78.10:5349?transport=tcp"
				choose = only(":5349")
			}
			house.robot(t, house.phone, o)
			ada := b.person(t, "Ada", personOptions{})
			ada.open(house.base + "/healthz")
			ada.joinsRobots(room, fmt.Sprintf("{relayOnly: true, iceServers: %s}", choose))
			ada.meetsRobot()
			if got := eval[string](ada, relayed); !strings.HasPrefix(got, way+" ") { // Firefox does not say which relay
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
			house.server.cmd.Process.Signal(syscall.SIGSTOP)
			talked := eval[int](ada, `(async () => {
				const before = frozen.sent;
				await new Promise((resolve) => setTimeout(resolve, 3000));
				return frozen.sent - before;
			})()`)
			house.server.cmd.Process.Signal(syscall.SIGCONT)
			if talked == 0 {
				t.Error("nothing was said while the server stood still")
			}
			ada.until("hears all", fmt.Sprintf("frozen.heard.length >= %d && frozen.heard.every((s, i) => s === String(i + 1))", eval[int](ada, "frozen.sent")))
			eval[any](ada, "clearInterval(timer)")
		})
	}
}
