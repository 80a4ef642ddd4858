//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"time"
)

// A measurement collects figures.
type measurement struct {
	match       *regexp.Regexp
	period      time.Duration
	connections int
	order       []figure // without values
	all         map[string]map[string][]float64
}

func (m *measurement) add(name, unit, who string, v float64) {
	if m.all[name] == nil {
		m.all[name] = map[string][]float64{}
		m.order = append(m.order, figure{Name: name, Unit: unit})
	}
	m.all[name][who] = append(m.all[name][who], v)
}

func (m *measurement) medians() (list []figure) {
	for _, f := range m.order {
		for _, who := range sides {
			if v := m.all[f.Name][who]; len(v) > 0 {
				slices.Sort(v)
				list = append(list, figure{f.Name, f.Unit, who, v[len(v)/2]})
			}
		}
	}
	return list
}

// measure makes every figure of one side once.
func (m *measurement) measure(who string) error {
	for _, t := range []struct {
		name string
		run  func(who string) error
	}{
		{"set up", m.setUp},
		{"messages", m.transfers},
		{"round trip", m.roundTrips},
		{"idle", m.idle},
	} {
		if !m.match.MatchString(t.name) {
			continue
		}
		if err := t.run(who); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// setUp has both ends in one process.
func (m *measurement) setUp(who string) error {
	for _, shared := range []bool{true, false} {
		p, err := start(who)
		if err != nil {
			return err
		}
		var r reply
		err = p.ask(request{Do: "set up", Period: m.period, Shared: shared}, &r)
		p.end()
		if err != nil {
			return err
		}
		name := "set up, defaults"
		if shared {
			name = "set up, one certificate and X25519"
		}
		m.add(name, "connections each CPU second", who, float64(r.Count)/r.CPU)
	}
	return nil
}

func (m *measurement) transfers(who string) error {
	for _, t := range []struct {
		name, unit string
		size       int
		unordered  bool
	}{
		{"64 KiB messages", "MB each CPU second", 64 << 10, false},
		{"16 KiB messages", "MB each CPU second", 16 << 10, false},
		{"1200-byte messages", "MB each CPU second", 1200, false},
		{"64-byte unordered messages", "messages each CPU second", 64, true},
	} {
		err := m.between(who, 1, t.unordered, func(a, b *process) error {
			send := request{Do: "send", Size: t.size, Period: m.period / 4}
			var sent, before, after reply
			if err := a.ask(send, &sent); err != nil { // the window opens
				return err
			}
			if err := b.ask(request{Do: "received"}, &before); err != nil {
				return err
			}
			send.Period = m.period
			if err := a.ask(send, &sent); err != nil {
				return err
			}
			if err := b.ask(request{Do: "received", Count: before.Count + sent.Count}, &after); err != nil {
				return err
			}
			cpu := sent.CPU + after.CPU - before.CPU
			if t.size == 64 {
				m.add(t.name, t.unit, who, float64(sent.Count)/cpu)
			} else {
				m.add(t.name, t.unit, who, float64(sent.Count)*float64(t.size)/1e6/cpu)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

func (m *measurement) roundTrips(who string) error {
	return m.between(who, 1, false, func(a, b *process) error {
		var r reply
		if err := b.ask(request{Do: "echo"}, &r); err != nil {
			return err
		}
		if err := a.ask(request{Do: "round trips", Count: 5000, Size: 64}, &r); err != nil {
			return err
		}
		m.add("round trip of 64 bytes, p50", "us", who, r.P50)
		m.add("round trip of 64 bytes, p99", "us", who, r.P99)
		return nil
	})
}

// idle counts at one end of many connections.
func (m *measurement) idle(who string) error {
	p, err := start(who)
	if err != nil {
		return err
	}
	var empty reply
	err = p.ask(request{Do: "weigh"}, &empty)
	p.end()
	if err != nil {
		return err
	}
	return m.between(who, m.connections, false, func(a, _ *process) error {
		var r reply
		if err := a.ask(request{Do: "weigh", Period: 10 * time.Second}, &r); err != nil {
			return err
		}
		n := float64(m.connections)
		m.add("goroutines of an idle connection", "", who, float64(r.Goroutines-empty.Goroutines)/n)
		m.add("memory of an idle connection", "KiB resident", who, float64(r.Resident-empty.Resident)/1024/n)
		m.add("CPU of an idle connection", "us a second", who, r.CPU*1e6/10/n)
		return nil
	})
}

// between runs f with two processes that have so many connections with a channel to each other.
func (m *measurement) between(who string, connections int, unordered bool, f func(a, b *process) error) error {
	a, err := start(who)
	if err != nil {
		return err
	}
	defer a.end()
	b, err := start(who)
	if err != nil {
		return err
	}
	defer b.end()
	for range connections {
		var offer, answer, done reply
		if err := a.ask(request{Do: "offer", Unordered: unordered}, &offer); err != nil {
			return err
		}
		if err := b.ask(request{Do: "answer", SDP: offer.SDP}, &answer); err != nil {
			return err
		}
		if err := a.ask(request{Do: "accept", SDP: answer.SDP}, &done); err != nil {
			return err
		}
	}
	return f(a, b)
}

// A process is one end, to which requests go as lines of JSON.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

func start(who string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, "-child", who)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *process) ask(r request, to *reply) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return err
	}
	line, err := p.lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: the process ended: %w", r.Do, err)
	}
	*to = reply{}
	if err := json.Unmarshal(line, to); err != nil {
		return err
	}
	if to.Err != "" {
		return errors.New(r.Do + ": " + to.Err)
	}
	return nil
}

func (p *process) end() {
	p.in.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
