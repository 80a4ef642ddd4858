package sctp_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// usrsctp builds the peer and returns its path.
func usrsctp(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "peer")
	cc, err := exec.LookPath("cc")
	_, header := os.Stat("/usr/include/usrsctp.h")
	if err != nil || header != nil {
		need.Missing(t, "usrsctp and a C compiler", "on Debian: apt-get install gcc libc6-dev libusrsctp-dev")
	}
	if out, err := exec.Command(cc, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, "usrsctp/peer.c", "-lusrsctp", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("building the peer: %v\n%s", err, out)
	}
	return program
}

// Both directions at once, on two streams each, with interleaving and without; both ends begin.
func TestUsrsctp(t *testing.T) {
	program := usrsctp(t)
	for _, interleaved := range []bool{true, false} {
		t.Run(fmt.Sprint("interleaved ", interleaved), func(t *testing.T) {
			size := volume()
			ours, theirs := pair(t)
			socket, err := theirs.File()
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			flag := "0"
			if interleaved {
				flag = "1"
			}
			cmd := exec.Command(program, fmt.Sprint(size), fmt.Sprint(messageSize), flag)
			cmd.Stderr = os.Stderr
			cmd.ExtraFiles = []*os.File{socket} // what comes before the peer is ready waits there
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			e := begin(t, ours, size, sctp.Config{})
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			want := map[string]bool{fmt.Sprintf("up %s", flag): true}
			for _, id := range streams {
				want[fmt.Sprintf("stream %d bytes %d hash %x", id, size, uint64(expected(id, size)))] = true
			}
			heard := make(chan error, 1)
			go func() {
				for lines := bufio.NewScanner(out); len(want) > 0; {
					if !lines.Scan() {
						heard <- fmt.Errorf("the peer ended, and did not say %v", want)
						return
					}
					if !want[lines.Text()] {
						heard <- fmt.Errorf("the peer said %q, and we waited for %v", strings.TrimSpace(lines.Text()), want)
						return
					}
					delete(want, lines.Text())
				}
				heard <- nil
			}()
			e.wait(interleaved, sctp.DefaultMaxPacket)
			if err := <-heard; err != nil {
				t.Error(err)
			}
			in.Close()
			cmd.Wait()
		})
	}
}
