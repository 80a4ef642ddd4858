package turn_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/stun"
)

var private = ap("10.0.0.1:0")

// "if a value is not allowed, the server rejects the request with a 403 (Forbidden) error." (section 10.2): but not so
// soon that it ends what other peers' addresses are still on the way for.
func TestRefusalOfAPermissionTakesAWhile(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.fingerprint = true
	c.allocate()
	raw := c.build(stun.CreatePermission, peers(private))
	begin := r.now
	c.deliver(c.path, raw)
	r.none("a refusal")
	for _, after := range []time.Duration{250, 750, 1750, 3750} { // milliseconds, as Chromium sends it again
		r.wait(begin.Add(after * time.Millisecond).Sub(r.now))
		c.deliver(c.path, raw)
		r.none("a refusal that is asked for again")
		c.expect(0, stun.CreatePermission, peers(peer4))
	}
	r.wait(begin.Add(refusalTime - 1).Sub(r.now))
	r.none("a refusal before its time")
	r.wait(1)
	m, err := stun.Parse(r.one().Payload)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := stun.Parse(raw)
	if code, _, _ := m.ErrorCode(); code != stun.CodeForbidden || m.ID() != sent.ID() || m.Method() != stun.CreatePermission {
		t.Errorf("%v %v %x, want 403 to %x", m.Method(), code, m.ID(), sent.ID())
	}
	if !c.hasher.Verify(&m, c.credential.Key()) || !m.HasFingerprint() {
		t.Error("the refusal is not signed as the request was")
	}
	r.wait(time.Minute)
	r.none("a request that was answered")
	c.sendTo(netip.AddrPortFrom(private.Addr(), 9), "x")
	r.none("data to a peer that was refused")
}

func TestRefusalsEndWithTheAllocation(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	c.deliver(c.path, c.build(stun.CreatePermission, peers(private)))
	c.expect(0, stun.Refresh, living(0))
	c.allocate() // on the same 5-tuple, to which the old request is nothing
	r.wait(2 * refusalTime)
	r.none("a refusal to a client whose allocation has ended")
}

// So many refusals are held back and no more: the next one is sent at once.
func TestRefusalsAreBounded(t *testing.T) {
	const most = 256
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	for range most {
		c.deliver(c.path, c.build(stun.CreatePermission, peers(private)))
		r.none("a refusal")
	}
	begin := r.now
	c.expect(stun.CodeForbidden, stun.CreatePermission, peers(private))
	if r.now != begin {
		t.Errorf("refusal %d took %v, want none", most+1, r.now.Sub(begin))
	}
	r.wait(refusalTime)
	if n := len(r.take()); n != most {
		t.Errorf("%d refusals were sent, want %d", n, most)
	}
	c.deliver(c.path, c.build(stun.CreatePermission, peers(private)))
	r.none("a refusal, when there is room again")
}
