package jsep

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

func policed(t testing.TB, seed byte, p BundlePolicy) *Session {
	t.Helper()
	s, err := New(Config{Entropy: entropy(seed), Fingerprints: []sdp.Fingerprint{fingerprint(seed)}, Bundle: p})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crowd asks for two sections of audio, two of video, and data.
func crowd(t testing.TB, s *Session) {
	t.Helper()
	for _, kind := range []string{"audio", "audio", "video", "video"} {
		add(t, s, kind, TransceiverInit{})
	}
	s.AddData()
}

// edit parses, changes and writes a description.
func edit(t testing.TB, d Description, change func(d *sdp.Description)) Description {
	t.Helper()
	parsed, err := sdp.Parse(d.SDP)
	if err != nil {
		t.Fatal(err)
	}
	change(parsed)
	return Description{d.Type, parsed.String()}
}

// refusesBundle answers as a peer that knows no BUNDLE: each section that was offered with a transport of its own is
// accepted with one, and bundle-only sections, whose port is zero, are rejected.
func refusesBundle(t testing.TB, offer Description) Description {
	d := edit(t, offer, func(d *sdp.Description) {
		d.Remove("group")
		for i, m := range d.Media {
			if m.Port == 0 {
				m.Lines = slices.DeleteFunc(m.Lines, func(l sdp.Line) bool { return l.Type == 'a' })
				continue
			}
			m.Set("ice-ufrag", fmt.Sprintf("peer%d", i))
			m.Set("ice-pwd", fmt.Sprintf("aPasswordOfThePeer%d+++++", i))
			m.Set("fingerprint", fingerprint(byte(100+i)).String())
			m.Set("setup", "active")
			m.Remove("tls-id")
		}
	})
	return Description{Answer, d.SDP}
}

// RFC 8829 section 4.1.1 and 5.2.1: how many transports a policy provides for, which sections are bundle-only, and what is
// left where the answer bundles, or does not.
func TestBundlePolicies(t *testing.T) {
	for _, c := range []struct {
		policy     BundlePolicy
		own        []bool // sections with a transport
		transports int
	}{
		{Balanced, []bool{true, false, true, false, true}, 3},
		{MaxCompat, []bool{true, true, true, true, true}, 5},
		{MaxBundle, []bool{true, false, false, false, false}, 1},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			ok := must(t)
			a, b := policed(t, 1, c.policy), session(t, 2)
			crowd(t, a)
			offered := ok(a.SetLocal(Description{}))
			if len(offered.Transports) != c.transports {
				t.Errorf("the offer has %d transports, want %d", len(offered.Transports), c.transports)
			}
			d, err := sdp.Parse(a.PendingLocal().SDP)
			if err != nil {
				t.Fatal(err)
			}
			if groups, _ := d.Groups(); len(groups) != 1 || !slices.Equal(groups[0].MIDs, []string{"0", "1", "2", "3", "4"}) {
				t.Errorf("groups: %+v", groups)
			}
			for i, m := range d.Media {
				// RFC 9143 section 7.2.2: a section that is bundle-only has port 0, and shares the transport of the tagged one
				if own := c.own[i]; m.Has("bundle-only") == own || m.Port == 0 == own || m.Has("rtcp-mux-only") != (own && m.Kind != "application") {
					t.Errorf("section %d: own %v, bundle-only %v, port %d", i, own, m.Has("bundle-only"), m.Port)
				}
			}

			// the peer bundles
			ok(b.SetRemote(a.PendingLocal()))
			theirs := ok(b.SetLocal(Description{}))
			mine := ok(a.SetRemote(b.CurrentLocal()))
			if len(theirs.Transports) != 1 || len(mine.Transports) != 1 || len(mine.ClosedIDs) != c.transports-1 || len(mine.Transports[0].MIDs) != 5 {
				t.Errorf("bundled on %d and %d transports, closed %v", len(mine.Transports), len(theirs.Transports), mine.ClosedIDs)
			}
			// and again: the group stands
			negotiate(t, a, b)
			again, _ := negotiate(t, b, a)
			if len(again.Transports) != 1 || again.Transports[0].ID != theirs.Transports[0].ID {
				t.Errorf("a later offer: %+v", again.Transports)
			}
		})
	}
}

// A peer that knows no BUNDLE: every section that had a transport keeps it, with an ICE agent and DTLS of its own.
func TestPeerRefusesBundle(t *testing.T) {
	for _, c := range []struct {
		policy BundlePolicy
		mids   []string // what is carried, each on a transport of its own
	}{
		{Balanced, []string{"0", "2", "4"}},
		{MaxCompat, []string{"0", "1", "2", "3", "4"}},
		{MaxBundle, []string{"0"}},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			ok := must(t)
			a := policed(t, 1, c.policy)
			crowd(t, a)
			ok(a.SetLocal(Description{}))
			changes := ok(a.SetRemote(refusesBundle(t, a.PendingLocal())))
			var mids []string
			for _, x := range changes.Transports {
				mids = append(mids, strings.Join(x.MIDs, " "))
				if x.Remote.Ufrag != "peer"+x.MID || !x.Answered || x.Role != RoleServer || x.RemoteFingerprints[0] != fingerprint(100+x.MID[0]-'0') {
					t.Errorf("%+v", x)
				}
			}
			if !slices.Equal(mids, c.mids) {
				t.Errorf("carried: %q, want %q", mids, c.mids)
			}
			if (changes.Data != nil) != slices.Contains(c.mids, "4") {
				t.Errorf("data: %+v", changes.Data)
			}
			if len(changes.Stopped) != 4-len(c.mids)+map[bool]int{true: 1}[slices.Contains(c.mids, "4")] {
				t.Errorf("%d transceivers stopped", len(changes.Stopped))
			}
			// a later offer bundles nothing that the peer did not, and each candidate goes to the transport of its section
			for _, mid := range c.mids {
				targets, err := a.AddCandidate(CandidateInit{Candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host", SDPMid: &mid})
				if err != nil || len(targets) != 1 || targets[0].Ufrag != "peer"+mid {
					t.Errorf("a candidate of %s: %+v, %v", mid, targets, err)
				}
			}
			if _, err := a.CreateOffer(OfferOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Our answer to an offer without BUNDLE has a transport for each section, or rejects those that our policy wants bundled
// (RFC 8829 section 5.3.1).
func TestAnswersAnOfferWithoutBundle(t *testing.T) {
	for _, c := range []struct {
		policy   BundlePolicy
		accepted int
	}{{MaxCompat, 5}, {Balanced, 3}, {MaxBundle, 1}} {
		ok := must(t)
		a, b := policed(t, 1, MaxCompat), policed(t, 2, c.policy)
		crowd(t, a)
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) { d.Remove("group") })))
		changes := ok(b.SetLocal(Description{}))
		d, err := sdp.Parse(b.CurrentLocal().SDP)
		if err != nil {
			t.Fatal(err)
		}
		ufrags := map[string]bool{}
		for _, m := range d.Media {
			if m.Port != 0 {
				u, _ := m.Attr("ice-ufrag")
				ufrags[u] = true
			}
		}
		if d.Has("group") || len(ufrags) != c.accepted || ufrags[""] || len(changes.Transports) != c.accepted {
			t.Errorf("policy %d: group %v, ufrags %v, %d transports; want %d", c.policy, d.Has("group"), ufrags, len(changes.Transports), c.accepted)
		}
		mine := ok(a.SetRemote(b.CurrentLocal()))
		if len(mine.Transports) != c.accepted {
			t.Errorf("policy %d: the offerer has %d transports", c.policy, len(mine.Transports))
		}
	}
}

// A peer may name a thousand sections, and reject those that it names first: what that costs to take, to answer and to look through
// for candidates.
func BenchmarkManySections(b *testing.B) {
	for _, rejected := range []int{0, 890} {
		b.Run(fmt.Sprint("rejected=", rejected), func(b *testing.B) {
			var head, sections strings.Builder
			fmt.Fprintf(&head, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=fingerprint:%v\r\na=group:BUNDLE", fingerprint(9))
			for i := range 900 {
				fmt.Fprintf(&head, " %d", i)
				port := 9
				if i < rejected {
					port = 0
				}
				fmt.Fprintf(&sections, "m=audio %d UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=rtcp-mux\r\n", port, i)
			}
			offer := Description{Offer, head.String() + "\r\n" + sections.String()}
			b.ReportAllocs()
			for b.Loop() {
				s := session(b, 1)
				for _, err := range []error{second(s.SetRemote(offer)), second(s.SetLocal(Description{})), second(s.AddCandidate(CandidateInit{}))} {
					if err != nil {
						b.Fatal(err)
					}
				}
				s.RemoteCandidates()
			}
		})
	}
}

// Hundreds of sections of video go into one description, and what no peer could parse is not offered.
func TestHundredsOfSections(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	for range 300 {
		add(t, a, "video", TransceiverInit{Streams: []string{"s"}})
	}
	if mine, theirs := negotiate(t, a, b); len(mine.Media) != 300 || len(theirs.Media) != 300 || len(mine.Transports) != 1 {
		t.Errorf("%d and %d sections, %d transports", len(mine.Media), len(theirs.Media), len(mine.Transports))
	}
	few := slices.Clone(a.cfg.Audio[2:3])
	s, err := New(Config{Entropy: entropy(3), Fingerprints: []sdp.Fingerprint{fingerprint(3)}, Audio: few, AudioExtensions: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	for range sdp.MaxMedia {
		add(t, s, "audio", TransceiverInit{Direction: sdp.RecvOnly})
	}
	if _, err := s.CreateOffer(OfferOptions{}); err != nil {
		t.Error(err)
	}
	s.AddData()
	if _, err := s.CreateOffer(OfferOptions{}); name(err) != OperationError {
		t.Errorf("one too many: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// Sections that were bundled and are no longer, of which one is left, on either side: it has the transport for itself, whether it was
// the tagged one or not.
func TestOneIsLeftOfAGroup(t *testing.T) {
	for left := range 3 {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		for range 2 {
			add(t, a, "audio", TransceiverInit{})
		}
		a.AddData()
		before, _ := negotiate(t, a, b)
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) {
			d.Remove("group")
			for i, m := range d.Media {
				switch {
				case i == left:
				case m.Kind == "audio":
					m.Formats = []string{"99"} // what b does not know
					m.Remove("rtpmap")
				default:
					m.Remove("sctp-port")
				}
			}
		})))
		theirs := ok(b.SetLocal(Description{}))
		mine := ok(a.SetRemote(b.CurrentLocal()))
		for _, c := range []Changes{theirs, mine} {
			if len(c.Transports) != 1 || c.Transports[0].ID != before.Transports[0].ID || !slices.Equal(c.Transports[0].MIDs, []string{fmt.Sprint(left)}) {
				t.Errorf("section %d is left: %+v", left, c.Transports)
			}
		}
	}
}

// "If an offerer or answerer receives a 'bundle-only' attribute in a non-bundled "m=" section, the offerer or answerer MUST discard the
// attribute" (RFC 9143 section 6): with port 0 it is rejected. In a bundled one of an answer it means what it does in an offer.
func TestBundleOnly(t *testing.T) {
	bundleOnly := func(d *sdp.Description) {
		for _, m := range d.Media[1:] {
			m.Port = 0
			m.Add("bundle-only", "")
		}
	}
	for _, bundled := range []bool{true, false} {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		crowd(t, a)
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) {
			if bundleOnly(d); !bundled {
				d.Set("group", "BUNDLE 0")
			}
		})))
		ok(b.SetLocal(Description{}))
		for i, m := range parsed(t, b.CurrentLocal()).Media {
			if want := i > 0 && !bundled; (m.Port == 0) != want {
				t.Errorf("bundled %v: section %d is answered with port %d", bundled, i, m.Port)
			}
		}
		if !bundled {
			continue
		}
		c := ok(a.SetRemote(edit(t, b.CurrentLocal(), bundleOnly)))
		if n := len(parsed(t, a.CurrentLocal()).Media); len(c.Transports) != 1 || len(c.Transports[0].MIDs) != n || len(c.Stopped) != 0 || c.Data == nil {
			t.Errorf("answered with bundle-only: %+v, stopped %v, data %v", c.Transports, c.Stopped, c.Data)
		}
		negotiate(t, a, b)
		// RFC 8843, before 9143, had it in later offers as well.
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(edit(t, a.PendingLocal(), bundleOnly)))
		if c := ok(b.SetLocal(Description{})); len(c.Transports) != 1 || len(c.Transports[0].MIDs) != len(b.sections) || len(c.ClosedIDs) != 0 {
			t.Errorf("offered again with bundle-only: %+v, closed %v", c.Transports, c.ClosedIDs)
		}
	}
}
