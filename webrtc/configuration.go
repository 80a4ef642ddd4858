package webrtc

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A Configuration is RTCConfiguration. Its zero value is useful: host candidates only, everything by default.
type Configuration struct {
	// ICEServers are the STUN and TURN servers to use, all of them.
	ICEServers []ICEServer `json:"iceServers,omitempty"`
	// ICETransportPolicy says which candidates may be used; default "all".
	ICETransportPolicy ICETransportPolicy `json:"iceTransportPolicy,omitempty"`
	// BundlePolicy says how many transports are offered; default "balanced".
	BundlePolicy BundlePolicy `json:"bundlePolicy,omitempty"`
	// RTCPMuxPolicy is "require", the default. "negotiate" is a NotSupportedError.
	RTCPMuxPolicy RTCPMuxPolicy `json:"rtcpMuxPolicy,omitempty"`
	// Certificates are what the connection may prove to be: descriptions name them all, and the first one is used. If there is none,
	// one is made.
	Certificates []*Certificate `json:"-"`
	// ICECandidatePoolSize is for how many transports candidates are gathered before a description asks for them.
	ICECandidatePoolSize uint8 `json:"iceCandidatePoolSize,omitempty"`
}

// An ICEServer is RTCIceServer: where a STUN or TURN server is, and how it knows us.
type ICEServer struct {
	// URLs have the schemes stun, stuns, turn and turns (RFC 7064, RFC 7065); at least one.
	URLs []string `json:"urls"`
	// Username and Credential are required with turn and turns. At most 508 bytes of Username (RFC 8489 section 14.3).
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

// An ICETransportPolicy is RTCIceTransportPolicy.
type ICETransportPolicy string

// The policies.
const (
	ICETransportPolicyAll   ICETransportPolicy = "all"
	ICETransportPolicyRelay ICETransportPolicy = "relay" // relayed candidates only: the peer learns no address of ours
)

// A BundlePolicy is RTCBundlePolicy.
type BundlePolicy string

// The policies.
const (
	BundlePolicyBalanced   BundlePolicy = "balanced"
	BundlePolicyMaxCompat  BundlePolicy = "max-compat"
	BundlePolicyMaxBundle  BundlePolicy = "max-bundle"
	defaultBundlePolicy                 = BundlePolicyBalanced
	defaultTransportPolicy              = ICETransportPolicyAll
)

// An RTCPMuxPolicy is RTCRtcpMuxPolicy.
type RTCPMuxPolicy string

// The policies. The specification lets an implementation refuse the second, as this one does.
const (
	RTCPMuxPolicyRequire   RTCPMuxPolicy = "require"
	RTCPMuxPolicyNegotiate RTCPMuxPolicy = "negotiate"
)

// maxUsername is the longest USERNAME in bytes (RFC 8489 section 14.3: less than 509).
const maxUsername = 508

// An iceServer is one URL of the configuration with its credentials.
type iceServer struct {
	uri                  turn.URI
	url                  string // as it was written
	username, credential string
}

// validated is a configuration with the defaults in place, that has been found good.
type validated struct {
	Configuration
	servers []iceServer
}

// validate runs the steps of "set a configuration" that concern the configuration alone.
func (c Configuration) validate(now time.Time) (validated, error) {
	v := validated{Configuration: c}
	v.Certificates = slices.Clone(c.Certificates)
	v.ICEServers = slices.Clone(c.ICEServers)
	for i := range v.ICEServers {
		v.ICEServers[i].URLs = slices.Clone(v.ICEServers[i].URLs)
	}
	if v.ICETransportPolicy == "" {
		v.ICETransportPolicy = defaultTransportPolicy
	}
	if v.BundlePolicy == "" {
		v.BundlePolicy = defaultBundlePolicy
	}
	if v.RTCPMuxPolicy == "" {
		v.RTCPMuxPolicy = RTCPMuxPolicyRequire
	}
	// Web IDL: a value that is none of an enumeration's is a TypeError.
	if p := v.ICETransportPolicy; p != ICETransportPolicyAll && p != ICETransportPolicyRelay {
		return v, fail(TypeError, "ICETransportPolicy is %q: it may be all or relay", p)
	}
	if p := v.BundlePolicy; p != BundlePolicyBalanced && p != BundlePolicyMaxCompat && p != BundlePolicyMaxBundle {
		return v, fail(TypeError, "BundlePolicy is %q: it may be balanced, max-compat or max-bundle", p)
	}
	if p := v.RTCPMuxPolicy; p != RTCPMuxPolicyRequire && p != RTCPMuxPolicyNegotiate {
		return v, fail(TypeError, "RTCPMuxPolicy is %q: it may be require", p)
	}
	for _, c := range v.Certificates {
		if c == nil {
			return v, fail(TypeError, "a certificate is nil")
		}
		// constructor, step 4.1: If the value of certificate.expires is less than the current time, throw an
		// InvalidAccessError.
		if !c.expires.After(now) {
			return v, fail(InvalidAccessError, "a certificate has expired on %s", c.expires.Format(time.DateTime))
		}
	}
	// If rtcpMuxPolicy is "negotiate" and the user agent does not implement non-muxed RTCP, throw a NotSupportedError.
	if v.RTCPMuxPolicy == RTCPMuxPolicyNegotiate {
		return v, fail(NotSupportedError, "RTCP is always multiplexed: rtcpMuxPolicy negotiate is not implemented")
	}
	for _, s := range v.ICEServers {
		if err := v.add(s); err != nil {
			return v, err
		}
	}
	return v, nil
}

// add runs the steps of "set a configuration" for one RTCIceServer.
func (v *validated) add(s ICEServer) error {
	if len(s.URLs) == 0 { // If urls is empty, throw a SyntaxError.
		return fail(SyntaxError, "an ICE server has no URLs")
	}
	for _, url := range s.URLs {
		// If parsedURL is failure, or its scheme is not implemented, throw a SyntaxError.
		uri, err := turn.ParseURI(url)
		if err != nil {
			return fail(SyntaxError, "%v", err)
		}
		if uri.TURN() {
			// If scheme name is turn or turns, and either of username or credential are omitted, throw an
			// InvalidAccessError.
			switch {
			case s.Username == "" || s.Credential == "":
				return fail(InvalidAccessError, "the server %s needs a username and a credential", url)
			case len(s.Username) > maxUsername:
				return fail(InvalidAccessError, "the username for %s is longer than %d bytes", url, maxUsername)
			}
		}
		v.servers = append(v.servers, iceServer{uri, url, s.Username, s.Credential})
	}
	return nil
}

// replaces runs the steps of "set a configuration" that compare with the configuration before; described says that there
// is a local description.
func (v *validated) replaces(old *validated, described bool) error {
	// 3. If configuration.certificates is set: the same ones in the same order, else an InvalidModificationError.
	if v.Certificates != nil && !slices.EqualFunc(v.Certificates, old.Certificates, (*Certificate).equal) {
		return fail(InvalidModificationError, "the certificates of a connection cannot be changed")
	}
	switch {
	case v.BundlePolicy != old.BundlePolicy:
		return fail(InvalidModificationError, "the BUNDLE policy of a connection cannot be changed")
	case v.RTCPMuxPolicy != old.RTCPMuxPolicy:
		return fail(InvalidModificationError, "the RTCP policy of a connection cannot be changed")
	case v.ICECandidatePoolSize != old.ICECandidatePoolSize && described:
		return fail(InvalidModificationError, "the size of the pool cannot be changed once there is a local description")
	}
	v.Certificates = old.Certificates
	return nil
}

// copy returns a configuration that shares nothing with v.
func (v *validated) copy() Configuration {
	c := v.Configuration
	c.Certificates = slices.Clone(c.Certificates)
	c.ICEServers = slices.Clone(c.ICEServers)
	for i := range c.ICEServers {
		c.ICEServers[i].URLs = slices.Clone(c.ICEServers[i].URLs)
	}
	return c
}

func (p BundlePolicy) jsep() jsep.BundlePolicy {
	switch p {
	case BundlePolicyMaxCompat:
		return jsep.MaxCompat
	case BundlePolicyMaxBundle:
		return jsep.MaxBundle
	}
	return jsep.Balanced
}
