package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/parley-rtc/parley/signaling"
)

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("PARLEY_E2E_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// serving starts `parley serve` on a free port and returns it with its address once it is ready.
func serving(t *testing.T, args ...string) (cmd *exec.Cmd, url string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self, append([]string{"serve", "--http", "127.0.0.1:0", "--https", "off", "--state-dir", t.TempDir()}, args...)...)
	cmd.Env = append(os.Environ(), "PARLEY_E2E_MAIN=1", "CONFIGURATION_DIRECTORY="+t.TempDir())
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var record struct{ Msg, URL string }
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatalf("not a log record: %s", lines.Bytes())
		}
		switch record.Msg {
		case "open here":
			url = record.URL
		case "ready":
			go io.Copy(io.Discard, log) // what it says from now on is not asked for
			return cmd, url
		}
	}
	t.Fatalf("it never was ready: %v", lines.Err())
	return nil, ""
}

func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	cmd, url := serving(t, "--drain", "1h")
	peer, err := signaling.Dial(t.Context(), url+"/r/kitchen", signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		event, err := peer.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := event.(*signaling.Draining); ok {
			break
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("after the second signal: %v", err)
	}
}

func TestOneSignalEndsAnEmptyServer(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	cmd, _ := serving(t)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
