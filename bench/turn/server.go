//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	parley "github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
	pion "github.com/pion/turn/v5"
	"golang.org/x/sys/unix"
)

const (
	serverCPU    = 0
	generatorCPU = 1

	user, password, realm = "bench", "bench", "bench"

	// serveVariable in the environment makes this program a server under test; it has the name, a space and the address.
	serveVariable = "PARLEY_BENCH_TURN_SERVE"
)

// addressOf returns where the server of that number listens and relays.
func addressOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 34780)
}

var errCPUs = errors.New("two CPUs are needed, one for the server and one for the load")

// turnserver returns the path of coturn.
func turnserver() (string, error) { return exec.LookPath("turnserver") }

// server is a TURN server under test: a process.
type server struct {
	name    string
	address netip.AddrPort
	cmd     *exec.Cmd
	ask     io.Writer      // a Go server tells its goroutines
	answer  *bufio.Scanner // for each line that it reads
}

// start starts a server and waits until it answers. The caller's thread is the generator's from then on.
func start(name string, address netip.AddrPort) (*server, error) {
	if runtime.NumCPU() < 2 {
		return nil, errCPUs
	}
	runtime.LockOSThread()
	s := &server{name: name, address: address}
	if name == "coturn" {
		path, err := turnserver()
		if err != nil {
			return nil, err
		}
		s.cmd = exec.Command(path, "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-rfc5780", "-m", "1",
			"-L", address.Addr().String(), "-E", address.Addr().String(), "-p", strconv.Itoa(int(address.Port())),
			"-a", "-u", user+":"+password, "-r", realm, "--allow-loopback-peers", "--log-file=/dev/null",
			"--pidfile", filepath.Join(os.TempDir(), "bench-turnserver-"+address.Addr().String()+".pid"))
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.cmd = exec.Command(self)
		s.cmd.Env = append(os.Environ(), serveVariable+"="+name+" "+address.String())
		s.cmd.Stderr = os.Stderr
		if s.ask, err = s.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := s.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		s.answer = bufio.NewScanner(out)
	}
	// A process inherits the CPUs of the thread that starts it.
	if err := pin(serverCPU); err != nil {
		return nil, err
	}
	err := s.cmd.Start()
	if err := pin(generatorCPU); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	for range 50 {
		if _, err = relay.Ask(context.Background(), address); err == nil {
			return s, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("%s does not answer: %w", name, err)
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// pin keeps the calling thread on one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// usage is what a server has taken of the machine.
type usage struct {
	cpu        time.Duration
	resident   int64
	kernel     int64 // of the whole machine, without caches of files
	threads    int
	goroutines int
}

// cpu returns the CPU time of all threads, from the process's CPU clock (clock_getcpuclockid), which counts nanoseconds.
func (s *server) cpu() (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("the server has ended: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

func (s *server) usage() (u usage, err error) {
	if u.cpu, err = s.cpu(); err != nil {
		return u, err
	}
	status, err := field(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid), "VmRSS:", "Threads:")
	if err != nil {
		return u, err
	}
	memory, err := field("/proc/meminfo", "SUnreclaim:", "SReclaimable:")
	if err != nil {
		return u, err
	}
	u.resident, u.threads = status[0]<<10, int(status[1])
	u.kernel = (memory[0] + memory[1]) << 10
	if s.ask != nil {
		if _, err := fmt.Fprintln(s.ask); err != nil {
			return u, err
		}
		if !s.answer.Scan() {
			return u, errors.New("the server does not tell its goroutines")
		}
		u.goroutines, err = strconv.Atoi(s.answer.Text())
	}
	return u, err
}

// field reads the numbers after the given words of a file of /proc.
func field(path string, words ...string) ([]int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	numbers := make([]int64, len(words))
	for i, word := range words {
		_, rest, ok := strings.Cut(string(b), word)
		f := strings.Fields(rest)
		if !ok || len(f) == 0 {
			return nil, fmt.Errorf("%s has no %s", path, word)
		}
		if numbers[i], err = strconv.ParseInt(f[0], 10, 64); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// profile records where the server's time goes until stop is called, if that is wanted.
func (s *server) profile(load string) (stop func(), err error) {
	if *perf == "" {
		return func() {}, nil
	}
	file := filepath.Join(*perf, s.name+"-"+strings.ReplaceAll(load, " ", "-")+".perf")
	cmd := exec.Command("perf", "record", "-q", "-g", "-F", "1999", "-p", strconv.Itoa(s.cmd.Process.Pid), "-o", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}, nil
}

// serve is the server process of the two that are Go libraries.
func serve(what string) error {
	name, at, _ := strings.Cut(what, " ")
	address, err := netip.ParseAddrPort(at)
	if err != nil {
		return err
	}
	begin := map[string]func(netip.AddrPort) error{"parley": serveParley, "pion": servePion}[name]
	if begin == nil {
		return fmt.Errorf("no server is called %q", name)
	}
	if err := begin(address); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(runtime.NumGoroutine())
	}
	return nil
}

func serveParley(address netip.AddrPort) error {
	const plenty = 100_000
	_, err := relay.Start(relay.Config{
		Turn: parley.Config{
			Realm:       realm,
			Users:       []parley.User{{Name: user, Password: password, Limits: parley.Limits{Allocations: plenty}}},
			Relay:       []netip.Addr{address.Addr()},
			Allow:       []netip.Prefix{netip.PrefixFrom(address.Addr(), 8).Masked()},
			PerAddress:  plenty,
			Allocations: plenty,
		},
		UDP: []netip.AddrPort{address},
	})
	return err
}

func servePion(address netip.AddrPort) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return err
	}
	// As much as the others have.
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	key := pion.GenerateAuthKey(user, realm, password)
	_, err = pion.NewServer(pion.ServerConfig{
		Realm: realm,
		AuthHandler: func(a *pion.RequestAttributes) (string, []byte, bool) {
			return a.Username, key, a.Username == user
		},
		PacketConnConfigs: []pion.PacketConnConfig{{
			PacketConn: conn,
			RelayAddressGenerator: &pion.RelayAddressGeneratorStatic{
				RelayAddress: address.Addr().AsSlice(), Address: address.Addr().String(),
			},
		}},
	})
	return err
}
