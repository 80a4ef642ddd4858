package webrtc

import "github.com/parley-rtc/parley/protocol/jsep"

// An SDPType is RTCSdpType.
type SDPType string

// The types.
const (
	SDPTypeOffer    SDPType = "offer"
	SDPTypeAnswer   SDPType = "answer"
	SDPTypePranswer SDPType = "pranswer" // an answer that a later one replaces
	SDPTypeRollback SDPType = "rollback" // takes the pending offer back
)

// A SessionDescription is RTCSessionDescription, and in JSON what browsers make of one.
type SessionDescription struct {
	Type SDPType `json:"type"`
	SDP  string  `json:"sdp"`
}

func described(d jsep.Description) *SessionDescription {
	if d.Type == "" {
		return nil
	}
	return &SessionDescription{SDPType(d.Type), d.SDP}
}

func (d *SessionDescription) jsep() jsep.Description {
	if d == nil {
		return jsep.Description{}
	}
	return jsep.Description{Type: jsep.Type(d.Type), SDP: d.SDP}
}

// An OfferOptions is RTCOfferOptions.
type OfferOptions struct {
	// ICERestart asks for new ICE credentials.
	ICERestart bool
}

// A SignalingState is RTCSignalingState.
type SignalingState string

// The states.
const (
	SignalingStateStable             SignalingState = "stable"
	SignalingStateHaveLocalOffer     SignalingState = "have-local-offer"
	SignalingStateHaveRemoteOffer    SignalingState = "have-remote-offer"
	SignalingStateHaveLocalPranswer  SignalingState = "have-local-pranswer"
	SignalingStateHaveRemotePranswer SignalingState = "have-remote-pranswer"
	SignalingStateClosed             SignalingState = "closed"
)
