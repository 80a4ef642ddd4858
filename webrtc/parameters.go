package webrtc

import (
	"math"
	"slices"
	"strings"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// RTPParameters are RTCRtpParameters.
type RTPParameters struct {
	HeaderExtensions []RTPHeaderExtensionParameters `json:"headerExtensions"`
	RTCP             RTCPParameters                 `json:"rtcp"`
	Codecs           []RTPCodecParameters           `json:"codecs"`
}

// RTPReceiveParameters are RTCRtpReceiveParameters.
type RTPReceiveParameters struct{ RTPParameters }

// RTPSendParameters are RTCRtpSendParameters: got by [RTPSender.GetParameters], changed in Encodings, and given back to
// [RTPSender.SetParameters].
type RTPSendParameters struct {
	RTPParameters
	TransactionID string                  `json:"transactionId"`
	Encodings     []RTPEncodingParameters `json:"encodings"`
	// DegradationPreference says what an encoder is to give up first, of mst-content-hint; "" leaves it to the encoder.
	DegradationPreference DegradationPreference `json:"degradationPreference,omitempty"`
}

// A DegradationPreference is RTCDegradationPreference.
type DegradationPreference string

// The preferences.
const (
	DegradationBalanced           DegradationPreference = "balanced"
	DegradationMaintainFramerate  DegradationPreference = "maintain-framerate"
	DegradationMaintainResolution DegradationPreference = "maintain-resolution"
	DegradationMaintainBoth       DegradationPreference = "maintain-framerate-and-resolution"
)

func (d DegradationPreference) valid() bool {
	return slices.Contains([]DegradationPreference{"", DegradationBalanced, DegradationMaintainFramerate, DegradationMaintainResolution, DegradationMaintainBoth}, d)
}

// An RTPHeaderExtensionParameters is RTCRtpHeaderExtensionParameters.
type RTPHeaderExtensionParameters struct {
	URI       string `json:"uri"`
	ID        uint16 `json:"id"`
	Encrypted bool   `json:"encrypted"`
}

// RTCPParameters are RTCRtcpParameters.
type RTCPParameters struct {
	CNAME       string `json:"cname,omitempty"`
	ReducedSize bool   `json:"reducedSize"`
}

func (p PriorityType) valid() bool { return priorities[p] != 0 }

// An RTPEncodingParameters is RTCRtpEncodingParameters: one of the streams that a sender sends. What is encoded is the
// source's affair: it learns of MaxBitrate by [RTPSender.OnTargetBitrate], and reads the rest with GetParameters.
type RTPEncodingParameters struct {
	// RID names it in simulcast, 1 to 16 letters and digits; it cannot be changed. "" is none.
	RID string `json:"rid,omitempty"`
	// Active says that it is sent; nil is true.
	Active *bool `json:"active,omitempty"`
	// MaxBitrate is a limit in bits a second, 1 at least; nil for none.
	MaxBitrate *uint64 `json:"maxBitrate,omitempty"`
	// MaxFramerate is a limit in frames a second, nil for none; video only.
	MaxFramerate *float64 `json:"maxFramerate,omitempty"`
	// ScaleResolutionDownBy is by how much each dimension is to be smaller, 1.0 at least; video only.
	ScaleResolutionDownBy *float64 `json:"scaleResolutionDownBy,omitempty"`
	// ScalabilityMode is one of webrtc-svc, such as "L1T3"; "" is L1T1.
	ScalabilityMode string `json:"scalabilityMode,omitempty"`
	// Codec restricts the encoding to one of the negotiated codecs, nil to none.
	Codec *RTPCodec `json:"codec,omitempty"`
	// Priority and NetworkPriority say how bandwidth is shared and packets are marked; "" is low.
	Priority        PriorityType `json:"priority,omitempty"`
	NetworkPriority PriorityType `json:"networkPriority,omitempty"`
}

func (e RTPEncodingParameters) copy() RTPEncodingParameters {
	e.Active, e.MaxBitrate, e.MaxFramerate, e.ScaleResolutionDownBy, e.Codec = clone(e.Active), clone(e.MaxBitrate), clone(e.MaxFramerate), clone(e.ScaleResolutionDownBy), clone(e.Codec)
	return e
}

func (e *RTPEncodingParameters) active() bool { return e.Active == nil || *e.Active }

func copyEncodings(list []RTPEncodingParameters) []RTPEncodingParameters {
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].copy()
	}
	return list
}

func (p *RTPSendParameters) copy() RTPSendParameters {
	q := *p
	q.HeaderExtensions, q.Codecs, q.Encodings = slices.Clone(p.HeaderExtensions), slices.Clone(p.Codecs), copyEncodings(p.Encodings)
	return q
}

func headerExtensions(list []sdp.ExtMap) []RTPHeaderExtensionParameters {
	w := []RTPHeaderExtensionParameters{}
	for _, e := range list {
		w = append(w, RTPHeaderExtensionParameters{URI: e.URI, ID: e.ID})
	}
	return w
}

// newEncodings is "addTransceiver sendEncodings validation", and what follows from it.
func newEncodings(kind string, init []RTPEncodingParameters) ([]RTPEncodingParameters, error) {
	list := copyEncodings(init)
	named := 0
	for i, e := range list {
		if e.RID == "" {
			continue
		}
		named++
		// "Verify that each rid value in sendEncodings conforms to the grammar specified in Section 10 of [RFC8851]", as its erratum
		// 7132 has it: RFC 8852 section 3 has no "-" and "_" in packets, and the short form of a header extension has room for 16 bytes
		// (RFC 8285 section 4.2).
		if strings.Trim(e.RID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" || len(e.RID) > 16 {
			return nil, fail(TypeError, "%q is no rid", e.RID)
		}
		if slices.ContainsFunc(list[:i], func(o RTPEncodingParameters) bool { return o.RID == e.RID }) {
			return nil, fail(TypeError, "the rid %q is there twice", e.RID)
		}
	}
	// "If ... some but not all of the encodings contain a rid member, throw a TypeError"; several without are not told apart
	if named != 0 && named != len(list) || named == 0 && len(list) > 1 {
		return nil, fail(TypeError, "some encodings have no rid")
	}
	if err := checkEncodings(kind, list, codecsOf(kind)); err != nil {
		return nil, err
	}
	for _, e := range list {
		// "If any encoding contains a codec member whose value does not match any codec in RTCRtpSender.getCapabilities(kind).codecs,
		// throw an OperationError."
		if e.Codec != nil && !choosable(kind, e.Codec, codecsOf(kind)) {
			return nil, fail(OperationError, "%s cannot be sent", e.Codec.MimeType)
		}
	}
	limit := 1 // of audio
	if kind == "video" {
		limit = jsep.MaxEncodings
	}
	list = list[:min(len(list), limit)]
	defaultScales(kind, list)
	if len(list) == 1 {
		list[0].RID = "" // "If the number of encodings ... is 1, then remove any rid member from the lone entry."
	}
	if len(list) == 0 {
		list = unicast(kind)
	}
	return list, nil
}

// unicast is the one encoding of a sender that nobody said anything about.
func unicast(kind string) []RTPEncodingParameters {
	list := []RTPEncodingParameters{{}}
	defaultScales(kind, list)
	return list
}

// defaultScales fills in scaleResolutionDownBy of a new sender: by halves if none has it, else 1.0.
func defaultScales(kind string, list []RTPEncodingParameters) {
	if kind != "video" {
		return
	}
	given := slices.ContainsFunc(list, func(e RTPEncodingParameters) bool { return e.ScaleResolutionDownBy != nil })
	for i := range list {
		switch {
		case list[i].ScaleResolutionDownBy != nil:
		case given:
			list[i].ScaleResolutionDownBy = new(1.0)
		default:
			list[i].ScaleResolutionDownBy = new(math.Ldexp(1, len(list)-i-1))
		}
	}
}

// checkEncodings are the checks that addTransceiver and setParameters share; of the codecs one will be used.
func checkEncodings(kind string, list []RTPEncodingParameters, codecs []jsep.Codec) error {
	for i := range list {
		e := &list[i]
		if kind == "audio" {
			e.ScaleResolutionDownBy, e.MaxFramerate = nil, nil
		}
		switch {
		case e.ScaleResolutionDownBy != nil && !(*e.ScaleResolutionDownBy >= 1):
			return fail(RangeError, "scaleResolutionDownBy is below 1.0")
		case e.MaxFramerate != nil && !(*e.MaxFramerate >= 0):
			return fail(RangeError, "maxFramerate is negative")
		case e.MaxBitrate != nil && *e.MaxBitrate == 0:
			return fail(RangeError, "maxBitrate is 0")
		case !e.Priority.valid() || !e.NetworkPriority.valid():
			return fail(TypeError, "that is no priority")
		case !e.scalable(codecs):
			// webrtc-svc section 4: a scalabilityMode "that is not supported by any codec", or by the one that is chosen
			return fail(OperationError, "%q is no mode of scalability of these codecs", e.ScalabilityMode)
		}
	}
	return nil
}

// choosable reports whether an encoding may name a codec: one of media that is among these.
func choosable(kind string, c *RTPCodec, codecs []jsep.Codec) bool {
	return c.kind() == kind && slices.ContainsFunc(codecs, func(o jsep.Codec) bool { return o.Media() && c.chooses(&o) })
}

// chooses is the "codec dictionary match" with ignoreLevels: what each direction may have of its own does not count, as levels and
// for AV1 the profile (AV1 RTP section 7.2.3).
func (c *RTPCodec) chooses(o *jsep.Codec) bool {
	j := c.jsep()
	if c.is("AV1") {
		j.FMTP = o.FMTP
	}
	return o.Matches(&j)
}

// scalable reports whether a mode of scalability can be had: with the codec of the encoding, else with one of these.
func (e *RTPEncodingParameters) scalable(codecs []jsep.Codec) bool {
	if e.ScalabilityMode == "" {
		return true
	}
	mode, ok := payload.ParseMode(e.ScalabilityMode)
	if !ok {
		return false
	}
	if e.Codec != nil {
		codecs = []jsep.Codec{e.Codec.jsep()}
	}
	return slices.ContainsFunc(codecs, func(c jsep.Codec) bool { return layered(c.Name, mode) })
}

// layered reports whether a codec has a mode (webrtc-svc section 6): all of VP9 and AV1, those of one spatial layer of the others.
func layered(name string, m *payload.Mode) bool {
	switch strings.ToUpper(name) {
	case "VP9", "AV1":
		return true
	case "VP8", "H264", "H265":
		return m.Spatial == 1
	}
	return false
}
