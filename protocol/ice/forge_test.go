package ice_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// A forger is a peer that writes its messages by hand.
type forger struct {
	t     testing.TB
	agent *ice.Agent
	hash  *stun.Hasher
	own   ice.Credentials
	path  pkt.Path // as the agent sees it
	batch *pkt.Batch
	count byte
}

var ourBase, theirBase = addr("192.0.2.1:4000"), addr("192.0.2.2:5000")

// forge returns an agent with one candidate and a peer that has told it its credentials, and its candidate unless
// hidden.
func forge(t testing.TB, cfg ice.Config, hidden bool) *forger {
	t.Helper()
	cfg.Entropy = entropy(7)
	a, err := ice.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t, agent: a, hash: stun.NewHasher(), own: ice.Credentials{Ufrag: "them", Password: "a password of the other's"},
		path: pkt.Path{Local: ourBase, Remote: theirBase}}
	a.AddLocalCandidate(0, ice.Candidate{Address: ourBase})
	if err := a.SetRemoteCredentials(0, ice.Remote{Credentials: f.own, Renomination: true}); err != nil {
		t.Fatal(err)
	}
	if !hidden {
		a.AddRemoteCandidate(0, ice.Candidate{Address: theirBase, Priority: 1 << 30, Foundation: "1"})
	}
	return f
}

// A sheet is what a forged request says; its zero value is a proper check.
type sheet struct {
	username, password string // "": the right ones
	anonymous          bool   // no username
	sha256, unsigned   bool
	unmarked           bool // no fingerprint
	unranked           bool // no priority
	add                func(*stun.Builder)
}

func (f *forger) write(s sheet) []byte {
	f.count++
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, stun.TransactionID{f.count})
	if s.username == "" {
		s.username = f.agent.LocalCredentials().Ufrag + ":" + f.own.Ufrag
	}
	if s.password == "" {
		s.password = f.agent.LocalCredentials().Password
	}
	if !s.anonymous {
		b.Text(stun.AttrUsername, s.username)
	}
	if !s.unranked {
		b.Uint32(stun.AttrPriority, 1<<20)
	}
	if s.add != nil {
		s.add(&b)
	}
	switch {
	case s.unsigned:
	case s.sha256:
		b.IntegritySHA256(f.hash, []byte(s.password))
	default:
		b.Integrity(f.hash, []byte(s.password))
	}
	if !s.unmarked {
		b.Fingerprint()
	}
	m, err := b.Message()
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// hand gives the agent a datagram, and returns the STUN that it sends then.
func (f *forger) hand(now mono.Time, payload []byte) []sent {
	f.agent.HandleDatagram(now, &pkt.Datagram{Path: f.path, Payload: bytes.Clone(payload)})
	return f.drain(now)
}

// A sent message with the path it goes along.
type sent struct {
	stun.Message
	path pkt.Path
}

func (f *forger) drain(now mono.Time) (all []sent) {
	if f.batch == nil {
		f.batch = pkt.NewBatch(1<<15, 64)
	}
	f.batch.Reset()
	f.agent.AppendTransmit(now, f.batch)
	for _, tr := range f.batch.Transmits() {
		m, err := stun.Parse(bytes.Clone(tr.Payload))
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, sent{m, tr.Path})
	}
	return all
}

// wait lets time pass until the agent sends something.
func (f *forger) wait(now mono.Time) (mono.Time, []sent) {
	f.t.Helper()
	for range 100 {
		if all := f.drain(now); len(all) > 0 {
			return now, all
		}
		if now = max(now, f.agent.NextTimeout()); now == mono.Never {
			break
		}
		f.agent.HandleTimeout(now)
	}
	f.t.Fatal("the agent has nothing to send")
	return now, nil
}

// answer is the success to a request; edit may change what it is.
type answer struct {
	mapped   netip.AddrPort // invalid: the address that the request came from
	code     stun.Code      // an error instead
	password string
	unsigned bool
	add      func(*stun.Builder)
}

func (f *forger) respond(m stun.Message, a answer) []byte {
	class := stun.Success
	if a.code != 0 {
		class = stun.Error
	}
	b := stun.Respond(nil, class, &m)
	if !a.mapped.IsValid() {
		a.mapped = ourBase
	}
	if a.code != 0 {
		b.Error(a.code, "")
	} else {
		b.XORAddress(stun.AttrXORMappedAddress, a.mapped)
	}
	if a.add != nil {
		a.add(&b)
	}
	if a.password == "" {
		a.password = f.own.Password
	}
	if !a.unsigned {
		b.Integrity(f.hash, []byte(a.password))
	}
	b.Fingerprint()
	raw, _ := b.Message()
	return raw
}

// only returns the one message of a class.
func only(t testing.TB, all []sent, class ...stun.Class) sent {
	t.Helper()
	var found []sent
	for _, m := range all {
		for _, c := range class {
			if m.Class() == c {
				found = append(found, m)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d messages of %v", len(found), class)
	}
	return found[0]
}

// first returns the state of the agent's first pair.
func (f *forger) first() ice.PairStats {
	f.t.Helper()
	all := f.agent.Pairs()
	if len(all) == 0 {
		f.t.Fatal("no pair")
	}
	return all[0]
}

// works answers the agent's first check.
func (f *forger) works() mono.Time {
	f.t.Helper()
	now, all := f.wait(0)
	now = now.Add(1e6)
	f.hand(now, f.respond(only(f.t, all, stun.Request).Message, answer{}))
	if _, ok := f.agent.Selected(); !ok {
		f.t.Fatal("nothing selected")
	}
	return now
}
