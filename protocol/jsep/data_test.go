package jsep

import (
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// sctpPort gives the data section of a description another port of SCTP.
func sctpPort(t *testing.T, d Description, port string) Description {
	t.Helper()
	return edit(t, d, func(d *sdp.Description) {
		for _, m := range d.Media {
			if m.Kind == "application" {
				m.Set("sctp-port", port)
			}
		}
	})
}

func offer(t *testing.T, s *Session) Description {
	t.Helper()
	d, err := s.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func portOf(t *testing.T, d Description) string {
	t.Helper()
	v, _ := parsed(t, d).Media[0].Attr("sctp-port")
	return v
}

// "If the SDP "sctp-port" attribute in the answer contains an attribute value of zero, the offerer MUST NOT establish an SCTP association.
// If, in addition, an SCTP association exists, the offerer MUST close it." (RFC 8841 section 10.4)
func TestAnswerWithoutAssociation(t *testing.T) {
	for _, established := range []bool{false, true} {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		a.AddData()
		if established {
			negotiate(t, a, b)
		}
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(a.PendingLocal()))
		ok(b.SetLocal(Description{}))
		c := ok(a.SetRemote(sctpPort(t, b.CurrentLocal(), "0")))
		if c.Data != nil || !c.DataRejected || len(c.Transports) != 1 {
			t.Errorf("data %+v, rejected %v, %d transports", c.Data, c.DataRejected, len(c.Transports))
		}
		if a.NegotiationNeeded() {
			t.Error("another offer is needed")
		}
		// What the peer did not want is not asked for again by itself.
		if p := portOf(t, offer(t, a)); p != "0" {
			t.Errorf("the next offer says %s", p)
		}
		// "Later, a new SCTP association can be established" (section 9.3)
		a.AddData()
		if !a.NegotiationNeeded() {
			t.Error("no offer is needed for another channel")
		}
		mine, theirs := negotiate(t, a, b)
		if mine.Data == nil || theirs.Data == nil || mine.DataRejected || len(mine.Transports) != 1 || mine.Transports[0].Association != 1 {
			t.Errorf("after another offer: %+v, %+v", mine, theirs)
		}
	}
}

// "If the offer contained a zero SCTP port value, or if the answerer does not accept the SCTP association, the answerer MUST also associate a
// zero SCTP port value" (RFC 8841 section 10.3)
func TestOfferWithoutAssociation(t *testing.T) {
	for _, wanted := range []bool{false, true} { // by who answers
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		a.AddData()
		ok(a.SetLocal(Description{}))
		if wanted {
			b.AddData()
		}
		ok(b.SetRemote(sctpPort(t, a.PendingLocal(), "0")))
		c := ok(b.SetLocal(Description{}))
		if p := portOf(t, b.CurrentLocal()); p != "0" || c.Data != nil || c.DataRejected {
			t.Errorf("answered by %s, data %+v, rejected %v", p, c.Data, c.DataRejected)
		}
		if b.NegotiationNeeded() != wanted {
			t.Errorf("an offer is needed: %v", !wanted)
		}
		want := map[bool]string{false: "0", true: "5000"}[wanted]
		if p := portOf(t, offer(t, b)); p != want {
			t.Errorf("the next offer says %s, not %s", p, want)
		}
	}
	// One that stands is ended by it, and begun anew by the next offer.
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	negotiate(t, a, b)
	ok(a.SetLocal(Description{}))
	ok(b.SetRemote(sctpPort(t, a.PendingLocal(), "0")))
	if c := ok(b.SetLocal(Description{})); c.Data != nil || !c.DataRejected || b.NegotiationNeeded() {
		t.Errorf("data %+v, rejected %v, needed %v", c.Data, c.DataRejected, b.NegotiationNeeded())
	}
	ok(a.SetRemote(b.CurrentLocal()))
	ok(a.SetLocal(Description{}))
	ok(b.SetRemote(sctpPort(t, a.PendingLocal(), "5000")))
	if c := ok(b.SetLocal(Description{})); c.Data == nil || c.Data.RemotePort != 5000 || c.Data.LocalPort != 5000 {
		t.Errorf("data %+v", c.Data)
	}
}
