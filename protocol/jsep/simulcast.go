package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// MaxEncodings is how many encodings one transceiver may send.
const MaxEncodings = 8

// offerSimulcast writes what we would send, and what of the peer's we take already, so that the streams go on (RFC 8853
// section 5.3.1).
func offerSimulcast(m *sdp.Media, t *Transceiver) {
	var s sdp.Simulcast
	if t.direction.Sends() {
		for _, r := range t.rids {
			m.Add("rid", r+" send")
			s.Send = append(s.Send, []string{r})
		}
	}
	if t.direction.Receives() {
		for _, r := range t.theirs {
			if !slices.Contains(t.rids, r) {
				m.Add("rid", r+" recv")
				s.Recv = append(s.Recv, []string{r})
			}
		}
	}
	if len(s.Send) < 2 {
		s.Send = nil // RFC 8853 section 5.1: one stream is no simulcast
	}
	if s.Send != nil || len(s.Recv) > 1 {
		m.Add("simulcast", s.String())
	}
}

// answerSimulcast takes what is offered (RFC 8853 section 5.3.2): we receive what they send, and send of what they
// receive the encodings that we have.
func answerSimulcast(m *sdp.Media, x *slot, direction sdp.Direction, offered *sdp.Media) {
	if !hasExtension(x.extensions, rtp.URIRID) {
		return // RFC 8853 section 5.5: streams could not be told apart
	}
	rids, _ := offered.RIDs()
	sim, ok, _ := offered.Simulcast()
	var accepted []string
	for _, r := range rids {
		restrictions, fits := restrict(r, x.codecs)
		switch {
		case !fits || slices.Contains(accepted, r.ID):
		case r.Direction == "send" && direction.Receives():
			m.Add("rid", sdp.RID{ID: r.ID, Direction: "recv", Restrictions: restrictions}.String())
			accepted = append(accepted, r.ID)
		case r.Direction == "recv" && direction.Sends() && slices.Contains(x.transceiver.rids, r.ID):
			m.Add("rid", sdp.RID{ID: r.ID, Direction: "send", Restrictions: restrictions}.String())
			accepted = append(accepted, r.ID)
		}
	}
	if !ok {
		return
	}
	answer := sdp.Simulcast{Send: mirror(sim.Recv, accepted), Recv: mirror(sim.Send, accepted)}
	if answer.Send != nil || answer.Recv != nil {
		m.Add("simulcast", answer.String())
	}
}

// mirror is the other side's list of streams, as far as their RIDs were accepted, and each once.
func mirror(streams [][]string, accepted []string) (list [][]string) {
	var seen []string
	for _, alternatives := range streams {
		var left []string
		for _, r := range alternatives {
			if r = strings.TrimPrefix(r, "~"); slices.Contains(accepted, r) && !slices.Contains(seen, r) {
				left, seen = append(left, r), append(seen, r)
			}
		}
		if left != nil {
			list = append(list, left)
		}
	}
	return list
}

// restrictions that RFC 8851 section 5 defines; whatever is encoded here is told of them, or tells them.
var knownRestrictions = []string{"pt", "max-width", "max-height", "max-fps", "max-fs", "max-br", "max-pps", "max-bpp", "depend"}

// restrict leaves of a RID's payload types those of the answer; fits is false if none is left, or if we are to obey a
// restriction that we do not know (RFC 8851 section 6.3).
func restrict(r sdp.RID, codecs []Codec) (restrictions string, fits bool) {
	var left []string
	for p := range strings.SplitSeq(r.Restrictions, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if name == "" {
			continue
		}
		if r.Direction == "recv" && !slices.Contains(knownRestrictions, name) {
			return "", false
		}
		if name != "pt" {
			left = append(left, p)
			continue
		}
		var types []string
		for pt := range strings.SplitSeq(value, ",") {
			n, err := strconv.Atoi(pt)
			if err == nil && slices.ContainsFunc(codecs, func(c Codec) bool { return int(c.Payload) == n }) {
				types = append(types, pt)
			}
		}
		if types == nil {
			return "", false
		}
		left = append(left, "pt="+strings.Join(types, ","))
	}
	return strings.Join(left, ";"), true
}

// proposed are the encodings that an offer to receive simulcast asks us for (webrtc-pc, "proposedSendEncodings"): the first of
// alternatives, each once.
func proposed(m *sdp.Media) (rids []string) {
	sim, _, _ := m.Simulcast()
	for _, alternatives := range sim.Recv {
		if r := strings.TrimPrefix(alternatives[0], "~"); !slices.Contains(rids, r) && len(rids) < MaxEncodings {
			rids = append(rids, r)
		}
	}
	return rids
}

// agreeRIDs puts into force which encodings either side sends.
func (t *Transceiver) agreeRIDs(local, theirs *sdp.Media, remote bool) {
	answer := local
	if remote {
		answer = theirs
	}
	if len(t.rids) > 1 && t.current.Sends() { // while nothing is sent nothing is said of it
		t.rids = remaining(t.rids, answer, remote)
	}
	t.paused = nil
	sim, _, _ := theirs.Simulcast()
	for _, alternatives := range sim.Recv {
		if r, ok := strings.CutPrefix(alternatives[0], "~"); ok {
			t.paused = append(t.paused, r)
		}
	}
	if t.current.Receives() {
		// What the peer sends is what both name: in their direction, and in ours.
		receives := ridsOf(local, "recv")
		t.theirs = slices.DeleteFunc(sent(theirs), func(r string) bool { return !slices.Contains(receives, r) })
	}
}

// sent are the RIDs that a section sends, in its order.
func sent(m *sdp.Media) (list []string) {
	sends := ridsOf(m, "send")
	order := sends
	if sim, _, _ := m.Simulcast(); sim.Send != nil {
		order = nil
		for _, alternatives := range sim.Send {
			for _, r := range alternatives {
				order = append(order, strings.TrimPrefix(r, "~"))
			}
		}
	}
	for _, r := range order {
		if slices.Contains(sends, r) && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

func ridsOf(m *sdp.Media, direction string) (ids []string) {
	rids, _ := m.RIDs()
	for _, r := range rids {
		if r.Direction == direction {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// remaining is which encodings an answer leaves: all but those that it does not name, the first alone if it names none.
func remaining(rids []string, answer *sdp.Media, remote bool) []string {
	sim, _, _ := answer.Simulcast()
	streams := sim.Send
	if remote {
		streams = sim.Recv
	}
	var left []string
	for _, r := range rids {
		if slices.ContainsFunc(streams, func(a []string) bool { return strings.TrimPrefix(a[0], "~") == r }) {
			left = append(left, r)
		}
	}
	if left == nil {
		return rids[:1:1]
	}
	return left
}
