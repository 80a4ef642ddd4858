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
	// RID names it in simulcast; it cannot be changed.
	RID string `json:"rid,omitempty"`
	// Active says that it is sent; nil is true.
	Active *bool `json:"active,omitempty"`
	// MaxBitrate is a limit in bits a second, nil for none.
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

func (p RTPParameters) copy() RTPParameters {
	p.HeaderExtensions, p.Codecs = slices.Clone(p.HeaderExtensions), slices.Clone(p.Codecs)
	return p
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
		// "Verify that each rid value in sendEncodings conforms to the grammar specified in Section 10 of [RFC8851]."
		if strings.Trim(e.RID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || len(e.RID) > 255 {
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
	if err := checkEncodings(kind, list, nil); err != nil {
		return nil, err
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

// defaultScales fills in scaleResolutionDownBy: by halves if none has it, else 1.0.
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

// checkEncodings are the checks that addTransceiver and setParameters share; negotiated is nil in the former.
func checkEncodings(kind string, list []RTPEncodingParameters, negotiated []jsep.Codec) error {
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
		case !e.Priority.valid() || !e.NetworkPriority.valid():
			return fail(TypeError, "that is no priority")
		case e.ScalabilityMode != "" && !scalable(kind, e.ScalabilityMode):
			// webrtc-svc: "If ... scalabilityMode value that is not supported by any codec ... OperationError"
			return fail(OperationError, "%q is no mode of scalability", e.ScalabilityMode)
		}
		if e.Codec == nil {
			continue
		}
		supported := slices.ContainsFunc(codecsOf(kind), func(c jsep.Codec) bool { w := capability(kind, &c); return w.media() && w.same(e.Codec) })
		if !supported && negotiated == nil {
			return fail(OperationError, "%s cannot be sent", e.Codec.MimeType)
		}
		if negotiated != nil && !slices.ContainsFunc(negotiated, func(c jsep.Codec) bool { j := e.Codec.jsep(); return c.Media() && c.Matches(&j) }) {
			return fail(InvalidModificationError, "%s is not among the negotiated codecs", e.Codec.MimeType)
		}
	}
	return nil
}

func scalable(kind, mode string) bool {
	_, ok := payload.ParseMode(mode)
	return ok && kind == "video"
}
