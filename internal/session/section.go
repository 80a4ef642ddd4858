package session

import (
	"slices"
	"strings"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A role says what the packets of a stream are for.
type role uint8

const (
	roleMedia role = iota
	roleRTX
	roleFEC
	roleRED // of video, with repair in it; redundant audio is media
)

// A format is what a payload type means in a section, one way.
type format struct {
	jsep.Codec
	role role
	feedback
	pictures payload.Format // of video whose pictures tell of their size; else nil
}

// feedback is what may be told of a format (a=rtcp-fb).
type feedback struct{ nack, pli, fir, remb, transport, congestion bool }

func feedbackOf(lines []string) feedback {
	has := func(l string) bool { return slices.Contains(lines, l) }
	return feedback{has("nack"), has("nack pli"), has("ccm fir"), has("goog-remb"), has("transport-cc"), has("ack ccfb")}
}

func (f *feedback) add(g feedback) {
	f.nack, f.pli, f.fir, f.remb = f.nack || g.nack, f.pli || g.pli, f.fir || g.fir, f.remb || g.remb
	f.transport, f.congestion = f.transport || g.transport, f.congestion || g.congestion
}

// formats are those of one way, by payload type.
type formats struct {
	list  []format
	index [128]uint8 // into list, plus one
	feedback
	fec    rtp.PayloadType // of FlexFEC; 0: none
	ulpfec rtp.PayloadType // inside of RED; 0: none
	red    rtp.PayloadType // of redundant audio; 0: none
}

func formatsOf(codecs []jsep.Codec) *formats {
	f := &formats{}
	add := func(pt uint8, x format) {
		if f.index[pt&127] == 0 {
			f.list = append(f.list, x)
			f.index[pt&127] = uint8(len(f.list))
		}
	}
	for _, c := range codecs {
		x := format{Codec: c, feedback: feedbackOf(c.Feedback)}
		if c.Clock == videoClock {
			x.pictures, _ = payload.For(c.Name, c.FMTP)
		}
		switch pt := rtp.PayloadType(c.Payload); {
		case isFlexFEC(c.Name):
			x.role = roleFEC
			if f.fec == 0 {
				f.fec = pt
			}
		case strings.EqualFold(c.Name, "ulpfec"):
			x.role, f.ulpfec = roleFEC, pt
		case strings.EqualFold(c.Name, "red") && c.Clock == videoClock:
			x.role = roleRED
		case strings.EqualFold(c.Name, "red"):
			f.red = pt
		}
		f.add(x.feedback)
		add(c.Payload, x)
		if c.RTX != 0 {
			x.role = roleRTX
			add(c.RTX, x)
		}
	}
	return f
}

func isFlexFEC(name string) bool {
	return strings.EqualFold(name, "flexfec-03") || strings.EqualFold(name, "flexfec")
}

// videoClock is the rate of all formats of video, in Hz.
const videoClock = 90000

// of returns what a payload type means; nil: nothing.
func (f *formats) of(pt rtp.PayloadType) *format {
	if i := f.index[pt&127]; i > 0 {
		return &f.list[i-1]
	}
	return nil
}

// An Extension is a value that a packet carries in its header.
type Extension struct {
	URI   string // as the description names it
	Value []byte // of at most 255 bytes; 16 unless the peer takes mixed headers
}

// extensions are the identifiers of one way; 0: not negotiated.
type extensions struct {
	mid, rid, rrid, transport, sendTime uint8
	capture                             uint8        // the owner's too, who may forward what others have captured
	others                              []sdp.ExtMap // that are the owner's
}

func extensionsOf(list []sdp.ExtMap) (x extensions) {
	for _, e := range list {
		if e.ID == 0 || e.ID > 255 {
			continue
		}
		id := uint8(e.ID)
		switch e.URI {
		case rtp.URIMID:
			x.mid = id
		case rtp.URIRID:
			x.rid = id
		case rtp.URIRRID:
			x.rrid = id
		case rtp.URITransportSequence:
			x.transport = id
		case rtp.URIAbsSendTime:
			x.sendTime = id
		case rtp.URIAbsCaptureTime:
			x.capture = id
			fallthrough
		default:
			x.others = append(x.others, e)
		}
	}
	return x
}

// id returns the identifier of one of the owner's; 0: not negotiated.
func (x *extensions) id(uri string) uint8 {
	for i := range x.others {
		if x.others[i].URI == uri {
			return uint8(x.others[i].ID)
		}
	}
	return 0
}

// merge takes over what x has no identifier for yet. In a group that is bundled, an identifier means the same in all sections
// (RFC 9143 section 9.1).
func (x *extensions) merge(y extensions) {
	for _, p := range [...]struct {
		to   *uint8
		from uint8
	}{{&x.mid, y.mid}, {&x.rid, y.rid}, {&x.rrid, y.rrid}, {&x.transport, y.transport}, {&x.sendTime, y.sendTime}, {&x.capture, y.capture}} {
		if *p.to == 0 {
			*p.to = p.from
		}
	}
}

// A section is one of the description, with both of its ways.
type section struct {
	jsep.Media
	in, out       *formats
	inIDs, outIDs extensions
	form          rtp.Form // of headers to a peer that takes one only
	sender        *Sender
	streams       []*Stream // that are media, in the order in which they came
	repairers     []*Stream // that repair them: FlexFEC, or media with ULPFEC in RED
	former        []formerStream
	gone          bool
}

// A formerStream is one with a RID that has ended. It may go on: its direction was turned off, or it was silent.
type formerStream struct {
	ssrc rtp.SSRC
	rid  string
}

// maxFormer bounds them.
const maxFormer = 16

// remember keeps what a stream that ends was.
func (c *section) remember(x *Stream) {
	if x.rid == "" {
		return
	}
	c.former = slices.DeleteFunc(c.former, func(f formerStream) bool { return f.ssrc == x.ssrc })
	if len(c.former) == maxFormer {
		c.former = slices.Delete(c.former, 0, 1)
	}
	c.former = append(c.former, formerStream{x.ssrc, x.rid})
}

// set takes in what is told of it.
func (c *section) set(m *jsep.Media) {
	c.Media = *m
	c.in, c.out = formatsOf(m.Receive), formatsOf(m.Send)
	c.inIDs, c.outIDs = extensionsOf(m.ReceiveExtensions), extensionsOf(m.SendExtensions)
	c.form = rtp.OneByte
	if slices.ContainsFunc(m.SendExtensions, func(e sdp.ExtMap) bool { return e.ID > 14 }) {
		c.form = rtp.TwoByte
	}
}
