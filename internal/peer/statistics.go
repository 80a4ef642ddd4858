package peer

import (
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Traffic counts datagrams that are not of ICE, and the bytes of their payloads.
type Traffic struct {
	PacketsSent, PacketsReceived uint64
	BytesSent, BytesReceived     uint64
}

// PathStats is the traffic along one path, which the pair of the same path in [ice.PairStats] has for
// RTCIceCandidatePairStats.
type PathStats struct {
	Path pkt.Path
	Traffic
	LastSent, LastReceived mono.Time // 0: never
}

// Stats is what RTCTransportStats and its certificates need.
type Stats struct {
	Traffic
	Security
	DTLS    DTLSState
	ICE     ice.State
	ICERole ice.Role
	// SelectedPairChanges counts the events SelectedPairChanged.
	SelectedPairChanges uint32
}

// Security is what DTLS has come to.
type Security struct {
	dtls.ConnectionState           // zero before it is connected
	Role                 dtls.Role // 0: not known yet
	Certificates         [][]byte  // that the peer has proved to own, in DER, the leaf first; nil before
}

// maxPaths bounds the paths whose traffic is counted: the one that was used least lately makes room.
const maxPaths = 16

// Stats returns a snapshot.
func (x *Transport) Stats() Stats {
	s := Stats{Traffic: x.traffic, Security: x.Security(), DTLS: x.DTLSState(), ICE: x.agent.State(), ICERole: x.agent.Role(), SelectedPairChanges: x.agent.SelectedPairChanges()}
	return s
}

// Security returns what the association of DTLS that carries data has come to.
func (x *Transport) Security() Security {
	if s := x.secure; s != nil {
		return Security{s.Negotiated(), s.Role(), s.PeerCertificates()}
	}
	return Security{}
}

// Paths returns the traffic by path, of the last 16 that had any.
func (x *Transport) Paths() []PathStats { return append([]PathStats(nil), x.paths...) }

// pathStats finds the counters of a path, or makes some.
func (x *Transport) pathStats(path *pkt.Path) *PathStats {
	oldest := 0
	for i := range x.paths {
		p := &x.paths[i]
		if p.Path == *path {
			return p
		}
		if o := &x.paths[oldest]; max(p.LastSent, p.LastReceived) < max(o.LastSent, o.LastReceived) {
			oldest = i
		}
	}
	if len(x.paths) < maxPaths {
		oldest = len(x.paths)
		x.paths = append(x.paths, PathStats{})
	}
	x.paths[oldest] = PathStats{Path: *path}
	return &x.paths[oldest]
}

func (x *Transport) countReceived(now mono.Time, d *pkt.Datagram) {
	x.agent.Heard(d.Path)
	p := x.pathStats(&d.Path)
	p.LastReceived = now
	for _, t := range [...]*Traffic{&x.traffic, &p.Traffic} {
		t.PacketsReceived++
		t.BytesReceived += uint64(len(d.Payload))
	}
}

// countSent counts what was written for one path.
func (x *Transport) countSent(now mono.Time, sent []pkt.Transmit) {
	if len(sent) == 0 {
		return
	}
	x.agent.Sent(now)
	p := x.pathStats(&sent[0].Path)
	p.LastSent = now
	for i := range sent {
		packets, bytes := uint64(sent[i].Segments()), uint64(len(sent[i].Payload))
		for _, t := range [...]*Traffic{&x.traffic, &p.Traffic} {
			t.PacketsSent += packets
			t.BytesSent += bytes
		}
	}
}
