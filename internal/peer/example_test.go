package peer_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Two peers in one program: each one's datagrams are handed to the other. In place of sockets there are two addresses, in
// place of signaling a call.
func Example() {
	type program struct {
		*peer.Peer
		session *jsep.Session
		address netip.AddrPort
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	newProgram := func(address string) *program {
		cert, err := dtls.GenerateCertificate(rand.Reader, time.Now(), time.Now().AddDate(0, 1, 0))
		must(err)
		f := cert.Fingerprint()
		session, err := jsep.New(jsep.Config{Entropy: rand.Reader, Fingerprints: []sdp.Fingerprint{{Hash: f.Algorithm, Value: f.Value}}})
		must(err)
		session.AddData()
		p, err := peer.New(peer.Config{DTLS: &dtls.Config{Entropy: rand.Reader, Certificate: cert}, Entropy: rand.Reader})
		must(err)
		return &program{p, session, netip.MustParseAddrPort(address)}
	}
	alice, bob := newProgram("192.0.2.1:5000"), newProgram("192.0.2.2:5000")
	now := mono.Time(time.Second) // nanoseconds of a monotonic clock

	// setLocal applies a description of ours, and adds our only candidate to it.
	setLocal := func(p *program, kind jsep.Type) jsep.Description {
		c, err := p.session.SetLocal(jsep.Description{Type: kind})
		must(err)
		must(p.Apply(now, c.Transports, c.Media, c.Data))
		for _, t := range c.Transports {
			if c, ok := p.AddLocalCandidate(now, t.ID, ice.Candidate{Type: ice.Host, Address: p.address}); ok {
				p.session.AddLocalCandidate(t.ID, t.Local.Ufrag, c.SDP())
			}
			p.EndOfLocalCandidates(now, t.ID)
		}
		return p.session.Local()
	}
	// setRemote applies one of the other side's, with the candidates in it.
	setRemote := func(p *program, d jsep.Description) {
		c, err := p.session.SetRemote(d)
		must(err)
		must(p.Apply(now, c.Transports, c.Media, c.Data))
		for _, t := range p.session.RemoteCandidates() {
			p.AddRemote(now, t)
		}
	}
	setRemote(bob, setLocal(alice, jsep.Offer))
	setRemote(alice, setLocal(bob, jsep.Answer))
	channel, err := alice.Association().Open(now, sctp.ChannelConfig{Label: "greetings"})
	must(err)
	must(alice.Association().Send(now, channel, true, []byte("hello")))

	batch := pkt.NewBatch(64<<10, 64)
	turn := func(name string, from, to *program) {
		if from.NextTimeout() <= now {
			from.HandleTimeout(now)
		}
		for j, ok := from.NextJob(); ok; j, ok = from.NextJob() { // a program may do it in another goroutine
			j.Run()
			from.JobDone(now, j)
		}
		for ev, ok := from.NextEvent(); ok; ev, ok = from.NextEvent() {
			switch {
			case ev.Kind == peer.OfDTLS && ev.DTLS == peer.DTLSConnected:
				fmt.Println(name, "the certificate is the one that was promised")
			case ev.SCTP.Kind == sctp.Message:
				fmt.Printf("%s hears %q\n", name, ev.SCTP.Data)
				from.Association().Consume(len(ev.SCTP.Data))
			}
		}
		for more := true; more; {
			batch.Reset()
			more = from.AppendTransmit(now, batch)
			for _, t := range batch.Transmits() { // none of these is so long that SegmentSize cuts it
				to.HandleDatagram(now, &pkt.Datagram{Path: pkt.Path{Local: t.Remote, Remote: t.Local}, Payload: t.Payload})
			}
		}
		now = now.Add(time.Millisecond)
	}
	for range 20 {
		turn("alice:", alice, bob)
		turn("bob:", bob, alice)
	}
	// Output:
	// bob: the certificate is the one that was promised
	// alice: the certificate is the one that was promised
	// bob: hears "hello"
}
