package webrtc

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-rtc/parley/protocol/jsep"
)

// An RTPCodec is RTCRtpCodec: a format of media, whatever its payload type.
type RTPCodec struct {
	MimeType    string `json:"mimeType"`              // "video/VP8", in any case
	ClockRate   uint32 `json:"clockRate"`             // Hz
	Channels    uint16 `json:"channels,omitempty"`    // audio only
	SDPFmtpLine string `json:"sdpFmtpLine,omitempty"` // the value of a=fmtp
}

// The usual formats. H264 is constrained baseline in packetization mode 1, which every browser takes; others are among
// [RTPSenderCapabilities].
var (
	Opus = RTPCodec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}
	PCMU = RTPCodec{MimeType: "audio/PCMU", ClockRate: 8000, Channels: 1}
	PCMA = RTPCodec{MimeType: "audio/PCMA", ClockRate: 8000, Channels: 1}
	VP8  = RTPCodec{MimeType: "video/VP8", ClockRate: 90000}
	VP9  = RTPCodec{MimeType: "video/VP9", ClockRate: 90000, SDPFmtpLine: "profile-id=0"}
	AV1  = RTPCodec{MimeType: "video/AV1", ClockRate: 90000, SDPFmtpLine: "level-idx=5;profile=0;tier=0"}
	H264 = RTPCodec{MimeType: "video/H264", ClockRate: 90000, SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
	H265 = RTPCodec{MimeType: "video/H265", ClockRate: 90000, SDPFmtpLine: "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"}
)

// An RTPCodecParameters is RTCRtpCodecParameters: a format and the payload type that it was given.
type RTPCodecParameters struct {
	PayloadType uint8 `json:"payloadType"`
	RTPCodec
}

// RTPCapabilities are RTCRtpCapabilities.
type RTPCapabilities struct {
	Codecs           []RTPCodec                     `json:"codecs"`
	HeaderExtensions []RTPHeaderExtensionCapability `json:"headerExtensions"`
}

// An RTPHeaderExtensionCapability is RTCRtpHeaderExtensionCapability.
type RTPHeaderExtensionCapability struct {
	URI string `json:"uri"`
}

// RTPSenderCapabilities returns what can be sent of "audio" or "video" (RTCRtpSender.getCapabilities); nil for another kind.
// All but what repairs (FlexFEC, and RED with ULPFEC for video) is offered by default;
// [RTPTransceiver.SetCodecPreferences] asks for these too.
func RTPSenderCapabilities(kind string) *RTPCapabilities { return capabilities(kind) }

// RTPReceiverCapabilities returns what can be received (RTCRtpReceiver.getCapabilities); nil for a kind that there is not.
func RTPReceiverCapabilities(kind string) *RTPCapabilities { return capabilities(kind) }

func capabilities(kind string) *RTPCapabilities {
	var c RTPCapabilities
	retransmits := false
	for _, codec := range codecsOf(kind) {
		c.Codecs = append(c.Codecs, capability(kind, &codec))
		retransmits = retransmits || codec.RTX != 0
	}
	if c.Codecs == nil {
		return nil
	}
	if retransmits {
		c.Codecs = append(c.Codecs, RTPCodec{MimeType: kind + "/rtx", ClockRate: 90000})
	}
	for _, uri := range jsep.Extensions(kind) {
		c.HeaderExtensions = append(c.HeaderExtensions, RTPHeaderExtensionCapability{uri})
	}
	return &c
}

// What sections of media are negotiated of; connections share it, and nobody changes it.
var audioCodecs, videoCodecs = jsep.DefaultAudio(), jsep.DefaultVideo()

func codecsOf(kind string) []jsep.Codec {
	switch kind {
	case "audio":
		return audioCodecs
	case "video":
		return videoCodecs
	}
	return nil
}

// codecOf makes the W3C's codec of one of the descriptions.
func codecOf(kind string, c *jsep.Codec) RTPCodec {
	w := RTPCodec{MimeType: kind + "/" + c.Name, ClockRate: c.Clock, SDPFmtpLine: c.FMTP}
	if kind == "audio" {
		w.Channels = 1
		if n, err := strconv.ParseUint(c.Channels, 10, 16); err == nil {
			w.Channels = uint16(n)
		}
	}
	return w
}

// capability is codecOf without what only an offer can say: payload types.
func capability(kind string, c *jsep.Codec) RTPCodec {
	w := codecOf(kind, c)
	if w.is("red") {
		w.SDPFmtpLine = ""
	}
	return w
}

// is reports whether the subtype is name, in any case.
func (c *RTPCodec) is(name string) bool {
	_, subtype, _ := strings.Cut(c.MimeType, "/")
	return strings.EqualFold(subtype, name)
}

// media reports whether it carries media of its own, rather than repair, noise or events.
func (c *RTPCodec) media() bool {
	_, subtype, _ := strings.Cut(c.MimeType, "/")
	return !strings.EqualFold(subtype, "rtx") && (&jsep.Codec{Name: subtype}).Media()
}

// kind is "audio" or "video"; "" if the type is neither.
func (c *RTPCodec) kind() string {
	kind, _, _ := strings.Cut(strings.ToLower(c.MimeType), "/")
	if kind != "audio" && kind != "video" {
		return ""
	}
	return kind
}

// jsep makes it a codec of descriptions.
func (c *RTPCodec) jsep() jsep.Codec {
	_, subtype, _ := strings.Cut(c.MimeType, "/")
	j := jsep.Codec{Name: subtype, Clock: c.ClockRate, FMTP: c.SDPFmtpLine}
	if c.Channels > 1 {
		j.Channels = strconv.Itoa(int(c.Channels))
	}
	return j
}

// same is the "codec dictionary match": all members, the type in any case and the parameters in any order.
func (c *RTPCodec) same(d *RTPCodec) bool {
	return strings.EqualFold(c.MimeType, d.MimeType) && c.ClockRate == d.ClockRate && c.Channels == d.Channels &&
		maps.Equal(parametersOf(c.SDPFmtpLine), parametersOf(d.SDPFmtpLine))
}

func parametersOf(fmtp string) map[string]string {
	set := map[string]string{}
	for p := range strings.SplitSeq(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); k != "" {
			set[strings.ToLower(k)] = v
		}
	}
	return set
}

// codecParameters makes the W3C's list of negotiated codecs, retransmissions besides.
func codecParameters(kind string, codecs []jsep.Codec) []RTPCodecParameters {
	list := []RTPCodecParameters{}
	for _, c := range codecs {
		list = append(list, RTPCodecParameters{c.Payload, codecOf(kind, &c)})
		if c.RTX != 0 {
			list = append(list, RTPCodecParameters{c.RTX, RTPCodec{MimeType: kind + "/rtx", ClockRate: c.Clock, SDPFmtpLine: "apt=" + strconv.Itoa(int(c.Payload))}})
		}
	}
	return list
}

// preferences are the codecs of setCodecPreferences as descriptions have them.
func preferences(kind string, codecs []RTPCodec) ([]jsep.Codec, error) {
	// setCodecPreferences, 2. "Remove any duplicate values in codecs", the first of each stays.
	var unique []RTPCodec
	for _, c := range codecs {
		if !slices.ContainsFunc(unique, func(u RTPCodec) bool { return u.same(&c) }) {
			unique = append(unique, c)
		}
	}
	var list []jsep.Codec
	retransmits, media := false, false
	for _, c := range unique {
		if strings.EqualFold(c.MimeType, kind+"/rtx") && kind == "video" && c.ClockRate == 90000 && c.Channels == 0 && c.SDPFmtpLine == "" {
			retransmits = true
			continue
		}
		i := slices.IndexFunc(codecsOf(kind), func(j jsep.Codec) bool { w := capability(kind, &j); return w.same(&c) })
		if i < 0 {
			// "If codec is not in codecCapabilities, throw InvalidModificationError."
			return nil, fail(InvalidModificationError, "%s is not among the capabilities", c.MimeType)
		}
		media = media || c.media() || c.is("telephone-event")
		list = append(list, codecsOf(kind)[i])
	}
	// "If codecs only contains entries for RTX, RED, FEC or Comfort Noise or is an empty set, throw
	// InvalidModificationError."
	if len(codecs) > 0 && !media {
		return nil, fail(InvalidModificationError, "there is no codec for media among the preferences")
	}
	for i := range list {
		if !retransmits {
			list[i].RTX = 0
		}
	}
	return list, nil
}
