package gather

import (
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// How a server is asked for a reflexive address: a call waits for the answer, so the first repetition is early, and a
// server that has not answered four requests in three seconds is not there.
const (
	bindingRTO     = 200 * time.Millisecond
	bindingTries   = 4
	bindingWait    = 10               // times bindingRTO after the last
	bindingRefresh = 15 * time.Second // "Tr ... SHOULD be 15 seconds" (RFC 8445 section 11)
)

// A binding is the mapping of a base that a STUN server sees (RFC 8489 section 2).
type binding struct {
	attempt
	server *server
	base   *base
	path   pkt.Path
	tx     *stun.Transaction // under way; else nil
	mapped netip.AddrPort
	// refresh is when the mapping is asked for again, which keeps it (RFC 8445 section 5.1.1.4).
	refresh mono.Time
}

// waiting reports whether no answer has come yet.
func (b *binding) waiting() bool { return !b.mapped.IsValid() }

// bind asks a STUN server for the mapping of a base.
func (g *Gatherer) bind(now mono.Time, s *server, from *base, remote netip.AddrPort) {
	b := &binding{server: s, base: from, path: pkt.Path{Socket: from.socket, Local: from.local, Remote: remote}, refresh: mono.Never}
	g.bindings = append(g.bindings, b)
	s.attempts++
	g.request(now, b)
}

func (g *Gatherer) hasBinding(s *server) bool {
	return slices.ContainsFunc(g.bindings, func(b *binding) bool { return b.server == s })
}

// request sends a Binding request.
func (g *Gatherer) request(now mono.Time, b *binding) {
	m := stun.NewBuilder(nil, stun.Request, stun.Binding, g.transactionID())
	m.Fingerprint()
	raw, _ := m.Message() // it has no attribute that could be too long
	b.refresh = mono.Never
	b.tx, _ = stun.NewTransaction(now, stun.TransactionConfig{Path: b.path, RTO: bindingRTO, Rc: bindingTries, Rm: bindingWait}, raw)
}

func (b *binding) nextTimeout() mono.Time {
	if b.tx != nil {
		return b.tx.NextTimeout()
	}
	return b.refresh
}

// handle takes a datagram if it is the answer.
func (b *binding) handle(now mono.Time, d *pkt.Datagram) bool {
	if b.tx == nil || d.Socket != b.path.Socket || d.Remote != b.path.Remote {
		return false
	}
	if m, err := stun.Parse(d.Payload); err != nil || m.ID() != b.tx.ID() {
		return false
	}
	b.tx.HandleDatagram(now, d)
	return true
}

func (g *Gatherer) bindingTimeout(now mono.Time, b *binding) {
	if b.tx == nil {
		if now >= b.refresh {
			g.request(now, b)
		}
		return
	}
	b.tx.HandleTimeout(now)
	g.bindingDone(now, b)
}

// bindingDone takes the end of a transaction, if it has come.
func (g *Gatherer) bindingDone(now mono.Time, b *binding) {
	done, ok := b.tx.NextEvent()
	if !ok {
		return
	}
	b.tx = nil
	if !g.concluded {
		b.refresh = now.Add(bindingRefresh)
	}
	if done.Err != nil {
		if b.waiting() {
			g.endBinding(now, b, errNoAnswer)
		}
		return
	}
	mapped, err := done.Response.XORAddress(stun.AttrXORMappedAddress)
	if err != nil {
		mapped, err = done.Response.Address(stun.AttrMappedAddress) // a server of RFC 3489
	}
	code, reason, _ := done.Response.ErrorCode()
	switch first := b.waiting(); {
	case done.Response.Class() == stun.Error && first:
		g.endBinding(now, b, &turn.ClientError{Code: code, Err: refusal(reason)})
	case done.Response.Class() == stun.Error:
	case (err != nil || mapped.Addr().Is4() != b.base.IP.Is4()) && first:
		g.endBinding(now, b, stun.ErrResponse)
	case err == nil && mapped != b.mapped:
		b.mapped = mapped
		g.tellReflexive(b.base, mapped, b.path.Remote, b.server)
		if first {
			g.attempted(now, b.server, &b.attempt, b.base.local, nil)
			for _, o := range slices.Clone(g.bindings) { // at other addresses of the server
				if o != b && o.server == b.server && o.base == b.base {
					g.endBinding(now, o, nil)
				}
			}
		}
	}
}

// refusal is what a server says with an error.
type refusal []byte

func (r refusal) Error() string {
	if len(r) == 0 {
		return "the server refuses the request"
	}
	return string(r)
}

// tellReflexive tells a server-reflexive candidate, if there is a NAT at all.
func (g *Gatherer) tellReflexive(b *base, mapped, server netip.AddrPort, from *server) {
	if b.inside || mapped == netip.AddrPortFrom(b.IP.WithZone(""), b.local.Port()) && !g.cfg.HideHosts {
		return
	}
	g.tell(Candidate{Candidate: ice.Candidate{
		Type: ice.ServerReflexive, Address: mapped, Related: g.related(b), Base: b.local,
		Socket: b.socket, Server: server, Preference: b.preference(),
	}, URL: from.url(), from: from})
}

// endBinding gives a binding up.
func (g *Gatherer) endBinding(now mono.Time, b *binding, err error) {
	g.bindings = slices.DeleteFunc(g.bindings, func(o *binding) bool { return o == b })
	if b.waiting() {
		g.attempted(now, b.server, &b.attempt, b.base.local, err)
	}
}
