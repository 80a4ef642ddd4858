package jsep

import (
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/rtp/payload"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A Codec is one format of media, with the payload type that it has here.
type Codec struct {
	Name     string // as in a=rtpmap, "opus"
	Clock    uint32 // Hz
	Channels string // "" is one channel
	Payload  uint8
	FMTP     string   // the value of a=fmtp without the payload type
	Feedback []string // the values of a=rtcp-fb, in lower case
	RTX      uint8    // the payload type of its retransmissions; 0: none
	Optional bool     // negotiated only where preferences name it
}

// congestionFeedback is RFC 8888's, which is of all payload types (its section 6).
const congestionFeedback = "ack ccfb"

// DefaultAudio returns Opus, RED, PCMU, PCMA and telephone-event.
func DefaultAudio() []Codec {
	codecs := []Codec{
		{Name: "opus", Clock: 48000, Channels: "2", Payload: 111, FMTP: "minptime=10;useinbandfec=1", Feedback: []string{"transport-cc", "nack"}},
		{Name: "red", Clock: 48000, Channels: "2", Payload: 63, FMTP: "111/111"},
		{Name: "PCMU", Clock: 8000, Payload: 0},
		{Name: "PCMA", Clock: 8000, Payload: 8},
		{Name: "telephone-event", Clock: 48000, Payload: 110, FMTP: "0-15"},
		{Name: "telephone-event", Clock: 8000, Payload: 126, FMTP: "0-15"},
	}
	for i := range codecs {
		codecs[i].Feedback = append(codecs[i].Feedback, congestionFeedback)
	}
	return codecs
}

// DefaultVideo returns VP8, VP9, H.264 (baseline and main, modes 0 and 1), AV1 and H.265, each with retransmissions, and as
// options the ways of forward error correction: FlexFEC, and RED with ULPFEC.
func DefaultVideo() []Codec {
	codecs := []Codec{
		{Name: "VP8", Payload: 96, RTX: 97},
		{Name: "VP9", Payload: 98, RTX: 99, FMTP: "profile-id=0"},
		{Name: "H264", Payload: 102, RTX: 103, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
		{Name: "H264", Payload: 104, RTX: 105, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
		{Name: "H264", Payload: 106, RTX: 107, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
		{Name: "H264", Payload: 108, RTX: 109, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"},
		{Name: "H264", Payload: 112, RTX: 113, FMTP: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"},
		{Name: "H264", Payload: 114, RTX: 115, FMTP: "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f"},
		{Name: "AV1", Payload: 45, RTX: 46, FMTP: "level-idx=5;profile=0;tier=0"},
		{Name: "H265", Payload: 49, RTX: 50, FMTP: "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"},
	}
	for i := range codecs {
		codecs[i].Feedback = []string{"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli", congestionFeedback}
	}
	codecs = append(codecs,
		Codec{Name: "red", Payload: 116, RTX: 117, Optional: true},
		Codec{Name: "ulpfec", Payload: 118, Optional: true},
		Codec{Name: "flexfec-03", Payload: 119, FMTP: "repair-window=10000000", Feedback: []string{"goog-remb", "transport-cc"}, Optional: true})
	for i := range codecs {
		codecs[i].Clock = 90000
	}
	return codecs
}

// Media reports whether it carries media of its own, rather than events, noise or repair.
func (c *Codec) Media() bool {
	switch strings.ToLower(c.Name) {
	case "red", "ulpfec", "flexfec-03", "flexfec", "telephone-event", "cn":
		return false
	}
	return true
}

// Has reports whether a kind of feedback was negotiated.
func (c *Codec) Has(feedback string) bool { return slices.Contains(c.Feedback, feedback) }

// param is a parameter of a=fmtp in lower case, or what its absence means.
func (c *Codec) param(name, absent string) string {
	if v, ok := sdp.Param(c.FMTP, name); ok {
		return strings.ToLower(v)
	}
	return absent
}

// Matches reports whether both are the same format, whatever their payload types.
func (c *Codec) Matches(d *Codec) bool {
	channels := func(c *Codec) string {
		if c.Channels == "" {
			return "1"
		}
		return c.Channels
	}
	if !strings.EqualFold(c.Name, d.Name) || c.Clock != d.Clock || channels(c) != channels(d) {
		return false
	}
	same := func(name, absent string) bool { return c.param(name, absent) == d.param(name, absent) }
	switch strings.ToUpper(c.Name) {
	case "H264": // RFC 6184 section 8.2.2: the packetization mode and the profile must be the same, the level need not
		p, ok := c.profileLevel()
		q, well := d.profileLevel()
		return ok && well && same("packetization-mode", "0") && p.Profile == q.Profile
	case "VP9": // RFC 9628 section 7.1
		return same("profile-id", "0")
	case "AV1": // AV1 RTP section 7.2.3: level and tier are limits of the receiver
		return same("profile", "0")
	case "H265": // RFC 7798 section 7.2.2: these are symmetric, the level is not
		return same("profile-space", "0") && same("profile-id", "1") && same("tier-flag", "0") && same("tx-mode", "srst")
	}
	return true
}

// accepts returns what we answer to an offered codec that ours matches: with the peer's payload types, what feedback both
// know, and parameters that the offer allows.
func (c Codec) accepts(o *Codec) Codec {
	feedback := c.Feedback
	c.Payload, c.Feedback = o.Payload, nil
	for _, f := range feedback {
		if o.Has(f) {
			c.Feedback = append(c.Feedback, f)
		}
	}
	if c.RTX != 0 {
		c.RTX = o.RTX
	}
	lower := func(name, absent string) {
		ours, theirs := c.param(name, absent), o.param(name, absent)
		a, _ := strconv.Atoi(ours)
		if b, err := strconv.Atoi(theirs); err == nil && b < a {
			c.FMTP = setParam(c.FMTP, name, theirs)
		}
	}
	switch strings.ToUpper(c.Name) {
	case "RED": // it names the payload types of its blocks, which are the offerer's
		c.FMTP = o.FMTP
	case "H264":
		c.FMTP = c.h264Answer(o)
	case "H265": // RFC 7798 section 7.2.2: no level above the offered one
		lower("level-id", "93")
	case "AV1":
		lower("level-idx", "5")
		lower("tier", "0")
	}
	return c
}

// setParam replaces the value of a parameter that is there.
func setParam(fmtp, name, value string) string {
	params := strings.Split(fmtp, ";")
	for i, p := range params {
		if k, _, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(k), name) {
			params[i] = k + "=" + value
		}
	}
	return strings.Join(params, ";")
}

// profileLevel is the profile and level of H.264.
func (c *Codec) profileLevel() (payload.ProfileLevel, bool) {
	return payload.ParseProfileLevelID(c.param("profile-level-id", ""))
}

// h264Answer is our a=fmtp: unless both allow asymmetry the level of both directions is the lower one (RFC 6184 section
// 8.2.2).
func (c *Codec) h264Answer(o *Codec) string {
	asymmetric := c.param("level-asymmetry-allowed", "0") == "1" && o.param("level-asymmetry-allowed", "0") == "1"
	ours, _ := c.profileLevel()
	theirs, ok := o.profileLevel()
	if answer, matches := ours.Answer(theirs, asymmetric); ok && matches && answer != ours {
		return setParam(c.FMTP, "profile-level-id", o.param("profile-level-id", answer.String()))
	}
	return c.FMTP
}

// common is what of the offered codecs we support, in their order and with their payload types (RFC 8829 section 5.3.1).
func common(offered, ours []Codec) []Codec {
	var both []Codec
	for _, o := range offered {
		if i := slices.IndexFunc(ours, func(c Codec) bool { return c.Matches(&o) }); i >= 0 {
			both = append(both, ours[i].accepts(&o))
		}
	}
	return useful(both)
}

// useful takes away what is of no use without a codec that is not there: events at a clock that no audio has (RFC 4733
// section 2.1), and redundancy of payload types that are not in the list (RFC 2198).
func useful(codecs []Codec) []Codec {
	return slices.DeleteFunc(slices.Clone(codecs), func(c Codec) bool {
		switch strings.ToLower(c.Name) {
		case "telephone-event":
			return !slices.ContainsFunc(codecs, func(d Codec) bool { return d.Media() && d.Clock == c.Clock })
		case "red":
			for block := range strings.SplitSeq(c.FMTP, "/") {
				pt, err := strconv.Atoi(strings.TrimSpace(block))
				if err == nil && !slices.ContainsFunc(codecs, func(d Codec) bool { return int(d.Payload) == pt }) {
					return true
				}
			}
		}
		return false
	})
}

// hasMedia reports whether some codec carries media of its own.
func hasMedia(codecs []Codec) bool {
	return slices.ContainsFunc(codecs, func(c Codec) bool { return c.Media() })
}
