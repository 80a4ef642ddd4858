package jsep

import (
	"errors"
	"io"
	"slices"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A BundlePolicy says how many transports an offer provides for (RFC 8829 section 4.1.1).
type BundlePolicy uint8

// The policies.
const (
	// Balanced: one for each kind of media, should the peer refuse BUNDLE. The default.
	Balanced BundlePolicy = iota
	// MaxCompat: one for each section.
	MaxCompat
	// MaxBundle: one; sections that the peer does not bundle are rejected.
	MaxBundle
)

// Config is what a Session is made with.
type Config struct {
	// Entropy is a cryptographic source, for ICE credentials, tls-ids and the session's id; required.
	Entropy io.Reader
	// Fingerprints are those of our certificates; at least one.
	Fingerprints []sdp.Fingerprint
	Bundle       BundlePolicy
	// Audio and Video are the codecs in the order of preference; nil: DefaultAudio and DefaultVideo. An empty list that is
	// not nil rejects sections of that kind.
	Audio, Video []Codec
	// AudioExtensions and VideoExtensions are the URIs of header extensions that we understand; nil: the default lists.
	AudioExtensions, VideoExtensions []string
	// SCTPPort is our port in the data section; default 5000.
	SCTPPort uint16
	// MaxMessageSize is the largest message that we receive, in bytes; default 262144.
	MaxMessageSize uint64
	// SCTPInit, if not empty, is the value of a=sctp-init, our INIT chunk in base64 (draft-hancke-tsvwg-snap).
	SCTPInit string
	// Lite says that our ICE is lite.
	Lite bool
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return errors.New("jsep: Config.Entropy is required")
	case len(c.Fingerprints) == 0:
		return errors.New("jsep: Config.Fingerprints is required")
	case c.Bundle > MaxBundle:
		return errors.New("jsep: Config.Bundle is not a policy")
	}
	return nil
}

func (c *Config) fill() {
	if c.Audio == nil {
		c.Audio = DefaultAudio()
	}
	if c.Video == nil {
		c.Video = DefaultVideo()
	}
	if c.AudioExtensions == nil {
		c.AudioExtensions = defaultAudioExtensions
	}
	if c.VideoExtensions == nil {
		c.VideoExtensions = defaultVideoExtensions
	}
	if c.SCTPPort == 0 {
		c.SCTPPort = 5000
	}
	if c.MaxMessageSize == 0 {
		c.MaxMessageSize = 256 << 10
	}
}

// Extensions returns the URIs of the header extensions of "audio" or "video" that are negotiated by default.
func Extensions(kind string) []string {
	if kind == "audio" {
		return slices.Clone(defaultAudioExtensions)
	}
	return slices.Clone(defaultVideoExtensions)
}

var defaultAudioExtensions = []string{
	rtp.URIAudioLevel, rtp.URIAbsSendTime, rtp.URITransportSequence, rtp.URIMID, rtp.URIMixerAudioLevels, rtp.URIAbsCaptureTime,
}

var defaultVideoExtensions = []string{
	rtp.URIAbsSendTime, rtp.URIVideoOrientation, rtp.URITransportSequence, rtp.URIPlayoutDelay, rtp.URIMID, rtp.URIRID, rtp.URIRRID,
	rtp.URIDependency, rtp.URIVideoLayers, rtp.URIAbsCaptureTime,
}
