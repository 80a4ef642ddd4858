package jsep

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// meaning is what a session has understood: transports, sections and what they carry.
func meaning(t *testing.T, s *Session) string {
	t.Helper()
	var b strings.Builder
	for _, x := range s.Transports() {
		fmt.Fprintln(&b, x.MIDs, x.Remote, x.Role, x.RemoteFingerprints, x.RemoteOptions, x.RemoteLite)
	}
	for _, m := range s.Media() {
		fmt.Fprintln(&b, m.MID, m.Kind, m.Sends, m.Receives, m.ReducedSize, m.Mixed, m.SendExtensions, m.RIDs, m.Sources)
		for _, c := range m.Send {
			feedback := slices.Clone(c.Feedback)
			slices.Sort(feedback)
			fmt.Fprintln(&b, "  ", strings.ToLower(c.Name), c.Clock, c.Channels, c.Payload, c.RTX, feedback)
		}
	}
	d, _ := s.Data()
	fmt.Fprintln(&b, d, len(s.RemoteCandidates()))
	return b.String()
}

func each(change func(m *sdp.Media)) func(d *sdp.Description) {
	return func(d *sdp.Description) {
		for _, m := range d.Media {
			change(m)
		}
	}
}

func replace(lines []sdp.Line, pattern, with string) {
	re := regexp.MustCompile(pattern)
	for i := range lines {
		lines[i].Value = re.ReplaceAllString(lines[i].Value, with)
	}
}

// What programs do to descriptions that is legal, or harmless, changes nothing of what they mean.
func TestMungedDescriptions(t *testing.T) {
	for what, munge := range map[string]func(d *sdp.Description){
		"LF": func(d *sdp.Description) { d.LF = true },
		"attributes in another order": each(func(m *sdp.Media) {
			slices.SortStableFunc(m.Lines, func(a, b sdp.Line) int {
				x, _ := a.Attr()
				y, _ := b.Attr()
				return strings.Compare(y, x) // those of one name keep theirs
			})
		}),
		"no c= lines": each(func(m *sdp.Media) {
			m.Lines = slices.DeleteFunc(m.Lines, func(l sdp.Line) bool { return l.Type == 'c' })
		}),
		"a c= line for all": func(d *sdp.Description) {
			d.Lines = slices.Insert(d.Lines, 3, sdp.Line{Type: 'c', Value: "IN IP6 ::"})
		},
		"lines of no meaning": func(d *sdp.Description) {
			d.Lines = slices.Insert(d.Lines, 3, sdp.Line{Type: 'i', Value: "about"}, sdp.Line{Type: 'u', Value: "http://example.com/"}, sdp.Line{Type: 'e', Value: "a@example.com"},
				sdp.Line{Type: 'p', Value: "+1 617 555 6011"}, sdp.Line{Type: 'b', Value: "CT:9000"})
			d.AddLine('r', "604800 3600 0 90000")
			d.AddLine('z', "2882844526 -1h")
			d.AddLine('k', "prompt")
			each(func(m *sdp.Media) {
				m.Lines = slices.Insert(m.Lines, 0, sdp.Line{Type: 'i', Value: "title"}, sdp.Line{Type: 'b', Value: "RS:0"}, sdp.Line{Type: 'k', Value: "clear:x"})
			})(d)
		},
		"unknown attributes": func(d *sdp.Description) {
			d.Add("x-of-the-session", "1")
			each(func(m *sdp.Media) {
				for _, a := range []string{"x-google-flag:conference", "maxptime:120", "ptime:20", "imageattr:* send * recv [x=[1:1920],y=[1:1080]]", "framerate:29.97", "quality:10", "lang:en",
					"crypto:1 AES_CM_128_HMAC_SHA1_80 inline:8QVQSHJ2AM8gIumHpYRRdWHyZ5NkLhaTD1AENOWx", "rtcp:9", "label:1", "content:main", "silenceSupp:off - - - -", "tcap:1 RTP/SAVPF", "pcfg:1 t=1", "sendrec"} {
					m.Lines = slices.Insert(m.Lines, 1, sdp.Line{Type: 'a', Value: a})
				}
			})(d)
		},
		"blanks at the end of lines": func(d *sdp.Description) {
			blank := func(lines []sdp.Line) {
				for i := range lines {
					if lines[i].Type == 'a' {
						lines[i].Value += "  "
					}
				}
			}
			blank(d.Lines)
			each(func(m *sdp.Media) { blank(m.Lines) })(d)
		},
		"parameters in another order, case and spacing": each(func(m *sdp.Media) {
			for i, l := range m.Lines {
				if name, value := l.Attr(); name == "fmtp" && strings.Contains(value, ";") {
					pt, list, _ := strings.Cut(value, " ")
					parts := strings.Split(strings.ToUpper(list), ";")
					slices.Reverse(parts)
					m.Lines[i].Value = "fmtp:" + pt + "  " + strings.ReplaceAll(strings.Join(parts, " ; "), "=", " = ") + ";"
				}
			}
		}),
		"names of codecs in another case": each(func(m *sdp.Media) {
			for i, l := range m.Lines {
				if name, value := l.Attr(); name == "rtpmap" {
					m.Lines[i].Value = "rtpmap:" + strings.ToLower(value)
				}
			}
		}),
		"feedback in another case and spacing": each(func(m *sdp.Media) {
			for i, l := range m.Lines {
				if name, value := l.Attr(); name == "rtcp-fb" {
					m.Lines[i].Value = "rtcp-fb:" + strings.ReplaceAll(strings.ToUpper(value), " ", "  ")
				}
			}
		}),
		"feedback for all at once": each(func(m *sdp.Media) {
			if m.Kind != "video" {
				return
			}
			m.Remove("rtcp-fb")
			for _, f := range []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"} {
				m.Add("rtcp-fb", "* "+f)
			}
		}),
		"lines said twice": each(func(m *sdp.Media) {
			for _, name := range []string{"rtpmap", "fmtp", "rtcp-fb", "extmap", "rtcp-mux", "rtcp-rsize", "ssrc", "setup", "mid", "fingerprint"} {
				for _, v := range values(m, name) {
					m.Lines = append(m.Lines, sdp.Line{Type: 'a', Value: strings.TrimSuffix(name+":"+v, ":")})
				}
			}
		}),
		"SETUP": each(func(m *sdp.Media) { m.Set("setup", "ACTPASS") }),
		"a fingerprint in another case": each(func(m *sdp.Media) {
			v, _ := m.Attr("fingerprint")
			m.Set("fingerprint", "SHA-256 "+strings.ToLower(strings.TrimPrefix(v, "sha-256 ")))
		}),
		"static payload types without rtpmap": each(func(m *sdp.Media) {
			m.Lines = slices.DeleteFunc(m.Lines, func(l sdp.Line) bool { return l.Value == "rtpmap:0 PCMU/8000" || l.Value == "rtpmap:8 PCMA/8000" })
		}),
		"one channel, said": each(func(m *sdp.Media) { replace(m.Lines, "^(rtpmap:[08] PCM[AU]/8000)$", "$1/1") }),
		"transport attributes of the session": func(d *sdp.Description) {
			for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup", "ice-options"} {
				v, _ := d.Media[0].Attr(name)
				d.Add(name, v)
				each(func(m *sdp.Media) { m.Remove(name) })(d)
			}
		},
		"those of the tagged section alone": func(d *sdp.Description) { // RFC 9143 section 7.1.3
			for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup", "ice-options"} {
				for _, m := range d.Media[1:] {
					m.Remove(name)
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			var meant [2]string
			offer := Description{Offer, captive(t, "chromium-offer-av-data.sdp")}
			for i := range meant {
				if i > 0 {
					before := offer.SDP
					if offer = edit(t, offer, munge); offer.SDP == before {
						t.Fatal("nothing changed")
					}
				}
				s := session(t, 1)
				must(t)(s.SetRemote(offer))
				must(t)(s.SetLocal(Description{}))
				meant[i] = meaning(t, s)
				must(t)(s.SetLocal(Description{})) // and offers in its turn
			}
			if meant[0] != meant[1] {
				t.Errorf("it meant\n%s\nand now\n%s\nin\n%s", meant[0], meant[1], offer.SDP)
			}
		})
	}
}

// A description of Plan B has several tracks in one section. It is refused with the reason, as browsers do since they have Unified Plan.
func TestPlanB(t *testing.T) {
	planB := offerOf("video", "rtpmap:96 VP8/90000", "sendrecv", "ssrc:1 cname:c", "ssrc:1 msid:s1 t1", "ssrc:2 cname:c", "ssrc:2 msid:s2 t2")
	s := session(t, 1)
	_, err := s.SetRemote(planB)
	if name(err) != InvalidAccessError || !strings.Contains(err.Error(), "Plan B") {
		t.Errorf("refused by %v", err)
	}
	// one track in two streams, with retransmissions, is not
	planB.SDP = strings.Replace(planB.SDP, "s2 t2", "s2 t1", 1)
	must(t)(s.SetRemote(planB))
	must(t)(s.SetLocal(Description{}))
	if x := s.Transceivers(); len(x) != 1 || !slices.Equal(x[0].RemoteStreams(), []string{"s1", "s2"}) {
		t.Errorf("%+v", x)
	}
}

// A mid is a token (RFC 5888 section 4), of whatever characters and length.
func TestMIDs(t *testing.T) {
	for _, mid := range []string{"0", "audio", "!#$%&'*+-.^_`{|}~", strings.Repeat("m", 16), strings.Repeat("m", 300), "-1", "00", "AUDIO"} {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		add(t, a, "audio", TransceiverInit{})
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) {
			d.Media[0].Set("mid", mid)
			d.Set("group", "BUNDLE "+mid)
		})))
		ok(b.SetLocal(Description{}))
		d := parsed(t, b.CurrentLocal())
		if v, _ := d.Media[0].Attr("mid"); v != mid || slices.Collect(d.Attrs("group"))[0] != "BUNDLE "+mid {
			t.Errorf("%q is answered by %q, %q", mid, v, slices.Collect(d.Attrs("group")))
		}
		if x := b.Transceivers()[0].MID(); x != mid {
			t.Errorf("the transceiver has %q", x)
		}
	}
	for _, mid := range []string{"a b", "a/b", "(a)", "a,b", "\u00e4", ""} {
		d := offerOf("audio", "rtpmap:0 PCMU/8000")
		d.SDP = strings.Replace(d.SDP, "a=mid:0", "a=mid:"+mid, 1)
		if _, err := session(t, 1).SetRemote(d); name(err) != OperationError {
			t.Errorf("%q: %v", mid, err)
		}
	}
}
