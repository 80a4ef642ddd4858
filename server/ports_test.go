package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

func TestPortTaken(t *testing.T) {
	busy, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	address := fmt.Sprintf(":%d", port)

	lns, got, err := listen("http", address, true)
	if err != nil || got == port {
		t.Fatalf("a default port that is taken: %d, %v", got, err)
	}
	lns[0].Close()

	_, _, err = listen("https", address, false)
	wrong, ok := errors.AsType[*ListenError](err)
	if !ok || wrong.Setting != "https" || !strings.Contains(err.Error(), "--https "+address) || !strings.Contains(err.Error(), fmt.Sprintf("another program listens there already. Stop it, or choose another port, as --https :%d", port+1)) {
		t.Errorf("a configured port that is taken: %v", err)
	}

	// Taken for loopback alone, it is still not ours.
	loopback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer loopback.Close()
	port = loopback.Addr().(*net.TCPAddr).Port
	if lns, got, err = listen("http", fmt.Sprintf(":%d", port), true); err != nil || got == port {
		t.Errorf("a default port that is taken on loopback: %d, %v", got, err)
	}
	for _, ln := range lns {
		ln.Close()
	}
}

// A machine with several addresses, some of which another program has: the server takes those that it is told, on one port.
func TestSeveralAddresses(t *testing.T) {
	port := need.Port(t)
	other, err := net.Listen("tcp", fmt.Sprintf("127.0.0.3:%d", port))
	if err != nil {
		t.Skip("this system has one loopback address: ", err)
	}
	defer other.Close()
	r := start(t, Config{TURN: fmt.Sprintf("127.0.0.1:%d,127.0.0.2:%[1]d", port), HTTPS: fmt.Sprintf("127.0.0.1:%d,127.0.0.2:%[1]d", port+1)})
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		askSTUN(t, "udp", fmt.Sprintf("%s:%d", host, port))
		askSTUN(t, "tcp", fmt.Sprintf("%s:%d", host, port))
		askSTUN(t, "tcp", fmt.Sprintf("%s:%d", host, port+1))
	}
	if r.turn.at.turn.port != port || r.turn.at.turn.everywhere() {
		t.Errorf("the relay is at %+v", r.turn.at.turn)
	}
}

func TestLocalhostIsTwoAddresses(t *testing.T) {
	lns, port, err := listen("http", "localhost:0", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, ln := range lns {
		defer ln.Close()
		if a := ln.Addr().(*net.TCPAddr); !a.IP.IsLoopback() || a.Port != port {
			t.Errorf("listens at %v", a)
		}
	}
}

func TestPortWithoutPrivilege(t *testing.T) {
	err := &ListenError{"https", ":443", &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}}
	if !strings.Contains(err.Error(), "--https :443") {
		t.Errorf("%v", err)
	}
	if strings.Contains(privilegeHelp("https"), "setcap") {
		for _, want := range []string{"sudo setcap cap_net_bind_service=+ep ", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "--https :8443"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	}
}

func TestSilentConnectionsDoNotBlockOthers(t *testing.T) {
	r := start(t, Config{})
	for range 50 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.https(), "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if resp, _ := r.get(r.https() + "/healthz"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	bounded := limited{ln, newPlaces(1, 1, nil)}
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := bounded.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one too many was served")
	}
	first.Close()
	first.Close() // twice is no second place
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one too many was served after a place was left")
	}
}
