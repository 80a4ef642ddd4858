package gather_test

import (
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// tenant passes on to its Gatherer what it gets from the loop. With an agent it would be a connection.
type tenant struct {
	*gather.Gatherer
	closed chan struct{}
}

func (t *tenant) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if t.Handle(now, d) {
		return // what a server said
	}
	// ... agent.HandleDatagram(now, d)
}

func (t *tenant) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	more = t.Gatherer.AppendTransmit(now, b)
	for {
		e, ok := t.NextEvent()
		if !ok {
			return more
		}
		switch e := e.(type) {
		case gather.Candidate: // agent.AddLocalCandidate(now, e.Candidate), and signal what it returns
			fmt.Println(e.Type, e.Transport, e.Address.Addr())
		case gather.Complete: // agent.EndOfLocalCandidates(now)
			fmt.Println("complete")
			t.Close(now)
		case gather.Closed:
			close(t.closed)
		}
	}
}

func Example() {
	l, err := loop.New(loop.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	t := &tenant{closed: make(chan struct{})}
	_ = l.Do(func(now mono.Time) {
		t.Gatherer, err = gather.New(l.Attach(t), gather.Config{
			Loopback:   true,
			Interfaces: func(a gather.Address) bool { return a.IP == netip.MustParseAddr("127.0.0.1") },
			// Servers: []gather.Server{{URI: uri, Username: name, Password: password}},
		})
		if err == nil {
			t.Start(now)
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-t.closed
	// Output:
	// host udp 127.0.0.1
	// complete
}
