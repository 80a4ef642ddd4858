package jsep

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// together checks that all sections that are proposed for one group have what is of the transport, and the same ICE credentials,
// which it returns.
func together(t testing.TB, d *sdp.Description) Credentials {
	t.Helper()
	var group Credentials
	groups := bundlingOf(d).groups
	for i, m := range d.Media {
		mid, _ := m.Attr("mid")
		if groups[mid] == nil {
			continue
		}
		ufrag, _ := m.Attr("ice-ufrag")
		pwd, _ := m.Attr("ice-pwd")
		if group == (Credentials{}) {
			group = Credentials{ufrag, pwd}
		}
		if ufrag == "" || pwd == "" || group != (Credentials{ufrag, pwd}) || attribute(d, i, "fingerprint") == "" || !m.Has("setup") {
			t.Errorf("section %d has %s, %s, fingerprint %q, setup %v; the group has %v", i, ufrag, pwd, attribute(d, i, "fingerprint"), m.Has("setup"), group)
		}
	}
	return group
}

// What the offers of browsers have in common, bundle-only sections included, and ours have too.
func TestBrowsersOfferOneSetOfCredentials(t *testing.T) {
	for _, name := range append(captured(t, "chromium-*offer*.sdp"), captured(t, "firefox-*offer*.sdp")...) {
		d, err := sdp.Parse(read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		together(t, d)
	}
}

// RFC 8839 section 5.4: "If two data streams have identical "ice-ufrag"s, they MUST have identical "ice-pwd"s." A group has one set of
// credentials through all that can happen to it: offers made again, rolled back, restarted and restarted again.
func TestOneSetOfCredentials(t *testing.T) {
	for policy, before := range map[BundlePolicy]int{Balanced: 3, MaxCompat: 5, MaxBundle: 1} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			ok := must(t)
			a, b := policed(t, 1, policy), session(t, 2)
			crowd(t, a)
			made := together(t, reoffer(t, a, OfferOptions{}))
			changes := ok(a.SetLocal(Description{}))
			for i, x := range changes.Transports {
				// those beside the first are spare until the answer
				if x.Local != made || x.Spare != (i > 0) {
					t.Errorf("transport %d: %v, spare %v; the offer has %v", i, x.Local, x.Spare, made)
				}
			}
			// another section, before the answer
			add(t, a, "video", TransceiverInit{})
			if again := together(t, reoffer(t, a, OfferOptions{})); again != made {
				t.Errorf("another offer has %v, was %v", again, made)
			}
			// a restart before the answer
			restarted := together(t, reoffer(t, a, OfferOptions{ICERestart: true}))
			changes = ok(a.SetLocal(Description{Type: Offer}))
			for i, x := range changes.Transports {
				if old := i < before; restarted == made || x.Local != made && old || x.Restart != restarted && old || x.Local != restarted && !old {
					t.Errorf("transport %d: %v and %v, offered %v and %v", i, x.Local, x.Restart, made, restarted)
				}
			}
			// taken back
			changes = ok(a.SetLocal(Description{Type: Rollback}))
			if len(changes.Transports) != 0 {
				t.Errorf("after a rollback: %+v", changes.Transports)
			}
			// negotiated
			mine, _ := negotiate(t, a, b)
			if len(mine.Transports) != 1 || mine.Transports[0].Spare {
				t.Fatalf("%+v", mine.Transports)
			}
			standing := mine.Transports[0].Local
			if d := reoffer(t, a, OfferOptions{}); together(t, d) != standing {
				t.Errorf("a later offer has others than %v", standing)
			}
			// restarted by a, taken back, then restarted by b
			if d := reoffer(t, a, OfferOptions{ICERestart: true}); together(t, d) == standing {
				t.Error("a restart changes nothing")
			}
			offered := ok(a.SetLocal(Description{Type: Offer})).Transports[0]
			ok(a.SetLocal(Description{Type: Rollback}))
			b.RestartICE()
			theirs, after := negotiate(t, b, a)
			if x := after.Transports[0]; x.Local == standing || x.Local == offered.Restart || x.Remote != theirs.Transports[0].Local {
				t.Errorf("%v after %v", x.Local, standing)
			}
			together(t, parsed(t, a.CurrentLocal()))
			together(t, parsed(t, b.CurrentLocal()))
		})
	}
}

// A peer that refuses BUNDLE takes all transports up, with the credentials that they have in common; its own tell them apart.
// Candidates are of one section each. A restart gives each its own.
func TestCredentialsWithoutBundle(t *testing.T) {
	ok := must(t)
	a := policed(t, 1, MaxCompat)
	crowd(t, a)
	offered := ok(a.SetLocal(Description{}))
	gather := func(x *Transport, ufrag string) string {
		t.Helper()
		c, err := sdp.ParseCandidate(fmt.Sprintf("candidate:1 1 udp 1 192.0.2.7 %d typ host", 5000+x.ID))
		if err != nil {
			t.Fatal(err)
		}
		l, done := a.AddLocalCandidate(x.ID, ufrag, c)
		if !done || l.SDPMid != x.MID || l.Ufrag != ufrag {
			t.Fatalf("transport %d: %+v, %v", x.ID, l, done)
		}
		a.EndOfLocalCandidates(x.ID, ufrag)
		return strings.TrimPrefix(l.Candidate, "candidate:")
	}
	var candidates []string
	for i := range offered.Transports {
		candidates = append(candidates, gather(&offered.Transports[i], offered.Transports[i].Local.Ufrag))
	}
	changes := ok(a.SetRemote(refusesBundle(t, a.PendingLocal())))
	for i, x := range changes.Transports {
		if x.Local != offered.Transports[0].Local || x.Spare || x.Remote.Ufrag != fmt.Sprintf("peer%d", i) {
			t.Errorf("transport %d: %+v", i, x)
		}
	}
	d := reoffer(t, a, OfferOptions{})
	for i, m := range d.Media {
		if got := values(m, "candidate"); !slices.Equal(got, candidates[i:i+1]) || values(m, "ice-ufrag")[0] != offered.Transports[0].Local.Ufrag {
			t.Errorf("section %d has the candidates %q and %q, not %q", i, got, values(m, "ice-ufrag"), candidates[i])
		}
	}
	// RFC 8829 section 5.2.1 as it is written, where no group is proposed: "MUST contain a unique set of ICE credentials"
	restarted := reoffer(t, a, OfferOptions{ICERestart: true})
	ufrags := map[string]bool{}
	for _, m := range restarted.Media {
		ufrags[values(m, "ice-ufrag")[0]] = true
	}
	if restarted.Has("group") || len(ufrags) != len(restarted.Media) || ufrags[offered.Transports[0].Local.Ufrag] {
		t.Errorf("after a restart: %v", ufrags)
	}
	// a section that comes then is a group of its own
	add(t, a, "audio", TransceiverInit{})
	d = reoffer(t, a, OfferOptions{})
	if groups, _ := d.Groups(); len(groups) != 1 || !slices.Equal(groups[0].MIDs, []string{"5"}) || values(d.Media[5], "ice-ufrag")[0] == offered.Transports[0].Local.Ufrag {
		t.Errorf("another section: %+v, %q", groups, values(d.Media[5], "ice-ufrag"))
	}
}

// Candidates of transports that BUNDLE has closed are in no later offer, whichever section carries what is left.
func TestCandidatesOfClosedTransports(t *testing.T) {
	ok := must(t)
	a, b := policed(t, 1, MaxCompat), session(t, 2)
	crowd(t, a)
	for i, x := range ok(a.SetLocal(Description{})).Transports {
		c, _ := sdp.ParseCandidate(fmt.Sprintf("candidate:1 1 udp 1 192.0.2.7 %d typ host", 5000+i))
		a.AddLocalCandidate(x.ID, x.Local.Ufrag, c)
		a.EndOfLocalCandidates(x.ID, x.Local.Ufrag)
	}
	ok(b.SetRemote(a.PendingLocal()))
	ok(b.SetLocal(Description{}))
	ok(a.SetRemote(b.CurrentLocal()))
	for at := range 3 {
		check := func(d *sdp.Description) {
			t.Helper()
			for i, m := range d.Media {
				candidates := values(m, "candidate")
				if i == at && (len(candidates) != 1 || !strings.Contains(candidates[0], " 5000 ") || m.Port != 5000 || !m.Has("end-of-candidates")) || i != at && len(candidates) > 0 {
					t.Errorf("section %d, when %d carries: %q, port %d", i, at, candidates, m.Port)
				}
			}
		}
		check(reoffer(t, a, OfferOptions{}))
		ok(a.SetLocal(Description{}))
		check(parsed(t, a.PendingLocal()))
		check(reoffer(t, a, OfferOptions{}))
		if at == 1 { // back, and once more
			ok(a.SetLocal(Description{Type: Rollback}))
			ok(a.SetLocal(Description{}))
		}
		ok(b.SetRemote(a.PendingLocal()))
		ok(b.SetLocal(Description{}))
		ok(a.SetRemote(b.CurrentLocal()))
		if err := a.Transceivers()[0].Stop(); err != nil { // the one that carries
			t.Fatal(err)
		}
	}
}

// RFC 9143 section 7.3.1: the answerer selects the tagged section, and RFC 9143 section 7.5.1: what carries that carries the group.
func TestAnswerTagsAnotherSection(t *testing.T) {
	ok := must(t)
	a, b := policed(t, 1, MaxCompat), session(t, 2)
	crowd(t, a)
	offered := ok(a.SetLocal(Description{}))
	ok(b.SetRemote(a.PendingLocal()))
	ok(b.SetLocal(Description{}))
	changes := ok(a.SetRemote(edit(t, b.CurrentLocal(), func(d *sdp.Description) {
		for i, l := range d.Lines {
			d.Lines[i].Value = strings.Replace(l.Value, "BUNDLE 0 1 2 3 4", "BUNDLE 2 0 1 3 4", 1)
		}
	})))
	if len(changes.Transports) != 1 || changes.Transports[0].ID != offered.Transports[2].ID || changes.Transports[0].MID != "2" || len(changes.Transports[0].MIDs) != 5 {
		t.Errorf("%+v", changes.Transports)
	}
}

// RFC 9143 section 10: of an offer's candidates those of the tagged section are the group's; the others' are of transports that the
// peer has in case that we do not bundle. If we reject the section that it has tagged, the next one counts.
func TestSpareCandidates(t *testing.T) {
	for _, rejects := range []bool{false, true} {
		ok := must(t)
		cfg := Config{Entropy: entropy(2), Fingerprints: []sdp.Fingerprint{fingerprint(2)}}
		if rejects {
			cfg.Audio = []Codec{}
		}
		a := policed(t, 1, MaxCompat)
		b, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		crowd(t, a)
		for i, x := range ok(a.SetLocal(Description{})).Transports {
			c, _ := sdp.ParseCandidate(fmt.Sprintf("candidate:1 1 udp 1 192.0.2.7 %d typ host", 5000+i))
			a.AddLocalCandidate(x.ID, x.Local.Ufrag, c)
		}
		ok(b.SetRemote(a.PendingLocal()))
		heard := func() (ports []int) {
			for _, x := range b.RemoteCandidates() {
				ports = append(ports, int(x.Candidate.Port))
			}
			return ports
		}
		if got := heard(); !slices.Equal(got, []int{5000}) {
			t.Errorf("the offer has %v", got)
		}
		trickle := func(mid string) int {
			targets, err := b.AddCandidate(CandidateInit{Candidate: "candidate:2 1 udp 1 192.0.2.8 6000 typ host", SDPMid: &mid})
			if err != nil {
				t.Fatal(err)
			}
			return len(targets)
		}
		if trickle("0") != 1 || trickle("2") != 0 || trickle("4") != 0 {
			t.Error("trickled candidates go astray")
		}
		theirs := ok(b.SetLocal(Description{}))
		want, at := []int{5000, 6000}, "0"
		if rejects {
			want, at = []int{5002, 6000}, "2"
		}
		if got := heard(); !slices.Equal(got, want) {
			t.Errorf("tag rejected %v: the candidates are %v", rejects, got)
		}
		mine := ok(a.SetRemote(b.CurrentLocal()))
		if len(mine.Transports) != 1 || mine.Transports[0].MID != at || theirs.Transports[0].MID != at {
			t.Errorf("tag rejected %v: %+v", rejects, mine.Transports)
		}
	}
}
