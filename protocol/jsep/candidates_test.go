package jsep

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

const host = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"

// addIceCandidate (webrtc-pc section 4.4.2): what is refused, by its steps, and what reaches which transport.
func TestAddCandidate(t *testing.T) {
	mid := func(s string) *string { return &s }
	index := func(i uint16) *uint16 { return &i }
	ufragOf := func(s *Session) string { return s.Transports()[0].Remote.Ufrag }

	s, peer := in(t, HaveRemoteOffer)
	for _, c := range []struct {
		what string
		init CandidateInit
		name string // "": it is taken
	}{
		// "If candidate is not an empty string and both sdpMid and sdpMLineIndex are null" TypeError
		{"neither mid nor index", CandidateInit{Candidate: host}, TypeError},
		{"neither, with a fragment", CandidateInit{Candidate: host, Ufrag: mid(ufragOf(s))}, TypeError},
		{"a mid", CandidateInit{Candidate: host, SDPMid: mid("0")}, ""},
		{"an index", CandidateInit{Candidate: host, Index: index(0)}, ""},
		{"a mid that is not there", CandidateInit{Candidate: host, SDPMid: mid("nowhere")}, OperationError},
		{"a mid that is not there, though the index is", CandidateInit{Candidate: host, SDPMid: mid("nowhere"), Index: index(0)}, OperationError},
		{"a mid, and an index that is not there", CandidateInit{Candidate: host, SDPMid: mid("0"), Index: index(99)}, ""},
		{"an empty mid", CandidateInit{Candidate: host, SDPMid: mid("")}, OperationError},
		{"an index that is not there", CandidateInit{Candidate: host, Index: index(1)}, OperationError},
		{"a fragment", CandidateInit{Candidate: host, SDPMid: mid("0"), Ufrag: mid(ufragOf(s))}, ""},
		{"a fragment of nobody", CandidateInit{Candidate: host, SDPMid: mid("0"), Ufrag: mid("nobody")}, OperationError},
		{"a fragment of nobody within the candidate", CandidateInit{Candidate: host + " ufrag nobody", SDPMid: mid("0")}, OperationError},
		{"text that is no candidate", CandidateInit{Candidate: "candidate:garbage", SDPMid: mid("0")}, OperationError},
		{"a candidate with a= before it", CandidateInit{Candidate: "a=" + host, SDPMid: mid("0")}, ""},
		{"extensions that nobody knows", CandidateInit{Candidate: host + " generation 0 colour blue", SDPMid: mid("0")}, ""},
		{"a name", CandidateInit{Candidate: strings.Replace(host, "192.0.2.1", "1f47.local", 1), SDPMid: mid("0")}, ""},
		{"the end, of one section", CandidateInit{SDPMid: mid("0")}, ""},
		{"the end, of all sections", CandidateInit{}, ""},
		{"the end of another's fragment", CandidateInit{Ufrag: mid("nobody")}, OperationError},
	} {
		targets, err := s.AddCandidate(c.init)
		if name(err) != c.name {
			t.Errorf("%s: %v, want %q", c.what, err, c.name)
			continue
		}
		if c.name != "" {
			continue
		}
		if len(targets) != 1 || targets[0].Transport != s.Transports()[0].ID || targets[0].Ufrag != ufragOf(s) || targets[0].End != (c.init.Candidate == "") {
			t.Errorf("%s: %+v", c.what, targets)
		}
		text := strings.TrimPrefix(strings.TrimPrefix(c.init.Candidate, "a="), "candidate:")
		if line := "a=candidate:" + text; text != "" && !strings.Contains(s.PendingRemote().SDP, line) || text == "" && !strings.Contains(s.PendingRemote().SDP, "a=end-of-candidates") {
			t.Errorf("%s: it is not in the description", c.what)
		}
	}

	// "If remoteDescription is null" InvalidStateError; the TypeError comes first.
	fresh := session(t, 7)
	if _, err := fresh.AddCandidate(CandidateInit{Candidate: host, SDPMid: mid("0")}); name(err) != InvalidStateError {
		t.Errorf("without a description: %v", err)
	}
	if _, err := fresh.AddCandidate(CandidateInit{}); name(err) != InvalidStateError {
		t.Errorf("the end without a description: %v", err)
	}
	if _, err := fresh.AddCandidate(CandidateInit{Candidate: host}); name(err) != TypeError {
		t.Errorf("neither mid nor index, without a description: %v", err)
	}
	fresh.Close()
	if _, err := fresh.AddCandidate(CandidateInit{SDPMid: mid("0")}); name(err) != InvalidStateError {
		t.Errorf("closed: %v", err)
	}

	// A restart that the peer offers: candidates of both generations have their place, by their fragment.
	ok := must(t)
	ok(s.SetLocal(Description{}))
	ok(peer.SetRemote(s.CurrentLocal()))
	before := ufragOf(s)
	peer.RestartICE()
	ok(peer.SetLocal(Description{}))
	ok(s.SetRemote(peer.PendingLocal()))
	d, _ := sdp.Parse(peer.PendingLocal().SDP)
	after, _ := d.Media[0].Attr("ice-ufrag")
	for _, u := range []string{before, after} {
		targets, err := s.AddCandidate(CandidateInit{Candidate: host, SDPMid: mid("0"), Ufrag: &u})
		if err != nil || len(targets) != 1 || targets[0].Ufrag != u {
			t.Errorf("a candidate of %q: %+v, %v", u, targets, err)
		}
	}
	if targets, err := s.AddCandidate(CandidateInit{Candidate: host, SDPMid: mid("0")}); err != nil || targets[0].Ufrag != after {
		t.Errorf("one that does not say: %+v, %v; want %q, the newest", targets, err, after)
	}
}

// A flood of candidates leaves the description within its bounds.
func TestCandidatesAreBounded(t *testing.T) {
	s, _ := in(t, HaveRemoteOffer)
	zero := uint16(0)
	for i := range 2000 {
		if _, err := s.AddCandidate(CandidateInit{Candidate: strings.Replace(host, "5000", fmt.Sprint(1000+i), 1), Index: &zero}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := sdp.Parse(s.PendingRemote().SDP)
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := d.Media[0].Candidates(); len(all) != maxCandidates {
		t.Errorf("%d candidates are kept", len(all))
	}
	ports := map[uint16]bool{}
	for _, target := range s.RemoteCandidates() {
		ports[target.Candidate.Port] = true
	}
	if len(ports) != maxCandidates {
		t.Errorf("%d candidates are told", len(ports))
	}
}

// What was gathered is in the local descriptions, of the right generation, and the default destination follows the most
// reachable (RFC 8839 section 4.2.1.2).
func TestLocalCandidates(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	add(t, a, "audio", TransceiverInit{})
	a.AddData()
	x := ok(a.SetLocal(Description{})).Transports
	parse := func(text string) sdp.Candidate {
		c, err := sdp.ParseCandidate(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gathered := func(text, destination string) {
		t.Helper()
		l, ok := a.AddLocalCandidate(x[0].ID, x[0].Local.Ufrag, parse(text))
		if !ok || l.SDPMid != "0" || l.Index != 0 || l.Ufrag != x[0].Local.Ufrag || l.Candidate != text {
			t.Errorf("%+v, %v", l, ok)
		}
		d, err := sdp.Parse(a.PendingLocal().SDP)
		if err != nil {
			t.Fatal(err)
		}
		var c string
		for _, line := range d.Media[0].Lines {
			if line.Type == 'c' {
				c = line.Value
			}
		}
		if got := fmt.Sprint(d.Media[0].Port, " ", c); got != destination {
			t.Errorf("after %s the destination is %s, want %s", text, got, destination)
		}
		if v, _ := d.Media[0].Attr("rtcp"); v != destination {
			t.Errorf("after %s that of RTCP, which is multiplexed, is %s", text, v)
		}
	}
	gathered("candidate:1 1 udp 9 1f47.local 4000 typ host", "9 IN IP4 0.0.0.0")
	gathered("candidate:1 1 udp 9 192.0.2.1 4000 typ host", "4000 IN IP4 192.0.2.1")
	gathered("candidate:4 1 tcp 9 192.0.2.1 9 typ host tcptype active", "4000 IN IP4 192.0.2.1")
	gathered("candidate:2 1 udp 8 198.51.100.1 4001 typ srflx raddr 192.0.2.1 rport 4000", "4001 IN IP4 198.51.100.1")
	gathered("candidate:3 1 udp 7 2001:db8::1 4002 typ relay raddr 198.51.100.1 rport 4001", "4002 IN IP6 2001:db8::1")
	gathered("candidate:5 1 udp 9 192.0.2.2 4003 typ host", "4002 IN IP6 2001:db8::1")
	if l, ok := a.EndOfLocalCandidates(x[0].ID, x[0].Local.Ufrag); !ok || l.Candidate != "" || l.SDPMid != "0" {
		t.Errorf("the end: %+v, %v", l, ok)
	}
	if _, ok := a.AddLocalCandidate(x[0].ID, "nobody", parse(host)); ok {
		t.Error("a candidate of no generation has a place")
	}
	if _, ok := a.AddLocalCandidate(99, x[0].Local.Ufrag, parse(host)); ok {
		t.Error("a candidate of no transport has a place")
	}
	// The peer reads them all out of the description.
	ok(b.SetRemote(a.PendingLocal()))
	if all := b.RemoteCandidates(); len(all) != 7 || !all[6].End || all[0].Candidate.Address != "1f47.local" {
		t.Errorf("%+v", all)
	}
}

// addIceCandidate, 4.4: "If candidate.usernameFragment is not null, and is not equal to any username fragment present in the corresponding
// media description of an applied remote description, then reject p with a newly created OperationError"; 4.6: "If both
// candidate.sdpMid and candidate.sdpMLineIndex are null, then this end-of-candidates indication applies to all media descriptions."
func TestEndOfAGeneration(t *testing.T) {
	offer := func() Description {
		a, err := New(Config{Entropy: entropy(1), Fingerprints: []sdp.Fingerprint{fingerprint(1)}, Bundle: MaxCompat})
		if err != nil {
			t.Fatal(err)
		}
		add(t, a, "audio", TransceiverInit{})
		add(t, a, "video", TransceiverInit{})
		must(t)(a.SetLocal(Description{}))
		return edit(t, a.PendingLocal(), func(d *sdp.Description) {
			d.Remove("group")
			d.Media[1].Set("ice-ufrag", "second")
		})
	}()
	ends := func(s *Session) (at []int) {
		d, err := sdp.Parse(s.PendingRemote().SDP)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range d.Media {
			if m.Has("end-of-candidates") {
				at = append(at, i)
			}
		}
		return at
	}
	var ufrag [2]string
	for i := range ufrag {
		d, err := sdp.Parse(offer.SDP)
		if err != nil {
			t.Fatal(err)
		}
		ufrag[i] = attribute(d, i, "ice-ufrag")
	}
	for what, c := range map[string]struct {
		init CandidateInit
		want []int
		err  string
	}{
		"all":                         {CandidateInit{}, []int{0, 1}, ""},
		"the first one's":             {CandidateInit{Ufrag: &ufrag[0]}, []int{0}, ""},
		"the second one's":            {CandidateInit{Ufrag: &ufrag[1]}, []int{1}, ""},
		"nobody's":                    {CandidateInit{Ufrag: new("bogus")}, nil, OperationError},
		"the second one's, for first": {CandidateInit{Ufrag: &ufrag[1], SDPMid: new("0")}, nil, OperationError},
		"of a section":                {CandidateInit{Index: new(uint16(1))}, []int{1}, ""},
	} {
		s := session(t, 2)
		must(t)(s.SetRemote(offer))
		targets, err := s.AddCandidate(c.init)
		if name(err) != c.err || !slices.Equal(ends(s), c.want) || err == nil && len(targets) == 0 {
			t.Errorf("%s: %v, %+v, ends in %v", what, err, targets, ends(s))
		}
	}
}

// The peer was gathering on the first section when its next offer rejected that: the candidates are those of what else it carried.
func TestCandidatesOfARejectedSection(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	add(t, a, "audio", TransceiverInit{})
	a.AddData()
	mine, _ := negotiate(t, a, b)
	if err := a.Transceivers()[0].Stop(); err != nil {
		t.Fatal(err)
	}
	ok(a.SetLocal(Description{}))
	ok(b.SetRemote(a.PendingLocal()))
	ok(b.SetLocal(Description{}))
	zero := "0"
	targets, err := b.AddCandidate(CandidateInit{Candidate: host, SDPMid: &zero, Ufrag: &mine.Transports[0].Local.Ufrag})
	if err != nil || len(targets) != 1 || targets[0].Transport != b.Transports()[0].ID {
		t.Errorf("%+v, %v", targets, err)
	}
	other := "other"
	if _, err := b.AddCandidate(CandidateInit{Candidate: host, SDPMid: &zero, Ufrag: &other}); err == nil {
		t.Error("one of no generation was taken")
	}
	// An offer of ours that gives its place to another does not change what "media description in remoteDescription" has the mid.
	add(t, b, "video", TransceiverInit{})
	ok(b.SetLocal(Description{}))
	if mid, _ := parsed(t, b.PendingLocal()).Media[0].Attr("mid"); mid == zero {
		t.Fatal("the section was not recycled")
	}
	targets, err = b.AddCandidate(CandidateInit{Candidate: host, SDPMid: &zero, Ufrag: &mine.Transports[0].Local.Ufrag})
	if err != nil || len(targets) != 1 || targets[0].Transport != b.Transports()[0].ID {
		t.Errorf("during the next offer: %+v, %v", targets, err)
	}
}
