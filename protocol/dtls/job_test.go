package dtls

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Jobs run on other goroutines while the engine goes on taking datagrams and timeouts: with -race this shows that Run
// touches nothing of the engine.
func TestJobsRunElsewhere(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newPair(t, only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v))
		p.client.noJobs, p.server.noJobs = true, true
		jobs := map[*end]int{}
		for range 200 {
			if p.bothConnected() {
				break
			}
			busy := false
			for _, e := range []*end{p.client, p.server} {
				j, ok := e.NextJob()
				if !ok {
					continue
				}
				busy = true
				if _, twice := e.NextJob(); twice {
					t.Fatal("one job was handed out twice")
				}
				jobs[e]++
				e.JobDone(p.now, j) // not run yet: ignored
				e.JobDone(p.now, &Job{})
				e.JobDone(p.now, nil)
				done := make(chan struct{})
				go func() { j.Run(); close(done) }()
				p.idle(20 * time.Millisecond) // the peer goes on meanwhile
				<-done
				e.JobDone(p.now, j)
				e.JobDone(p.now, j) // and again: ignored
			}
			if !busy {
				p.step(mono.Never - 1)
			}
		}
		if !p.bothConnected() {
			t.Fatalf("%v: not connected; %+v %+v", v, p.client.Stats(), p.server.Stats())
		}
		p.checkAgreement()
		// To make a key, to agree on a secret, to sign and to verify: of these a server of 1.3 does the first two in one.
		want := 4
		if v == Version13 {
			want = 3
		}
		if jobs[p.client] != 4 || jobs[p.server] != want {
			t.Errorf("%v: %d jobs of the client, %d of the server, want 4 and %d", v, jobs[p.client], jobs[p.server], want)
		}
	}
}

// A job that comes back after its connection has closed is ignored.
func TestJobOfAClosedConnection(t *testing.T) {
	c := mustNew(t, Client, configOf(t, "client", 1))
	j, ok := c.NextJob()
	if !ok {
		t.Fatal("a client has no first job")
	}
	c.Close(1)
	j.Run()
	c.JobDone(2, j)
	if ev, ok := c.NextEvent(); !ok || ev.Kind != Closed || ev.Err != nil {
		t.Errorf("%+v", ev)
	}
	if b := c.AppendDatagram(nil, 3); len(b) > 0 {
		t.Errorf("%d bytes to a peer that never heard of us", len(b))
	}
}

// A slow job does not stop the ACKs and retransmissions of DTLS 1.3 (RFC 9147 section 7.1).
func TestSlowSignature(t *testing.T) {
	p := newPair(t, only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13))
	p.client.noJobs = true
	for range 400 {
		if j, ok := p.client.NextJob(); ok {
			p.idle(500 * time.Millisecond)
			j.Run()
			p.client.JobDone(p.now, j)
			continue
		}
		p.step(mono.Never - 1)
		if p.bothConnected() {
			p.checkAgreement()
			return
		}
	}
	t.Errorf("not connected: %v %v", p.client.err, p.server.err)
}
