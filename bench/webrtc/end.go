//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A connection is what both implementations have.
type connection interface {
	// offer and answer return descriptions with all candidates.
	offer(unordered bool) (string, error)
	answer(sdp string) (string, error)
	accept(sdp string) error
	// opened waits until the channel is open.
	opened() error
	// send waits for room.
	send(b []byte) error
	// receive sets what is called with each message.
	receive(func(b []byte))
	close()
}

// An implementation makes connections. A shared one has one certificate for all, and X25519 alone.
type implementation func(shared bool) (func() (connection, error), error)

var implementations = map[string]implementation{"Parley": parley, "Pion": pion}

// A request asks something of a process.
type request struct {
	Do        string
	SDP       string
	Unordered bool
	Shared    bool
	Count     int
	Size      int
	Period    time.Duration
}

// A reply answers it.
type reply struct {
	Err        string
	SDP        string
	Count      int
	CPU        float64 // seconds
	P50, P99   float64 // us
	Goroutines int
	Resident   int // bytes
}

// An end serves requests.
type end struct {
	make    func() (connection, error)
	conns   []connection
	arrived atomic.Int64
	who     string
}

func serve(who string) {
	// A process that has many sockets.
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	implement, ok := implementations[who]
	if !ok {
		fmt.Fprintln(os.Stderr, "webrtc: there is no", who)
		os.Exit(2)
	}
	makeOne, err := implement(false)
	if err != nil {
		fmt.Fprintln(os.Stderr, "webrtc:", err)
		os.Exit(1)
	}
	e := &end{make: makeOne, who: who}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var q request
		var a reply
		if err = json.Unmarshal(line, &q); err == nil {
			a, err = e.do(q)
		}
		if err != nil {
			a.Err = err.Error()
		}
		out.Encode(a)
	}
}

func (e *end) do(q request) (a reply, err error) {
	switch q.Do {
	case "offer":
		c, err := e.add()
		if err != nil {
			return a, err
		}
		a.SDP, err = c.offer(q.Unordered)
		return a, err
	case "answer":
		c, err := e.add()
		if err != nil {
			return a, err
		}
		c.receive(func([]byte) { e.arrived.Add(1) })
		a.SDP, err = c.answer(q.SDP)
		return a, err
	case "accept":
		c := e.conns[len(e.conns)-1]
		if err := c.accept(q.SDP); err != nil {
			return a, err
		}
		return a, c.opened()
	case "send":
		return e.send(q)
	case "received":
		return e.received(q)
	case "echo":
		c := e.conns[0]
		c.receive(func(b []byte) { c.send(b) })
		return a, nil
	case "round trips":
		return e.roundTrips(q)
	case "weigh":
		return e.weigh(q)
	case "set up":
		return e.setUp(q)
	}
	return a, errors.New("unknown request")
}

func (e *end) add() (connection, error) {
	c, err := e.make()
	if err == nil {
		e.conns = append(e.conns, c)
	}
	return c, err
}

func (e *end) send(q request) (a reply, err error) {
	b := make([]byte, q.Size)
	before := cpu()
	for until := time.Now().Add(q.Period); time.Now().Before(until); {
		for range 16 {
			if err := e.conns[0].send(b); err != nil {
				return a, err
			}
			a.Count++
		}
	}
	a.CPU = cpu() - before
	return a, nil
}

// received waits until so many messages have come.
func (e *end) received(q request) (a reply, err error) {
	last, since := e.arrived.Load(), time.Now()
	for e.arrived.Load() < int64(q.Count) {
		if now := e.arrived.Load(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > 20*time.Second {
			return a, fmt.Errorf("%d of %d messages came", now, q.Count)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if q.Count == 0 { // what is under way
		for n := int64(-1); n != e.arrived.Load(); time.Sleep(300 * time.Millisecond) {
			n = e.arrived.Load()
		}
	}
	a.Count, a.CPU = int(e.arrived.Load()), cpu()
	return a, nil
}

func (e *end) roundTrips(q request) (a reply, err error) {
	c := e.conns[0]
	back := make(chan struct{}, 1)
	c.receive(func([]byte) { back <- struct{}{} })
	b := make([]byte, q.Size)
	var took []time.Duration
	for i := range q.Count + 500 {
		began := time.Now()
		if err := c.send(b); err != nil {
			return a, err
		}
		<-back
		if i >= 500 { // the first ones warm caches
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	at := func(share float64) float64 { return float64(took[int(share*float64(len(took)))].Nanoseconds()) / 1e3 }
	a.P50, a.P99 = at(0.5), at(0.99)
	return a, nil
}

// weigh says what the process has, after a while in which what is over has ended, and what it spends in a period.
func (e *end) weigh(q request) (a reply, err error) {
	time.Sleep(2 * time.Second)
	debug.FreeOSMemory()
	time.Sleep(time.Second)
	a.Goroutines = runtime.NumGoroutine()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return a, fmt.Errorf("resident memory: %w", err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(after, &a.Resident)
	a.Resident *= 1024
	before := cpu()
	time.Sleep(q.Period)
	a.CPU = cpu() - before
	return a, nil
}

// setUp makes connections within the process, four at a time, and closes them, for so long.
func (e *end) setUp(q request) (a reply, err error) {
	makeOne, err := implementations[e.who](q.Shared)
	if err != nil {
		return a, err
	}
	a.Count, a.CPU, err = repeat(4, q.Period, func() error { return connect(makeOne) })
	return a, err
}

// repeat has so many goroutines do something again and again, for so long, and says how often and how much CPU time it took.
func repeat(workers int, period time.Duration, one func() error) (n int, spent float64, err error) {
	run := func(period time.Duration) (n int, err error) {
		var wg sync.WaitGroup
		counts, errs := make([]int, workers), make([]error, workers)
		until := time.Now().Add(period)
		for i := range workers {
			wg.Go(func() {
				for ; time.Now().Before(until) && errs[i] == nil; counts[i]++ {
					errs[i] = one()
				}
			})
		}
		wg.Wait()
		for _, c := range counts {
			n += c
		}
		return n, errors.Join(errs...)
	}
	if _, err := run(period / 8); err != nil { // warms up
		return 0, 0, err
	}
	before := cpu()
	n, err = run(period)
	return n, cpu() - before, err
}

// connect makes one connection, lets a message pass, and closes it.
func connect(makeOne func() (connection, error)) error {
	a, err := makeOne()
	if err != nil {
		return err
	}
	defer a.close()
	b, err := makeOne()
	if err != nil {
		return err
	}
	defer b.close()
	got := make(chan struct{}, 1)
	b.receive(func([]byte) { got <- struct{}{} })
	offer, err := a.offer(false)
	if err != nil {
		return err
	}
	answer, err := b.answer(offer)
	if err != nil {
		return err
	}
	if err := a.accept(answer); err != nil {
		return err
	}
	if err := a.opened(); err != nil {
		return err
	}
	if err := a.send([]byte("hello")); err != nil {
		return err
	}
	select {
	case <-got:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("no message came within 20 s")
	}
}

// cpu is what the process has spent, in seconds: all threads, the kernel and the garbage collector included.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
