// Package e2e shows Parley from outside: the program that people start, real browsers with cameras of their own
// making, real networks made of namespaces, a real certificate authority. It has tests only.
//
// What a test needs from the machine it says to need, which skips it with the sentence that helps, or fails it under CI.
package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

func TestMain(m *testing.M) {
	if o := os.Getenv(robotVariable); o != "" {
		os.Exit(robotMain(o))
	}
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	if theFirefox.stop != nil {
		theFirefox.stop()
	}
	for _, dir := range []string{built.dir, everydayFilm.dir} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// built is the program, built once and with the race detector if the tests have it.
var built struct {
	sync.Once
	dir, path string
	err       error
}

func parley(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "parley-e2e")
		if built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "parley")
		if runtime.GOOS == "windows" {
			built.path += ".exe"
		}
		args := []string{"build", "-o", built.path}
		if raceEnabled {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "./cmd/parley")...)
		cmd.Dir = moduleRoot()
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building parley: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is a program that runs for a test. What it prints is kept, and shown if the test fails.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended, after done

	mu    sync.Mutex
	lines []string
}

// start runs a program until the test ends.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
		}
		io.Copy(io.Discard, r)
	}()
	go func() {
		p.err = cmd.Wait()
		w.Close()
		<-read
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		out := p.output()
		if strings.Contains(out, "WARNING: DATA RACE") || strings.Contains(out, "panic: ") {
			t.Errorf("%s raced or panicked", filepath.Base(cmd.Path))
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(cmd.Args, " "), out)
		}
	})
	return p
}

// kill ends the process with no warning (SIGKILL), and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// ended returns how the process ended, nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		if p.err == nil {
			return errors.New("ended with success")
		}
		return p.err
	default:
		return nil
	}
}

// server is a `parley serve` on loopback.
type server struct {
	*process
	t     *testing.T
	addr  string // 127.0.0.1:port of http
	url   string // http://localhost:port
	flags []string
}

// serve starts a server with a state folder and ports of its own, and returns when it is ready.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{t: t, addr: address(t)}
	_, port, _ := net.SplitHostPort(s.addr)
	s.url = "http://localhost:" + port
	s.flags = append([]string{"serve", "--http", s.addr, "--https", address(t), "--state-dir", filepath.Join(t.TempDir(), "state")}, flags...)
	s.start()
	return s
}

// start starts the server, again if it was killed: the same ports, the same state.
func (s *server) start() {
	s.t.Helper()
	s.process = start(s.t, exec.Command(parley(s.t), s.flags...))
	s.ready(http.DefaultClient, "http://"+s.addr)
}

func (p *process) ready(client *http.Client, url string) {
	p.t.Helper()
	wait(p.t, "parley serve is ready", func() error {
		if err := p.ended(); err != nil {
			p.t.Fatalf("parley serve: %v", err)
		}
		return get(client, url+"/readyz")
	})
}

// get returns nil if url answers 200.
func get(client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return nil
}

// address is one on loopback for a server, which has it again when it is started again.
func address(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", need.Port(t))
}
