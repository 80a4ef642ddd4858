package jsep

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// entropy is a reader that gives the same bytes for the same seed.
func entropy(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func session(t testing.TB, seed byte) *Session {
	t.Helper()
	s, err := New(Config{Entropy: entropy(seed), Fingerprints: []sdp.Fingerprint{fingerprint(seed)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fingerprint(seed byte) sdp.Fingerprint {
	return sdp.Fingerprint{Hash: "sha-256", Value: strings.Repeat(fmt.Sprintf("%02X:", seed), 31) + fmt.Sprintf("%02X", seed)}
}

func captured(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "sdp", "testdata", "*", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no captured descriptions %s: %v", pattern, err)
	}
	return names
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func must(t testing.TB) func(c Changes, err error) Changes {
	return func(c Changes, err error) Changes {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// negotiate runs one round of offer and answer, and returns what the answer changed on both sides.
func negotiate(t testing.TB, offerer, answerer *Session) (mine, theirs Changes) {
	t.Helper()
	ok := must(t)
	ok(offerer.SetLocal(Description{}))
	ok(answerer.SetRemote(offerer.PendingLocal()))
	theirs = ok(answerer.SetLocal(Description{}))
	mine = ok(offerer.SetRemote(answerer.CurrentLocal()))
	if offerer.SignalingState() != Stable || answerer.SignalingState() != Stable {
		t.Fatalf("after an answer the states are %s and %s", offerer.SignalingState(), answerer.SignalingState())
	}
	return mine, theirs
}

func TestData(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	if a.NegotiationNeeded() {
		t.Error("nothing is there and an offer is needed")
	}
	a.AddData()
	if !a.NegotiationNeeded() {
		t.Error("a data channel needs an offer")
	}
	mine, theirs := negotiate(t, a, b)
	if a.NegotiationNeeded() || b.NegotiationNeeded() {
		t.Error("an offer is needed after the answer")
	}
	if mine.Data == nil || theirs.Data == nil || mine.Data.RemotePort != 5000 || theirs.Data.MaxMessageSize != 262144 {
		t.Fatalf("data is %+v and %+v", mine.Data, theirs.Data)
	}
	if len(mine.Transports) != 1 || len(theirs.Transports) != 1 {
		t.Fatalf("%d and %d transports, want one each", len(mine.Transports), len(theirs.Transports))
	}
	x, y := mine.Transports[0], theirs.Transports[0]
	if x.Remote != y.Local || y.Remote != x.Local || x.Local == y.Local {
		t.Errorf("credentials: %+v %+v, %+v %+v", x.Local, x.Remote, y.Local, y.Remote)
	}
	if !x.Controlling || y.Controlling {
		t.Error("RFC 8445 section 6.1.1: the side that offers controls")
	}
	// RFC 5763 section 5: "it is RECOMMENDED that the answerer use setup:active"; here where it carries data alone.
	if x.Role != RoleServer || y.Role != RoleClient {
		t.Errorf("the roles are %d and %d", x.Role, y.Role)
	}
	if !slices.Equal(x.RemoteFingerprints, []sdp.Fingerprint{fingerprint(2)}) {
		t.Errorf("the peer's fingerprints are %v", x.RemoteFingerprints)
	}
	if x.Association != 1 {
		t.Errorf("the first association is number %d", x.Association)
	}
}

// RFC 8829 section 4.1.18: restartIce makes the next offer carry new credentials, and the association of DTLS goes on.
func TestRestart(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	before, _ := negotiate(t, a, b)
	a.RestartICE()
	if !a.NegotiationNeeded() {
		t.Error("a restart needs an offer")
	}
	after, theirs := negotiate(t, a, b)
	x, y := after.Transports[0], theirs.Transports[0]
	if x.Local == before.Transports[0].Local || y.Remote != x.Local || y.Local == before.Transports[0].Remote {
		t.Errorf("credentials before %+v, after %+v and %+v", before.Transports[0], x, y)
	}
	if x.ID != before.Transports[0].ID || x.Association != 1 {
		t.Errorf("a restart of ICE made transport %d, association %d", x.ID, x.Association)
	}
	if a.NegotiationNeeded() {
		t.Error("an offer is needed after the restart")
	}
}

// webrtc-pc section 4.4.1.5, setRemoteDescription: where an offer meets ours, "let p be the result of setting the local session description
// indicated by {type: "rollback"}", and "Return the result of reacting to p with a fulfillment step that sets the remote session
// description". An offer that is refused then does not bring ours back.
func TestARefusedOfferHasRolledBackOurs(t *testing.T) {
	for _, text := range []string{"rubbish", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"} {
		s := session(t, 1)
		s.AddData()
		must(t)(s.SetLocal(Description{}))
		c, err := s.SetRemote(Description{Offer, text})
		if err == nil || !c.RolledBack || c.After != Stable || s.SignalingState() != Stable || s.PendingLocal() != (Description{}) || !s.NegotiationNeeded() {
			t.Errorf("after %q: %v, %+v, %s", text, err, c, s.SignalingState())
		}
	}
}

// Both offer at once: one rolls its own back, by the offer that it applies, and answers.
func TestGlare(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	b.AddData()
	ok(a.SetLocal(Description{}))
	ok(b.SetLocal(Description{}))
	c := ok(b.SetRemote(a.PendingLocal()))
	if !c.RolledBack || b.SignalingState() != HaveRemoteOffer || b.PendingLocal() != (Description{}) {
		t.Fatalf("after the peer's offer: %+v, %s", c, b.SignalingState())
	}
	ok(b.SetLocal(Description{}))
	ok(a.SetRemote(b.CurrentLocal()))
	if b.NegotiationNeeded() {
		t.Error("the data section was negotiated by the peer's offer")
	}
}

func TestRollback(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	ok(a.SetLocal(Description{}))
	ok(b.SetRemote(a.PendingLocal()))
	for _, s := range []*Session{a, b} {
		ok(s.SetLocal(Description{Type: Rollback}))
		if s.SignalingState() != Stable || s.Local() != (Description{}) || s.Remote() != (Description{}) || len(s.Transports()) != 0 {
			t.Errorf("after a rollback: %s, %d transports", s.SignalingState(), len(s.Transports()))
		}
	}
	negotiate(t, a, b)
}

// What may not be applied in a state is refused with the W3C's name, and changes nothing.
func TestWrongState(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	offer, err := a.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error, name string) {
		t.Helper()
		if e := new(Error); !errors.As(err, &e) || e.Name != name {
			t.Errorf("%s: %v, want %s", what, err, name)
		}
	}
	_, err = b.CreateAnswer()
	refused("an answer without an offer", err, InvalidStateError)
	_, err = b.SetRemote(Description{Answer, offer.SDP})
	refused("the peer's answer without an offer of ours", err, InvalidStateError)
	_, err = b.SetLocal(Description{Type: Rollback})
	refused("a rollback in stable", err, InvalidStateError)
	_, err = b.SetRemote(Description{Offer, "v=0\nrubbish\n"})
	refused("rubbish", err, OperationError)
	_, err = b.AddCandidate(CandidateInit{Candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host", Index: new(uint16)})
	refused("a candidate before a description", err, InvalidStateError)
	_, err = a.SetLocal(Description{Offer, strings.Replace(offer.SDP, "a=ice-pwd:", "a=ice-pwd:x", 1)})
	refused("a password that was changed", err, InvalidModificationError)
	if a.SignalingState() != Stable || b.SignalingState() != Stable {
		t.Errorf("the states are %s and %s", a.SignalingState(), b.SignalingState())
	}
	b.Close()
	_, err = b.SetRemote(offer)
	refused("an offer after Close", err, InvalidStateError)
}

// Whatever browsers offer is answered, section by section, and the answer can be read.
func TestBrowsersOffersAreAnswered(t *testing.T) {
	for _, name := range captured(t, "*offer*.sdp") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			ok := must(t)
			offer := read(t, name)
			s := session(t, 3)
			ok(s.SetRemote(Description{Offer, offer}))
			c := ok(s.SetLocal(Description{}))
			theirs, err := sdp.Parse(offer)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := sdp.Parse(s.CurrentLocal().SDP)
			if err != nil {
				t.Fatal(err)
			}
			if len(ours.Media) != len(theirs.Media) {
				t.Fatalf("%d sections answer %d", len(ours.Media), len(theirs.Media))
			}
			media := false
			for i, m := range ours.Media {
				if m.Kind != theirs.Media[i].Kind {
					t.Errorf("section %d is %s, was offered as %s", i, m.Kind, theirs.Media[i].Kind)
				}
				media = media || m.Kind != "application" && m.Port != 0
			}
			for _, x := range c.Transports {
				// Where media is carried we are the server of DTLS, whose preference picks the profile of SRTP.
				want := map[bool]Role{true: RoleServer, false: RoleClient}[media]
				if setup, _ := theirs.Media[0].Attr("setup"); setup == "passive" {
					want = RoleClient // there is no choice
				}
				if x.Role != want {
					t.Errorf("transport %d has role %d, want %d", x.ID, x.Role, want)
				}
				if x.Remote.Ufrag == "" || len(x.RemoteFingerprints) == 0 {
					t.Errorf("transport %d lacks credentials or a fingerprint", x.ID)
				}
			}
			if _, err := s.SetRemote(Description{Offer, offer}); err != nil {
				t.Errorf("the same offer again: %v", err)
			}
		})
	}
}

// Audio, video and data between two of us: one transport, the streams' tracks announced, directions settled.
func TestMedia(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	for _, kind := range []string{"audio", "video"} {
		if _, err := a.AddTransceiver(kind, TransceiverInit{}); err != nil {
			t.Fatal(err)
		}
	}
	a.AddData()
	mine, theirs := negotiate(t, a, b)
	if len(mine.Transports) != 1 || len(theirs.Transports) != 1 || len(theirs.Transports[0].MIDs) != 3 {
		t.Errorf("transports: %+v and %+v", mine.Transports, theirs.Transports)
	}
	list := b.Transceivers()
	if len(list) != 2 || list[0].CurrentDirection() != sdp.RecvOnly || a.Transceivers()[1].CurrentDirection() != sdp.SendOnly {
		t.Fatalf("transceivers: %d", len(list))
	}
	if !slices.ContainsFunc(list[0].SendCodecs(), func(c Codec) bool { return strings.EqualFold(c.Name, "opus") }) {
		t.Errorf("codecs of audio: %v", list[0].SendCodecs())
	}
}

// distort changes a description line by line, so that most of what comes of it can be read: three bytes say what and where.
func distort(text string, edits []byte) string {
	lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
	for ; len(edits) >= 3 && len(lines) < 2000; edits = edits[3:] {
		i, j := int(edits[1])*len(lines)/256, int(edits[2])*len(lines)/256
		switch edits[0] % 8 {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, j, lines[i])
		case 2:
			lines[i], lines[j] = lines[j], lines[i]
		case 3: // the value of another
			name, _, _ := strings.Cut(lines[i], ":")
			_, value, _ := strings.Cut(lines[j], ":")
			lines[i] = name + ":" + value
		case 4: // a digit
			if at := strings.IndexAny(lines[i], "0123456789"); at >= 0 {
				lines[i] = lines[i][:at] + string('0'+edits[2]%10) + lines[i][at+1:]
			}
		case 5: // a word
			if words := strings.Fields(lines[i]); len(words) > 1 {
				at := 1 + int(edits[2])%(len(words)-1)
				lines[i] = strings.Join(slices.Delete(words, at, at+1), " ")
			}
		case 6: // rejected, or not
			if head, rest, ok := strings.Cut(lines[i], " 9 "); ok && strings.HasPrefix(head, "m=") {
				lines[i] = head + " 0 " + rest
			}
		case 7: // known to be meant for this
			extra := []string{"a=bundle-only", "a=inactive", "a=rtcp-mux", "a=ice-lite", "a=setup:active", "a=mid:0", "a=sctp-port:5000", "a=sctp-port:0", "b=AS:1", "a=simulcast:recv q;h", "a=rid:q recv", "a=group:BUNDLE 0 1"}
			lines = slices.Insert(lines, i, extra[int(edits[2])%len(extra)])
		}
		if len(lines) == 0 {
			return ""
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// FuzzSetRemote applies text as an offer or an answer to a session that is fresh, that has offered, or that has negotiated. What
// is refused changes nothing; what is taken is answered, and ours can be read and offered again.
func FuzzSetRemote(f *testing.F) {
	for i, name := range captured(f, "*.sdp") {
		f.Add(read(f, name), byte(i), []byte{})
		f.Add(read(f, name), byte(3*i), []byte{byte(i), byte(7 * i), byte(3 * i), byte(i / 2), byte(40 + 3*i), byte(11 * i)})
	}
	f.Fuzz(func(t *testing.T, text string, how byte, edits []byte) {
		text = distort(text, edits)
		s, kind := session(t, 4), Offer
		ok := must(t)
		if how&1 != 0 { // with sections of its own
			add(t, s, "audio", TransceiverInit{AddTrack: true})
			add(t, s, "video", TransceiverInit{RIDs: []string{"q", "h", "f"}})
			s.AddData()
		}
		switch how >> 1 & 3 {
		case 1:
			ok(s.SetLocal(Description{}))
			kind = Answer
		case 2:
			ok(s.SetLocal(Description{}))
			kind = Pranswer
		case 3:
			negotiate(t, s, session(t, 5))
		}
		if s.state == HaveLocalOffer && how&8 != 0 {
			kind = Offer // which rolls ours back
		}
		before, local, remote, transports := s.SignalingState(), s.Local(), s.Remote(), len(s.Transports())
		if _, err := s.SetRemote(Description{kind, text}); err != nil {
			if e := new(Error); !errors.As(err, &e) || e.Name == "" {
				t.Fatalf("refused by %v", err)
			}
			rolled := kind == Offer && before == HaveLocalOffer && s.SignalingState() == Stable
			if !rolled && (s.SignalingState() != before || s.Local() != local || s.Remote() != remote || len(s.Transports()) != transports) {
				t.Fatalf("refused (%v), and something changed: %s is %s", err, before, s.SignalingState())
			}
		} else if s.SignalingState() == HaveRemoteOffer {
			ok(s.SetLocal(Description{}))
		}
		if _, err := sdp.Parse(s.Local().SDP); err != nil && s.Local().SDP != "" {
			t.Fatalf("ours cannot be read: %v", err)
		}
		for _, target := range s.RemoteCandidates() {
			if !slices.ContainsFunc(s.Transports(), func(x Transport) bool { return x.ID == target.Transport }) {
				t.Fatalf("a candidate is for transport %d", target.Transport)
			}
		}
		if s.SignalingState() == Stable {
			ok(s.SetLocal(Description{}))
			ok(s.SetLocal(Description{Type: Rollback}))
		}
	})
}

// Descriptions are kept as text between negotiations. Whatever a peer trickles before, what is read from them afterwards is
// the same, and later candidates and offers find them whole.
func TestDescriptionsAreKeptAsText(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	negotiate(t, a, b)
	mid := "0"
	for _, c := range []string{"candidate:1 1 udp 1 192.0.2.1\r\na=evil 5 typ host", "candidate:1 1 udp 1 192.0.2.1 5 typ host " + strings.Repeat("x ", 5000), "candidate:1 1 udp 1 192.0.2.1\x00 5 typ host"} {
		if _, err := b.AddCandidate(CandidateInit{Candidate: c, SDPMid: &mid}); err == nil {
			t.Errorf("%.60q was added", c)
		}
	}
	const good = "candidate:1 1 udp 1 192.0.2.1 5 typ host generation 0"
	for _, c := range []string{good, ""} { // the second is the last
		if _, err := b.AddCandidate(CandidateInit{Candidate: c, SDPMid: &mid}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if b.currentRemote.parsed != nil || b.currentLocal.parsed != nil {
			t.Error("the descriptions are not packed after the last candidate")
		}
		if got := b.CurrentRemote().SDP; !strings.Contains(got, "a="+good+"\r\na=end-of-candidates\r\n") {
			t.Errorf("the remote description is\n%s", got)
		}
		if n := len(b.RemoteCandidates()); n != 2 { // and the end
			t.Errorf("%d remote candidates", n)
		}
	}
	negotiate(t, b, a)
}
