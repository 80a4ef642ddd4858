package ice

import (
	"net/netip"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// A State is that of the W3C's RTCIceTransport (RTCIceTransportState).
type State uint8

// The states of RTCIceTransportState, with their meanings there.
const (
	// StateNew: no remote candidate was supplied yet, or its credentials were not.
	StateNew State = iota
	// StateChecking: pairs are being checked, or the peer's checks are awaited, and none works yet.
	StateChecking
	// StateConnected: a pair works; others may still be checked, candidates may still come.
	StateConnected
	// StateCompleted: a pair works, no candidate is to come on either side and every pair was checked.
	StateCompleted
	// StateDisconnected: no pair works at present; it may pass without anybody's doing.
	StateDisconnected
	// StateFailed: no pair works or will. Nothing but [Agent.Restart] leads on from here.
	StateFailed
	// StateClosed: [Agent.Close] was called.
	StateClosed
)

func (s State) String() string {
	return [...]string{"new", "checking", "connected", "completed", "disconnected", "failed", "closed"}[s]
}

// A Role is who nominates (RFC 8445 section 6.1.1).
type Role uint8

// The two roles.
const (
	Controlling Role = iota
	Controlled
)

func (r Role) String() string { return [...]string{"controlling", "controlled"}[r&1] }

func (r Role) other() Role { return 1 - r }

// An Event is what an [Agent] tells its owner or wants of its driver: a StateChanged, SelectedPairChanged, RoleChanged,
// CandidateFound, Connect, Disconnect, PathKnown, PathForgotten or Searching.
type Event interface{ event() }

// StateChanged says that the state is another one. With StateClosed it is the last event.
type StateChanged struct{ State State }

// SelectedPairChanged says that data is to be sent along another pair from now on. Data that comes along others, the
// former one among them, is as good as before. Pair is the zero value if no pair is selected any more.
type SelectedPairChanged struct{ Pair Pair }

// RoleChanged says that a role conflict was settled against us (RFC 8445 section 7.3.1.1).
type RoleChanged struct{ Role Role }

// CandidateFound says that a check revealed an address of ours that gathering did not (RFC 8445 section 7.2.5.3.1). It is
// not for signaling: the peer knows it already.
type CandidateFound struct{ Candidate Candidate }

// Connect asks the driver to open a TCP connection (RFC 6544 section 7.1) with frames (RFC 4571), and to call
// [Agent.Connected] or [Agent.ConnectFailed] with the same number, within 15 seconds.
type Connect struct {
	Number uint32
	Local  netip.Addr // the address to connect from
	Remote netip.AddrPort
}

// Disconnect says that a connection, one that Connect asked for or that a passive candidate accepted, has no use any more:
// the driver closes it, unless it is gone already.
type Disconnect struct{ Socket pkt.Socket }

// PathKnown says that a check whose integrity holds came or was answered along a path that was not known before: a driver
// that shares a socket between agents enters it into its map. See [Agent.Knows] and [Agent.HasConsent].
type PathKnown struct{ Path pkt.Path }

// PathForgotten takes back what PathKnown said: too many others have become known since. Local of Path is not valid.
type PathForgotten struct{ Path pkt.Path }

// Searching says that the selected pair is lost or gets no answers, and that all candidates are checked anew. What servers gave may
// be gone with it, where a NAT or a server forgot: the driver finds out, and adds what takes its place.
type Searching struct{}

func (StateChanged) event()        {}
func (SelectedPairChanged) event() {}
func (RoleChanged) event()         {}
func (CandidateFound) event()      {}
func (Connect) event()             {}
func (Disconnect) event()          {}
func (PathKnown) event()           {}
func (PathForgotten) event()       {}
func (Searching) event()           {}

// A Pair is a local and a remote candidate, and the path between them.
type Pair struct {
	ID     uint32 // the number of the pair within its agent, never used again; 0 is no pair
	Local  Candidate
	Remote Candidate
	// Path is what to put into a [pkt.Transmit].
	Path pkt.Path
}
