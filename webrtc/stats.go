package webrtc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A StatsType is RTCStatsType.
type StatsType string

// The types of what a report holds.
const (
	StatsTypePeerConnection  StatsType = "peer-connection"
	StatsTypeDataChannel     StatsType = "data-channel"
	StatsTypeTransport       StatsType = "transport"
	StatsTypeCandidatePair   StatsType = "candidate-pair"
	StatsTypeLocalCandidate  StatsType = "local-candidate"
	StatsTypeRemoteCandidate StatsType = "remote-candidate"
	StatsTypeCertificate     StatsType = "certificate"
)

// A StatsReport is RTCStatsReport: dictionaries of webrtc-stats by their ids. In JSON they are as browsers have them.
type StatsReport map[string]Stats

// Stats is one dictionary of a report: a *PeerConnectionStats, *DataChannelStats, *TransportStats, *ICECandidatePairStats,
// *ICECandidateStats or *CertificateStats, and of media a *CodecStats, *InboundRTPStreamStats, *OutboundRTPStreamStats,
// *RemoteInboundRTPStreamStats, *RemoteOutboundRTPStreamStats or *MediaSourceStats.
type Stats interface{ Base() StatsBase }

// StatsBase is RTCStats, which every dictionary has.
type StatsBase struct {
	ID   string    `json:"id"` // the same for the same thing, as long as it lives
	Type StatsType `json:"type"`
	// Timestamp is the time of the report, in milliseconds since 1970.
	Timestamp float64 `json:"timestamp"`
}

// Base returns what every dictionary has.
func (b StatsBase) Base() StatsBase { return b }

// PeerConnectionStats is RTCPeerConnectionStats.
type PeerConnectionStats struct {
	StatsBase
	DataChannelsOpened uint32 `json:"dataChannelsOpened"` // that ever were open
	DataChannelsClosed uint32 `json:"dataChannelsClosed"` // that were open and are not any more
}

// DataChannelStats is RTCDataChannelStats.
type DataChannelStats struct {
	StatsBase
	Label                 string           `json:"label"`
	Protocol              string           `json:"protocol"`
	DataChannelIdentifier *uint16          `json:"dataChannelIdentifier,omitempty"`
	State                 DataChannelState `json:"state"`
	MessagesSent          uint32           `json:"messagesSent"`
	BytesSent             uint64           `json:"bytesSent"`
	MessagesReceived      uint32           `json:"messagesReceived"`
	BytesReceived         uint64           `json:"bytesReceived"`
}

// TransportStats is RTCTransportStats. Packets and bytes are those that are not of ICE, without headers of IP and UDP.
type TransportStats struct {
	StatsBase
	PacketsSent                  uint64             `json:"packetsSent"`
	PacketsReceived              uint64             `json:"packetsReceived"`
	BytesSent                    uint64             `json:"bytesSent"`
	BytesReceived                uint64             `json:"bytesReceived"`
	ICERole                      ICERole            `json:"iceRole"`
	ICELocalUsernameFragment     string             `json:"iceLocalUsernameFragment"`
	DTLSState                    DTLSTransportState `json:"dtlsState"`
	ICEState                     ICETransportState  `json:"iceState"`
	SelectedCandidatePairID      string             `json:"selectedCandidatePairId,omitempty"`
	LocalCertificateID           string             `json:"localCertificateId,omitempty"`
	RemoteCertificateID          string             `json:"remoteCertificateId,omitempty"`
	TLSVersion                   string             `json:"tlsVersion,omitempty"` // "FEFC": DTLS 1.3
	DTLSCipher                   string             `json:"dtlsCipher,omitempty"`
	DTLSRole                     string             `json:"dtlsRole"` // "client", "server" or "unknown"
	SRTPCipher                   string             `json:"srtpCipher,omitempty"`
	TLSGroup                     string             `json:"tlsGroup,omitempty"` // of the key agreement, such as "X25519MLKEM768"
	SelectedCandidatePairChanges uint32             `json:"selectedCandidatePairChanges"`
	CCFBMessagesSent             uint64             `json:"ccfbMessagesSent"` // feedback of RFC 8888
	CCFBMessagesReceived         uint64             `json:"ccfbMessagesReceived"`
}

// ICECandidatePairStats is RTCIceCandidatePairStats. Times are in seconds.
type ICECandidatePairStats struct {
	StatsBase
	TransportID                 string  `json:"transportId"`
	LocalCandidateID            string  `json:"localCandidateId"`
	RemoteCandidateID           string  `json:"remoteCandidateId"`
	State                       string  `json:"state"` // "frozen", "waiting", "in-progress", "failed" or "succeeded"
	Nominated                   bool    `json:"nominated"`
	PacketsSent                 uint64  `json:"packetsSent"`
	PacketsReceived             uint64  `json:"packetsReceived"`
	BytesSent                   uint64  `json:"bytesSent"`
	BytesReceived               uint64  `json:"bytesReceived"`
	LastPacketSentTimestamp     float64 `json:"lastPacketSentTimestamp,omitempty"`
	LastPacketReceivedTimestamp float64 `json:"lastPacketReceivedTimestamp,omitempty"`
	TotalRoundTripTime          float64 `json:"totalRoundTripTime"`
	CurrentRoundTripTime        float64 `json:"currentRoundTripTime,omitempty"`
	RequestsReceived            uint64  `json:"requestsReceived"`
	RequestsSent                uint64  `json:"requestsSent"`
	ResponsesReceived           uint64  `json:"responsesReceived"`
	ResponsesSent               uint64  `json:"responsesSent"`
	ConsentRequestsSent         uint64  `json:"consentRequestsSent"`
	// AvailableOutgoingBitrate is what congestion control takes the path to bear, in bits a second; of the selected pair, once
	// media was sent.
	AvailableOutgoingBitrate float64 `json:"availableOutgoingBitrate,omitempty"`
}

// ICECandidateStats is RTCIceCandidateStats.
type ICECandidateStats struct {
	StatsBase
	TransportID      string  `json:"transportId"`
	Address          *string `json:"address"`
	Port             uint16  `json:"port"`
	Protocol         string  `json:"protocol"`
	CandidateType    string  `json:"candidateType"`
	Priority         uint32  `json:"priority"`
	URL              string  `json:"url,omitempty"`
	RelayProtocol    string  `json:"relayProtocol,omitempty"`
	Foundation       string  `json:"foundation"`
	RelatedAddress   string  `json:"relatedAddress,omitempty"`
	RelatedPort      uint16  `json:"relatedPort,omitempty"`
	UsernameFragment string  `json:"usernameFragment"`
	TCPType          string  `json:"tcpType,omitempty"`
}

// CertificateStats is RTCCertificateStats.
type CertificateStats struct {
	StatsBase
	Fingerprint          string `json:"fingerprint"`
	FingerprintAlgorithm string `json:"fingerprintAlgorithm"`
	Base64Certificate    string `json:"base64Certificate"` // DER
	// IssuerCertificateID is the certificate that the peer has sent as the issuer of this one; "" if there is none.
	IssuerCertificateID string `json:"issuerCertificateId,omitempty"`
}

// GetStats returns a report of the connection (getStats). That of a closed one is what there was when it was closed: "also
// visible in getStats() after pc.close()" (webrtc-stats section 4.2).
func (pc *PeerConnection) GetStats() (r StatsReport) {
	pc.read(func(now mono.Time) { r = pc.report(now) })
	return r
}

// A reporter writes one report.
type reporter struct {
	StatsReport
	pc   *PeerConnection
	now  mono.Time
	wall time.Time
}

func (pc *PeerConnection) report(now mono.Time) StatsReport {
	r := reporter{StatsReport{}, pc, now, time.Now()}
	if pc.shut {
		r.now, r.wall = pc.closedAt, pc.closedTime
	}
	r.add(&PeerConnectionStats{r.base("P", StatsTypePeerConnection), pc.openedEver, pc.closedEver})
	for _, ch := range pc.channels {
		r.add(&DataChannelStats{
			r.base(fmt.Sprint("D", ch.number), StatsTypeDataChannel), ch.label, ch.protocol, ch.ID(), ch.ReadyState(),
			uint32(ch.sent.messages), ch.sent.bytes, uint32(ch.read.messages), ch.read.bytes,
		})
	}
	for _, x := range pc.transports {
		if o := x.observe(); o != nil {
			r.transport(x, o)
		}
	}
	return r.StatsReport
}

// An observation is what the engines know of a transport.
type observation struct {
	peer.Stats
	paths         []peer.PathStats
	local, remote []ice.Candidate
	pairs         []ice.PairStats
	selected      uint32 // of pairs, by ID
	outbound      []session.OutboundStats
	inbound       []session.InboundStats
	messages      session.Messages
	bandwidth     float64 // bits a second; 0: not known
}

// observe looks at a transport; after Close it is what was seen last. It is nil for a transport that no description has.
func (x *DTLSTransport) observe() *observation {
	p := x.pc.peer.Transport(x.ice.id)
	if x.pc.shut || x.closed || p == nil {
		return x.last
	}
	a := x.pc.peer.Agent(x.ice.id)
	selected, _ := a.Selected()
	o := &observation{Stats: p.Stats(), paths: p.Paths(), local: a.LocalCandidates(), remote: a.RemoteCandidates(), pairs: a.Pairs(), selected: selected.ID}
	if s := p.Session(); s != nil {
		o.outbound, o.inbound = s.AppendOutbound(nil), s.AppendInbound(nil)
		o.messages = s.CongestionFeedback()
		if b, ok := s.Bandwidth(); ok {
			o.bandwidth = float64(b.Target)
		}
	}
	return o
}

func (r *reporter) base(id string, kind StatsType) StatsBase {
	return StatsBase{id, kind, milliseconds(r.wall)}
}

// membersOf writes a dictionary in JSON, without the members that are of another kind than this one.
func membersOf(kind string, s any) ([]byte, error) {
	b := []byte{'{'}
	var write func(v reflect.Value) error
	write = func(v reflect.Value) error {
		for i := range v.NumField() {
			f, x := v.Type().Field(i), v.Field(i)
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			of := f.Tag.Get("of")
			switch {
			case f.Anonymous:
				if err := write(x); err != nil {
					return err
				}
				continue
			case name == "" || of != "" && of != kind || option == "omitempty" && x.IsZero():
				continue
			}
			value, err := json.Marshal(x.Interface())
			if err != nil {
				return err
			}
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(append(strconv.AppendQuote(b, name), ':'), value...)
		}
		return nil
	}
	err := write(reflect.ValueOf(s))
	return append(b, '}'), err
}

func milliseconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1000 }

func (r *reporter) add(s Stats) { r.StatsReport[s.Base().ID] = s }

// at makes a time of the loop's one of the wall's; never is 0.
func (r *reporter) at(t mono.Time) float64 {
	if t == 0 {
		return 0
	}
	return milliseconds(r.wall.Add(t.Sub(r.now)))
}

func (r *reporter) transport(x *DTLSTransport, o *observation) {
	id := fmt.Sprint("T", x.ice.id)
	s, role := &o.Stats, "unknown"
	switch s.Role {
	case dtls.Client:
		role = "client"
	case dtls.Server:
		role = "server"
	}
	t := &TransportStats{
		StatsBase: r.base(id, StatsTypeTransport), PacketsSent: s.PacketsSent, PacketsReceived: s.PacketsReceived,
		BytesSent: s.BytesSent, BytesReceived: s.BytesReceived, ICERole: ICERole(s.ICERole.String()), ICELocalUsernameFragment: x.ice.told.Local.Ufrag,
		DTLSState: x.State(), ICEState: x.ice.State(), DTLSRole: role, SelectedCandidatePairChanges: s.SelectedPairChanges,
		TLSVersion: tlsVersion(s.ConnectionState), TLSGroup: tlsGroup(s.ConnectionState),
		CCFBMessagesSent: o.messages.Sent, CCFBMessagesReceived: o.messages.Received,
	}
	if t.TLSVersion != "" {
		t.DTLSCipher = s.ConnectionState.CipherSuite.String()
	}
	if s.ConnectionState.SRTPProfile != 0 {
		t.SRTPCipher = strings.TrimPrefix(s.ConnectionState.SRTPProfile.String(), "SRTP_")
	}
	t.LocalCertificateID = r.certificate(r.pc.config.Load().Certificates[0].dtls.Chain)
	t.RemoteCertificateID = r.certificate(s.Certificates)
	for _, c := range o.local {
		r.candidate(x, id, &c, true)
	}
	for _, c := range o.remote {
		r.candidate(x, id, &c, false)
	}
	paths := map[pkt.Path]peer.PathStats{}
	for _, path := range o.paths {
		paths[path.Path] = path
	}
	for _, pair := range o.pairs {
		pairID, bandwidth := fmt.Sprint("CP", x.ice.id, "-", pair.ID), 0.0
		if pair.ID == o.selected {
			t.SelectedCandidatePairID, bandwidth = pairID, o.bandwidth
		}
		path := paths[pair.Path]
		r.add(&ICECandidatePairStats{
			StatsBase: r.base(pairID, StatsTypeCandidatePair), TransportID: id,
			LocalCandidateID: candidateID(id, &pair.Local, true), RemoteCandidateID: candidateID(id, &pair.Remote, false),
			State: pair.State.String(), Nominated: pair.Nominated,
			PacketsSent: path.PacketsSent, PacketsReceived: path.PacketsReceived, BytesSent: path.BytesSent, BytesReceived: path.BytesReceived,
			LastPacketSentTimestamp: r.at(path.LastSent), LastPacketReceivedTimestamp: r.at(path.LastReceived),
			TotalRoundTripTime: pair.TotalRoundTrip.Seconds(), CurrentRoundTripTime: pair.RoundTrip.Seconds(),
			RequestsReceived: uint64(pair.RequestsReceived), RequestsSent: uint64(pair.RequestsSent),
			ResponsesReceived: uint64(pair.ResponsesReceived), ResponsesSent: uint64(pair.ResponsesSent),
			ConsentRequestsSent: uint64(pair.ConsentRequestsSent), AvailableOutgoingBitrate: bandwidth,
		})
		// Those of a pair are there too, if they were revealed by checks or are of a former generation.
		r.candidate(x, id, &pair.Local, true)
		r.candidate(x, id, &pair.Remote, false)
	}
	r.add(t)
	r.media(x.ice.id, id, o)
}

func candidateID(transport string, c *ice.Candidate, local bool) string {
	prefix := "R"
	if local {
		prefix = "L"
	}
	return fmt.Sprintf("%s%s-%s-%s-%v", prefix, transport, c.Type, c.Transport.String()+c.Transport.TCPType(), c.Address)
}

func (r *reporter) candidate(x *DTLSTransport, transport string, c *ice.Candidate, local bool) {
	id, kind := candidateID(transport, c, local), StatsTypeRemoteCandidate
	if local {
		kind = StatsTypeLocalCandidate
	}
	if _, ok := r.StatsReport[id]; ok {
		return
	}
	w := x.ice.candidate(c, local)
	s := &ICECandidateStats{
		StatsBase: r.base(id, kind), TransportID: transport, Port: c.Address.Port(), Protocol: c.Transport.String(),
		CandidateType: c.Type.String(), Priority: c.Priority, URL: w.url, RelayProtocol: w.relayProtocol, Foundation: c.Foundation,
		RelatedAddress: w.RelatedAddress(), RelatedPort: w.RelatedPort(), UsernameFragment: *w.UsernameFragment, TCPType: c.Transport.TCPType(),
	}
	if c.Ufrag != "" {
		s.UsernameFragment = c.Ufrag
	}
	// "address ... null" where a program is not to learn it: a remote candidate that was not signalled.
	if local || c.Type != ice.PeerReflexive {
		s.Address = new(w.Address())
	}
	r.add(s)
}

// certificate reports a chain, and returns the id of the first one.
func (r *reporter) certificate(chain [][]byte) string {
	if len(chain) == 0 {
		return ""
	}
	f, err := dtls.FingerprintOf("sha-256", chain[0])
	if err != nil {
		return ""
	}
	value := strings.ToUpper(f.Value)
	id := "CF" + value
	r.add(&CertificateStats{r.base(id, StatsTypeCertificate), value, "sha-256", base64.StdEncoding.EncodeToString(chain[0]), r.certificate(chain[1:])})
	return id
}
