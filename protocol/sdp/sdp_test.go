package sdp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func samples(t testing.TB) map[string]string {
	t.Helper()
	names, _ := filepath.Glob("testdata/*/*.sdp")
	if len(names) < 90 {
		t.Fatalf("only %d samples in testdata", len(names))
	}
	texts := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(name)] = string(b)
	}
	return texts
}

// walk asks for everything that can be asked for.
func walk(d *Description) error {
	_, err := d.Groups()
	errs := []error{err}
	note := func(err error) { errs = append(errs, err) }
	for _, s := range append([]*Media{{Section: d.Section}}, d.Media...) {
		_, e := s.Fingerprints()
		note(e)
		_, _, e = s.Setup()
		note(e)
		_, _, e = s.Ufrag()
		note(e)
		_, _, e = s.Pwd()
		note(e)
		_, _, e = s.TLSID()
		note(e)
		_, _, e = s.MID()
		note(e)
		_, _, e = s.SCTPPort()
		note(e)
		_, _, e = s.MaxMessageSize()
		note(e)
		cs, e := s.Candidates()
		note(e)
		for _, c := range cs {
			again, e := ParseCandidate(c.String())
			note(e)
			if again.String() != c.String() {
				note(errors.New("candidate changed: " + c.String()))
			}
		}
		_, e = s.RTPMaps()
		note(e)
		_, e = s.FMTPs()
		note(e)
		_, e = s.Feedback()
		note(e)
		_, e = s.ExtMaps()
		note(e)
		_, e = s.MSIDs()
		note(e)
		_, e = s.RIDs()
		note(e)
		_, _, e = s.Simulcast()
		note(e)
		_, e = s.SSRCs()
		note(e)
		_, e = s.SSRCGroups()
		note(e)
	}
	return errors.Join(errs...)
}

func TestSamplesRoundTrip(t *testing.T) {
	for name, text := range samples(t) {
		d, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := d.String(); got != text {
			t.Errorf("%s is not the same after parsing and writing", name)
		}
		if got := d.Clone().String(); got != text {
			t.Errorf("%s: the clone differs", name)
		}
		if err := walk(d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		lf := strings.ReplaceAll(text, "\r\n", "\n")
		if d, err := Parse(lf); err != nil || d.String() != lf {
			t.Errorf("%s with LF: %v", name, err)
		}
		for _, m := range d.Media { // typed values lose nothing
			for kind, parse := range map[string]func(string) (interface{ String() string }, error){
				"candidate":   func(s string) (interface{ String() string }, error) { return ParseCandidate(s) },
				"rtpmap":      func(s string) (interface{ String() string }, error) { return ParseRTPMap(s) },
				"fmtp":        func(s string) (interface{ String() string }, error) { return ParseFormat(s) },
				"extmap":      func(s string) (interface{ String() string }, error) { return ParseExtMap(s) },
				"msid":        func(s string) (interface{ String() string }, error) { return ParseMSID(s) },
				"rid":         func(s string) (interface{ String() string }, error) { return ParseRID(s) },
				"simulcast":   func(s string) (interface{ String() string }, error) { return ParseSimulcast(s) },
				"ssrc":        func(s string) (interface{ String() string }, error) { return ParseSSRC(s) },
				"fingerprint": func(s string) (interface{ String() string }, error) { return ParseFingerprint(s) },
			} {
				for value := range m.Attrs(kind) {
					if v, err := parse(value); err != nil || v.String() != value {
						t.Errorf("%s: a=%s:%s became %v (%v)", name, kind, value, v, err)
					}
				}
			}
		}
	}
}

const head = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"

func TestErrorsSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "sdp: line 1: the description ends before its t= line",
		"invalid":                "sdp: line 1, column 1: not of the form <type>=<value>",
		"v=1\r\n":                "sdp: line 1, column 3: the version of SDP is not 0, or the ends of lines are lost",
		"v=0\ns=-\n":             "sdp: line 2, column 1: a o= line was expected",
		"v=0\no=- x 2 IN IP4 a":  "sdp: line 2, column 5: the session id is not a number",
		head + "m=audio x a 0":   "sdp: line 5, column 9: the port was expected, a number",
		head + "m=audio 70000 a": "sdp: line 5, column 9: the port is above 65535",
		head + "m=audio 9 a":     "sdp: line 5, column 12: a format was expected",
		head + "a=:x":            "sdp: line 5, column 3: an attribute's name is a token",
		head + "j=x":             "sdp: line 5, column 1: lines of type 'j' do not exist",
		head + "c=IN IP4":        "sdp: line 5, column 9: a space was expected",
		head + "v=0":             "sdp: line 5, column 1: a v= line has no place here",
		"v=0\no=- 1 2 IN IP4 a\ns=-\nm=audio 9 a 0\n":          "sdp: line 4, column 1: a t= line was expected before the first m= line",
		head + strings.Repeat("m=audio 9 a 0\r\n", MaxMedia+1): "sdp: line 1029: more than 1024 media sections",
		head + "a=" + strings.Repeat("x", MaxLine):             "sdp: line 5, column 16384: the line is longer than 16384 bytes",
		head + strings.Repeat("a=x\r\n", MaxLen/5):             "sdp: the description is longer than 4194304 bytes",
		head + "a=x\r\n\r\na=y\r\n":                            "sdp: line 6, column 1: not of the form <type>=<value>",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%.60q: got %v, want %s", text, err, want)
		}
	}
	for line, want := range map[string]string{
		"a=candidate:1 1 udp x 1.2.3.4 5 typ host": "sdp: line 6, column 21: the priority was expected, a number",
		"a=candidate:1 0 udp 1 1.2.3.4 5 typ host": "sdp: line 6, column 16: the component is from 1 to 256",
		"a=setup:both":           "sdp: line 6, column 9: setup is active, passive, actpass or holdconn",
		"a=fingerprint:sha-1 xx": "sdp: line 6, column 21: the fingerprint is not of bytes in hexadecimal with colons between",
		"a=ice-ufrag:abc":        "sdp: line 6, column 13: ice-ufrag is too short or too long",
		"a=rtpmap:200 a/1":       "sdp: line 6, column 10: the payload type is above 127",
		"a=simulcast:send":       "sdp: line 6, column 17: a space was expected",
	} {
		d, err := Parse(head + "m=audio 9 a 0\r\n" + line)
		if err != nil {
			t.Fatal(err)
		}
		if err := walk(d); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

func TestCandidate(t *testing.T) {
	for _, text := range []string{
		"1 1 UDP 2122187007 10.99.0.1 60194 typ host",
		"842163049 1 udp 1677729535 203.0.113.5 5000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag EsAw network-cost 999",
		"1 1 tcp 1518214911 fd99::1 9 typ host tcptype active generation 0 network-id 1",
		"a 1 udp 1 4a1b-5.local 5000 typ host",
		"4234997325 1 udp 2043278322 192.0.2.172 44323 typ newtype x y",
	} {
		for _, prefix := range []string{"", "candidate:", "a=candidate:"} {
			c, err := ParseCandidate(prefix + text)
			if err != nil || c.String() != text {
				t.Errorf("%s became %s (%v)", text, c, err)
			}
		}
	}
	c, err := ParseCandidate("842163049 1 udp 1677729535 203.0.113.5 5000 typ srflx raddr 10.0.0.1 rport 7 ufrag EsAw")
	if err != nil || c.RelatedAddress != "10.0.0.1" || c.RelatedPort != 7 || c.Extension("ufrag") != "EsAw" || c.Extension("no") != "" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestChangingASection(t *testing.T) {
	d, err := Parse(head + "a=x:1\r\na=xx:2\r\na=x:3\r\na=flag\r\n")
	if err != nil {
		t.Fatal(err)
	}
	d.Set("x", "9")
	d.Set("y", "8")
	d.Remove("xx")
	if want := head + "a=x:9\r\na=x:3\r\na=flag\r\na=y:8\r\n"; d.String() != want {
		t.Errorf("got %q", d.String())
	}
	if v, ok := d.Attr("flag"); v != "" || !ok || d.Has("fla") {
		t.Error("flags are attributes without a value, and names are compared whole")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range samples(f) {
		f.Add(text)
	}
	f.Add(head + "m=application 9 DTLS/SCTP 5000\r\na=sctpmap:5000 webrtc-datachannel 1024\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is not an *Error", err)
			}
			return
		}
		_ = walk(d)
		written := d.String()
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%q", err, written)
		}
		if again.String() != written {
			t.Fatalf("%q became %q", written, again.String())
		}
	})
}
