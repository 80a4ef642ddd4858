package sctp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// What no other test of this package happens to show. Each test opens with the sentences that it is about.

// packets returns all packets that the association has to send.
func (w *wireEnd) packets() (all [][]byte) {
	for {
		p := w.AppendPacket(nil, w.now)
		if len(p) == 0 {
			return all
		}
		all = append(all, p)
	}
}

func chunksOf(t *testing.T, packet []byte) (chunks []chunk) {
	t.Helper()
	r := wire.NewReader(packet[headerSize:])
	for r.Len() > 0 {
		c, ok := nextChunk(&r)
		if !ok {
			t.Fatalf("a packet that cannot be parsed: %x", packet)
		}
		chunks = append(chunks, c)
	}
	return chunks
}

func tagOf(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[4:]) }

// RFC 6525 section 5.1.1: "An SCTP endpoint supporting this extension MUST include the chunk type of the RE-CONFIG
// chunk in the Supported Extensions Parameter in either the INIT or INIT-ACK."; RFC 9260 section 5: "Before the first
// data transmission can take place from one SCTP endpoint ("A") to another SCTP endpoint ("Z"), the two endpoints MUST
// complete an initialization process in order to set up an SCTP association between them."; RFC 9260 section 5.1: "In
// the INIT chunk, "A" MUST provide its Verification Tag (Tag_A) in the Initiate Tag field."; "The COOKIE ECHO chunk MAY
// be bundled with any pending outbound DATA chunks, but it MUST be the first chunk in the packet and, until the COOKIE
// ACK chunk is returned, the sender MUST NOT send any other packets to the peer."; "When the TCB is created, each
// endpoint MUST set its internal Cumulative TSN Ack Point to the value of its transmitted Initial TSN minus one."; RFC
// 9260 section 5.1.1: "In the INIT and INIT ACK chunks, the sender of the chunk MUST indicate the number of outbound
// streams (OS) it wishes to have in the association, as well as the maximum inbound streams (MIS) it will accept from
// the other endpoint."; "After receiving the stream configuration information from the other side, each endpoint MUST
// perform the following check"; "If the peer's MIS is less than the endpoint's OS, meaning that the peer is incapable
// of supporting all the outbound streams the endpoint wants to configure, the endpoint MUST use MIS outbound streams
// and MAY report any shortage to the upper layer."; "After the association is initialized, the valid outbound stream
// identifier range for either endpoint MUST be 0 to min(local OS, remote MIS) - 1."; RFC 9260 section 5.1.4: "When an
// endpoint (in the COOKIE-WAIT state) receives an INIT ACK chunk with a State Cookie parameter, it MUST immediately
// send a COOKIE ECHO chunk to its peer with the received State Cookie."; "The endpoint MUST also start the T1-cookie
// timer after sending the COOKIE ECHO chunk."; RFC 9260 section 6: "Data transmission MUST only happen in the
// ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED states."; RFC 9260 section 6.5: "The Stream Sequence Number in
// all the outgoing streams MUST start from 0 when the association is established."; RFC 9260 section 6.8: "When sending
// an SCTP packet, the endpoint MUST strengthen the data integrity of the transmission by including the CRC32c checksum
// value calculated on the packet, as described below."; RFC 9260 section 6.10: "An endpoint MUST NOT bundle INIT, INIT
// ACK, or SHUTDOWN COMPLETE chunks with any other chunks."; RFC 9260 section 8.5: "When sending an SCTP packet, the
// endpoint MUST fill in the Verification Tag field of the outbound packet with the tag value in the Initiate Tag
// parameter of the INIT or INIT ACK chunk received from its peer."; RFC 9260 section 8.5.1: "The sender MUST set the
// Verification Tag of the packet to 0."; "When sending a COOKIE ECHO chunk, the endpoint MUST use the value of the
// Initiate Tag received in the INIT ACK chunk."
func TestHandshakeOfTheOneThatBegins(t *testing.T) {
	w := newWireEnd(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	w.Send(w.now, id, false, []byte("patience"))
	w.Connect(w.now)
	init := w.packets()
	if len(init) != 1 || tagOf(init[0]) != 0 || names(chunksOf(t, init[0])) != "INIT" {
		t.Fatalf("began with %x", init)
	}
	if got := binary.LittleEndian.Uint32(init[0][8:]); got != checksum(init[0]) {
		t.Errorf("the checksum is %x", got)
	}
	in, _ := parseInit(chunksOf(t, init[0])[0].value)
	if in.tag != w.myTag || in.tag == 0 || in.outgoing != maxStreams || in.incoming != maxStreams || in.ext&extReconfig == 0 {
		t.Errorf("the INIT says %+v", in)
	}
	w.hear(w.myTag, appendInit(nil, typeInitAck, &initChunk{
		tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: 3, incoming: 7, cookie: []byte("biscuit"),
	}))
	echo := w.packets()
	if len(echo) != 1 || tagOf(echo[0]) != peersTag || names(chunksOf(t, echo[0])) != "COOKIE-ECHO" || w.timer[timerInit] == mono.Never {
		t.Fatalf("INIT ACK was answered by %x", echo)
	}
	if string(chunksOf(t, echo[0])[0].value) != "biscuit" {
		t.Errorf("the cookie is %q", chunksOf(t, echo[0])[0].value)
	}
	w.Send(w.now, id, false, []byte("more"))
	if p := w.packets(); p != nil || w.send.acked != int64(w.myTSN)-1 {
		t.Errorf("before COOKIE ACK: %x", p)
	}
	w.hear(w.myTag, appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4}))
	w.hear(w.myTag, appendChunk(nil, typeCookieAck, 0, nil))
	if got := names(w.say()); got != "HEARTBEAT-ACK DATA DATA" || w.outStreams != 7 || w.inStreams != 3 {
		t.Errorf("after COOKIE ACK: %s; %d and %d streams", got, w.outStreams, w.inStreams)
	}
}

// RFC 9260 section 5.1: "In the response, besides filling in other parameters, "Z" MUST set the Verification Tag field
// to Tag_A and also provide its own Verification Tag (Tag_Z) in the Initiate Tag field."; "Moreover, "Z" MUST generate
// and send along with the INIT ACK chunk a State Cookie."; "A COOKIE ACK chunk MAY be bundled with any pending DATA
// chunks (and/or SACK chunks), but the COOKIE ACK chunk MUST be the first chunk in the packet."; RFC 9260 section
// 5.1.5: "The COOKIE ACK chunk MAY be bundled with an outbound DATA chunk or SACK chunk; however, the COOKIE ACK chunk
// MUST be the first chunk in the SCTP packet."; "As mentioned in step 6, if the SACK chunk is bundled with the COOKIE
// ACK chunk, the COOKIE ACK chunk MUST appear first in the SCTP packet."; RFC 9260 section 5.2.1: "The endpoint MUST
// also generate a State Cookie with the INIT ACK chunk."; RFC 9260 section 5.2.2: "For a normal association INIT chunk
// (i.e., the endpoint is in the CLOSED state), the Tie-Tags MUST be set to 0 (indicating that no previous TCB
// existed)."
func TestHandshakeOfTheOther(t *testing.T) {
	w := newWireEnd(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	w.Send(w.now, id, false, []byte("patience"))
	w.hear(0, peersInit())
	ack := w.packets()
	if len(ack) != 1 || tagOf(ack[0]) != peersTag || names(chunksOf(t, ack[0])) != "INIT-ACK" {
		t.Fatalf("INIT was answered by %x", ack)
	}
	in, _ := parseInit(chunksOf(t, ack[0])[0].value)
	if in.tag == 0 || in.cookie == nil {
		t.Errorf("the INIT ACK says %+v", in)
	}
	k, ok := w.open(in.cookie)
	if !ok || k.ties != [2]uint32{} {
		t.Errorf("the tie-tags of a first cookie are %v", k.ties)
	}
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie), data(0, 1, 0, whole, "x"))
	p := w.packets()
	if len(p) != 1 || names(chunksOf(t, p[0])) != "COOKIE-ACK SACK DATA" || tagOf(p[0]) != peersTag {
		t.Errorf("COOKIE ECHO was answered by %d packets, %s", len(p), names(chunksOf(t, p[0])))
	}
}

// RFC 9260 section 5.2.1: "Upon receipt of an INIT chunk in the COOKIE-WAIT state, an endpoint MUST respond with an
// INIT ACK chunk using the same parameters it sent in its original INIT chunk (including its Initiate Tag,
// unchanged)."; "When responding, the following rules MUST be applied"; "Upon receipt of an INIT chunk in the
// COOKIE-ECHOED state, an endpoint MUST respond with an INIT ACK chunk using the same parameters it sent in its
// original INIT chunk (including its Initiate Tag, unchanged), provided that no new address has been added to the
// forming association."; "After that, the endpoint MUST NOT change its state, the T1-init timer MUST be left running,
// and the corresponding TCB MUST NOT be destroyed."; "For an endpoint that is in the COOKIE-ECHOED state, it MUST
// populate its Tie-Tags within both the association TCB and inside the State Cookie (see Section 5.2.2 for a
// description of the Tie-Tags)."
func TestInitWhileBeginning(t *testing.T) {
	for _, echoed := range []bool{false, true} {
		w := newWireEnd(t)
		w.Connect(w.now)
		w.say()
		if echoed {
			w.hear(w.myTag, appendInit(nil, typeInitAck, &initChunk{tag: peersTag, tsn: peersTSN, window: 1500, outgoing: 9, incoming: 9, cookie: []byte("c")}))
			w.say()
		}
		state, timer := w.state, w.timer[timerInit]
		w.hear(0, peersInit())
		p := w.packets()
		if len(p) != 1 || tagOf(p[0]) != peersTag {
			t.Fatalf("answered by %x", p)
		}
		in, _ := parseInit(chunksOf(t, p[0])[0].value)
		k, ok := w.open(in.cookie)
		if in.tag != w.myTag || in.tsn != w.myTSN || !ok {
			t.Errorf("the INIT ACK says %+v", in)
		}
		if echoed && (k.ties != w.tieTags || k.ties == [2]uint32{}) || !echoed && k.ties != [2]uint32{} {
			t.Errorf("echoed %v: the cookie's tie-tags are %v, ours %v", echoed, k.ties, w.tieTags)
		}
		if w.state != state || w.timer[timerInit] != timer {
			t.Errorf("state %d, and was %d", w.state, state)
		}
	}
}

// RFC 9260 section 5.1.2: "If there is a Host Name Address parameter present in the received INIT or INIT ACK chunk,
// the endpoint MUST immediately send an ABORT chunk and MAY include an "Unresolvable Address" error cause to its
// peer."; RFC 9260 section 8.4: "If, for whatever reason, the INIT chunk cannot be processed normally and an ABORT
// chunk has to be sent in response, the Verification Tag of the packet containing the ABORT chunk MUST be the Initiate
// Tag of the received INIT chunk, and the T bit of the ABORT chunk has to be set to 0, indicating that the Verification
// Tag is not reflected."
func TestHostName(t *testing.T) {
	for _, w := range []*wireEnd{newWireEnd(t), standing(t)} {
		init := appendParam(peersInit(), paramHostName, []byte("example.org\x00"))
		binary.BigEndian.PutUint16(init[2:], uint16(len(init)))
		w.hear(0, init)
		p := w.packets()
		if len(p) != 1 || tagOf(p[0]) != peersTag {
			t.Fatalf("answered by %x", p)
		}
		c := chunksOf(t, p[0])
		if names(c) != "ABORT" || causes(c)[0] != causeUnresolvable || c[0].flags != 0 {
			t.Errorf("answered by %s %v", names(c), causes(c))
		}
	}
}

// RFC 9260 section 6.1: "At any given time, the data sender MUST NOT transmit new data to any destination transport
// address if its peer's rwnd indicates that the peer has no buffer space (i.e., rwnd is smaller than the size of the
// next DATA chunk; see Section 6.2.1), except for zero window probes."; "A zero window probe MUST only be sent when the
// cwnd allows (see rule B below)."; "Senders MUST support zero window probing."
func TestClosedWindow(t *testing.T) {
	w := withChannels(t, 1)
	closed := func(offset, window int) []byte {
		s := w.sack(offset)
		binary.BigEndian.PutUint32(s[8:], uint32(window))
		return s
	}
	w.Send(w.now, 1, false, make([]byte, 900))
	w.say()
	w.hear(w.myTag, closed(0, 0))
	for range 5 {
		w.Send(w.now, 1, false, make([]byte, 900))
	}
	if got := names(w.say()); got != "DATA" {
		t.Errorf("into a closed window goes %s, want one probe", got)
	}
	for i := range 2 * maxRetransmits { // the peer lives, and does not read
		w.wait()
		w.say()
		w.now = w.now.Add(time.Millisecond)
		w.hear(w.myTag, closed(0, 0))
		if w.state != stateEstablished {
			t.Fatalf("over after %d probes", i)
		}
	}
	w.hear(w.myTag, closed(1, 2000))
	sent := parsed(w.say())
	size := 0
	for _, d := range sent {
		size += len(d.payload)
	}
	if size == 0 || size > 2000 {
		t.Errorf("%d bytes go into a window of 2000", size)
	}
}

// RFC 9260 section 6.1: "The following general rules MUST be applied by the data sender for transmission and/or
// retransmission of outbound DATA chunks"; "At any given time, the sender MUST NOT transmit new data to a given
// transport address if it has cwnd + (PMDCS - 1) or more bytes of data outstanding to that transport address."; "The
// breach of cwnd MUST constitute one packet only."; "When the window is full (i.e., transmission is disallowed by rule
// A and/or rule B), the sender MAY still accept send requests from its upper layer but MUST transmit no more DATA
// chunks until some or all of the outstanding DATA chunks are acknowledged and transmission is allowed by rule A and
// rule B again."
func TestFlightIsBounded(t *testing.T) {
	w := withChannels(t, 1)
	for range 200 {
		w.Send(w.now, 1, false, make([]byte, 900))
	}
	acked := -1
	for range 20 {
		window, packet := w.send.cc.window, w.send.cc.packet
		w.say()
		if w.send.outstanding > window+packet-1 {
			t.Fatalf("%d bytes are outstanding, the window is %d", w.send.outstanding, window)
		}
		w.now = w.now.Add(20 * time.Millisecond)
		if next := w.NextTimeout(); next <= w.now {
			w.HandleTimeout(w.now)
			continue
		}
		if flight := int(w.send.next - w.send.acked - 1); flight > 0 {
			acked += min(2, flight)
			w.hear(w.myTag, w.sack(acked))
		}
	}
	if acked < 10 {
		t.Errorf("only %d chunks were sent", acked)
	}
}

// The same for the number of chunks: however small they are, gap blocks and stream sequence numbers have 16 bits. RFC
// 9260 section 6.1: "For each stream, the data sender MUST NOT have more than 2^16 - 1 ordered user messages in the
// current send window."
func TestFlightOfTinyMessages(t *testing.T) {
	w := withChannels(t, 1)
	w.send.cc.window, w.send.peerWindow = 1<<20, 1<<20
	for range 70_000 {
		if err := w.Send(w.now, 1, false, []byte("x")); err != nil {
			break
		}
	}
	for range 200 {
		w.say()
		w.now = w.now.Add(time.Millisecond)
		if next := w.NextTimeout(); next <= w.now && w.timer[timerRetransmit] > w.now && w.timer[timerProbe] > w.now {
			w.HandleTimeout(w.now)
		}
		w.send.cc.window = 1 << 20
	}
	if n := w.send.next - w.send.acked - 1; n > 1<<16-1 || n < 60_000 {
		t.Errorf("%d messages are under way", n)
	}
}

// RFC 9260 section 6.1: "When the time comes for the sender to transmit, before sending new DATA chunks, the sender
// MUST first transmit any DATA chunks that are marked for retransmission (limited by the current cwnd)."
func TestMissingChunksGoFirst(t *testing.T) {
	w := withChannels(t, 1)
	for range 30 {
		w.Send(w.now, 1, false, make([]byte, 1000))
	}
	sent := len(parsed(w.say()))
	w.now = w.now.Add(50 * time.Millisecond)
	for i := range 4 {
		w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i}))
	}
	var order []uint32
	for range 10 {
		for _, d := range parsed(w.say()) {
			order = append(order, d.tsn-w.myTSN)
		}
		w.now = w.now.Add(5 * time.Millisecond)
		if w.NextTimeout() <= w.now {
			w.HandleTimeout(w.now)
		}
	}
	if len(order) == 0 || order[0] != 1 || slices.Contains(order[1:], 1) {
		t.Errorf("%d were sent, then %v", sent, order)
	}
}

// RFC 9260 section 6.1: "Whenever a transmission or retransmission is made to any address, if the T3-rtx timer of that
// address is not currently running, the sender MUST start that timer."; "If the timer for that address is already
// running, the sender MUST restart the timer if the earliest (i.e., lowest TSN) outstanding DATA chunk sent to that
// address is being retransmitted."; "Otherwise, the data sender MUST NOT restart the timer."; RFC 9260 section 6.3.1:
// "When data is in flight and when allowed by rule C5 below, a new RTT measurement MUST be made each round trip."; "RTT
// measurements MUST NOT be made using chunks that were retransmitted (and thus for which it is ambiguous whether the
// reply was for the first instance of the chunk or for a later instance)."; RFC 9260 section 8.1: "The counter used for
// endpoint failure detection MUST be reset each time a DATA chunk sent to that peer endpoint is acknowledged (by the
// reception of a SACK chunk)."
func TestRetransmissionTimer(t *testing.T) {
	w := withChannels(t, 1)
	w.Send(w.now, 1, false, []byte("a"))
	if w.say(); w.timer[timerRetransmit] != w.now.Add(w.path.rto) {
		t.Errorf("the timer is %v", w.timer[timerRetransmit])
	}
	due := w.timer[timerRetransmit]
	w.now = w.now.Add(100 * time.Millisecond)
	w.Send(w.now, 1, false, []byte("b"))
	if w.say(); w.timer[timerRetransmit] != due {
		t.Error("the timer was started anew by a later chunk")
	}
	w.now = due
	w.HandleTimeout(w.now)
	if got := names(w.say()); got != "DATA DATA" || w.timer[timerRetransmit] != w.now.Add(2*initialRTO) {
		t.Errorf("sent again: %s; the timer is %v", got, w.timer[timerRetransmit])
	}
	w.hear(w.myTag, w.sack(1))
	if w.path.srtt != 0 {
		t.Errorf("a round trip of %v was measured by chunks that were sent twice", w.path.srtt)
	}
	w.Send(w.now, 1, false, []byte("c"))
	w.say()
	w.now = w.now.Add(70 * time.Millisecond)
	w.hear(w.myTag, w.sack(2))
	if w.path.srtt != 70*time.Millisecond || w.errors != 0 {
		t.Errorf("the round trip is %v, %d errors", w.path.srtt, w.errors)
	}
}

// RFC 9260 section 6.2: "When the receiver's advertised window is 0, the receiver MUST drop any new incoming DATA chunk
// with a TSN larger than the largest TSN received so far."; "In either case, if such a DATA chunk is dropped, the
// receiver MUST immediately send back a SACK chunk with the current receive window showing only DATA chunks received
// and accepted so far."; "The dropped DATA chunk(s) MUST NOT be included in the SACK chunk, as they were not
// accepted."; "The receiver MUST also have an algorithm for advertising its receive window to avoid receiver silly
// window syndrome (SWS), as described in [RFC1122]."; "The receiver MUST avoid sending a large number of window updates
// -- in particular, large bursts of them."; "If a data receiver drops DATA chunks, it MUST NOT include them in Gap Ack
// Blocks in subsequent SACK chunks until they are received again via retransmission."
func TestFullReceiver(t *testing.T) {
	w := standing(t, func(cfg *Config) { cfg.MaxMessageSize, cfg.ReceiveBuffer = 1, 1 })
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	w.told()
	w.cfg.MaxMessageSize = 4096
	big := strings.Repeat("x", 1000)
	n := 0
	for ; w.window() > 0; n++ {
		at := n
		if n >= 2 {
			at++ // TSN 2 is missing
		}
		w.hear(w.myTag, data(at, 1, uint16(at), whole|flagUnordered, big))
		w.say()
	}
	w.hear(w.myTag, data(n+1, 1, uint16(n+1), whole|flagUnordered, big))
	cumulative, gaps, _, window := sackOf(t, w.say())
	if cumulative != 1 || !slices.Equal(gaps, [][2]int{{2, n - 1}}) || window != 0 || w.stats.DroppedWindow != 1 {
		t.Errorf("up to %d, gaps %v, a window of %d", cumulative, gaps, window)
	}
	w.hear(w.myTag, data(2, 1, 2, whole|flagUnordered, big))
	w.wait()
	if cumulative, gaps, _, _ = sackOf(t, w.say()); cumulative != n || gaps != nil {
		t.Errorf("what fills the gap: up to %d, gaps %v", cumulative, gaps)
	}
	// Silly windows are not offered: it is told once there is much room.
	for i := range n {
		w.Consume(1000)
		if said := w.say(); len(said) > 0 {
			if _, _, _, window = sackOf(t, said); window < w.cfg.ReceiveBuffer/2 {
				t.Errorf("after %d messages a window of %d is offered", i+1, window)
			}
		}
	}
}

// RFC 9260 section 6.2: "An SCTP receiver MUST NOT generate more than one SACK chunk for every incoming packet, other
// than to update the offered window as the receiving application consumes new data."; "The SCTP endpoint MUST report as
// many Gap Ack Blocks as can fit in a single SACK chunk such that the size of the SCTP packet does not exceed the
// current PMTU."; RFC 9260 section 6.7: "When a single SACK chunk cannot cover all the Gap Ack Blocks needed to be
// reported due to the PMTU limitation, the endpoint MUST send only one SACK chunk."; "This single SACK chunk MUST
// report the Gap Ack Blocks from the lowest to highest TSNs, within the size limit set by the PMTU, and leave the
// remaining highest TSN numbers unacknowledged."
func TestManyGaps(t *testing.T) {
	w := standing(t)
	for i := range 600 {
		w.hear(w.myTag, data(2*i+1, 1, 0, whole|flagUnordered, "x"))
		if i < 599 {
			p := w.packets()
			if len(p) != 1 || strings.Count(names(chunksOf(t, p[0])), "SACK") != 1 {
				t.Fatalf("a packet was answered by %d", len(p))
			}
		}
	}
	p := w.packets()
	if len(p) != 1 || len(p[0]) > w.cfg.MaxPacket || len(p[0]) < w.cfg.MaxPacket-8 {
		t.Fatalf("%d packets, the first of %d bytes", len(p), len(p[0]))
	}
	_, gaps, _, _ := sackOf(t, chunksOf(t, p[0]))
	for i, g := range gaps {
		if want := 2*i + 2; g != [2]int{want, want} {
			t.Fatalf("gap %d is %v", i, g)
		}
	}
}

// RFC 9260 section 6.5: "The Stream Sequence Number of an outgoing stream MUST be incremented by 1 for each ordered
// user message sent on that outgoing stream."; "In particular, when the Stream Sequence Number reaches the value 65535,
// the next Stream Sequence Number MUST be set to 0."; "For unordered user messages, the Stream Sequence Number MUST NOT
// be changed."; RFC 9260 section 6.6: "The sender can fill the 'Stream Sequence Number' with arbitrary value, but the
// receiver MUST ignore the field."
func TestStreamSequenceNumbers(t *testing.T) {
	w := withChannels(t, 1)
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 3, Unordered: true})
	for range 3 {
		w.Send(w.now, 1, false, []byte("x"))
		w.Send(w.now, 3, false, []byte("x"))
	}
	var got []string
	for _, d := range parsed(w.say()) {
		if d.stream == 1 {
			got = append(got, fmt.Sprint(d.number))
		} else if d.flags&flagUnordered == 0 || w.channels[3].numbers[0] != 0 {
			t.Errorf("unordered: flags %#x, the next ordered number is %d", d.flags, w.channels[3].numbers[0])
		}
	}
	w.channels[1].numbers[0] = 65535
	w.channels[1].expected = 65535
	for range 2 {
		w.Send(w.now, 1, false, []byte("x"))
	}
	for _, d := range parsed(w.say()) {
		got = append(got, fmt.Sprint(d.number))
	}
	if s := strings.Join(got, " "); s != "0 1 2 65535 0" {
		t.Errorf("the numbers are %s", s)
	}
	w.reads()
	w.hear(w.myTag, data(0, 1, 1, whole, "c"), data(1, 1, 0, whole, "b"), data(2, 1, 65535, whole, "a"), data(3, 3, 4711, whole|flagUnordered, "u"))
	if got := w.reads(); !slices.Equal(got, []string{"3:u", "1:a", "1:b", "1:c"}) && !slices.Equal(got, []string{"1:a", "1:b", "1:c", "3:u"}) {
		t.Errorf("delivered %q", got)
	}
}

// RFC 9260 section 6: "When converting user messages into DATA chunks, an endpoint MUST fragment large user messages
// into multiple DATA chunks."; "Control chunks MUST come before DATA chunks in the packet."; RFC 9260 section 6.9: "An
// endpoint MAY support fragmentation when sending DATA chunks, but it MUST support reassembly when receiving DATA
// chunks."; "If an endpoint supports fragmentation, it MUST fragment a user message if the size of the user message to
// be sent causes the outbound SCTP packet size to exceed the current PMTU."; "When determining when to fragment, the
// SCTP implementation MUST take into account the SCTP packet header as well as the DATA chunk header(s)."; "The
// implementation MUST also take into account the space required for a SACK chunk if bundling a SACK chunk with the DATA
// chunk."; "The data sender MUST break the user message into a series of DATA chunks."; "The transmitter MUST then
// assign, in sequence, a separate TSN to each of the DATA chunks in the series."; "If the user indicates that the user
// message is to be delivered using unordered delivery, then the U flag of each DATA chunk of the user message MUST be
// set to 1."; "The transmitter MUST also set the B/E bits of the first DATA chunk in the series to 10, the B/E bits of
// the last DATA chunk in the series to 01, and the B/E bits of all other DATA chunks in the series to 00."; RFC 9260
// section 6.10: "The total size of the resultant SCTP packet MUST be less that or equal to the current PMTU."; "When
// bundling control chunks with DATA chunks, an endpoint MUST place control chunks first in the outbound SCTP packet.";
// "The transmitter MUST transmit DATA chunks within an SCTP packet in increasing order of TSN."; "Partial chunks MUST
// NOT be placed in an SCTP packet."
func TestFragmentation(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		w := standing(t)
		w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1, Unordered: unordered})
		w.Send(w.now, 1, false, noise(1, 5000))
		w.hear(w.myTag, data(0, 1, 0, whole, "x")) // is acknowledged by the same packet
		var got []byte
		tsn := w.myTSN
		all := w.packets()
		for i, p := range all {
			if len(p) > w.cfg.MaxPacket {
				t.Errorf("packet %d has %d bytes", i, len(p))
			}
			c := chunksOf(t, p)
			if i == 0 && names(c) != "SACK DATA" {
				t.Errorf("the first packet is %s", names(c))
			}
			for _, d := range parsed(c) {
				want := uint8(0)
				if len(got) == 0 {
					want |= flagBegin
				}
				got = append(got, d.payload...)
				if len(got) == 5000 {
					want |= flagEnd
				}
				if unordered {
					want |= flagUnordered
				}
				if d.flags != want || d.tsn != tsn || d.number != 0 {
					t.Errorf("flags %#x, TSN %d, SSN %d; want %#x, %d, 0", d.flags, d.tsn, d.number, want, tsn)
				}
				tsn++
			}
		}
		if string(got) != string(noise(1, 5000)) || len(all) < 5 {
			t.Errorf("%d bytes in %d packets", len(got), len(all))
		}
	}
}

// RFC 9260 section 6.10: "An endpoint MUST process received chunks in their order in the packet."; "If the receiver
// detects a partial chunk, it MUST drop the chunk."
func TestChunksAreTakenInOrder(t *testing.T) {
	w := standing(t)
	heartbeat := appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4})
	p := append(appendHeader(nil, 5000, 5000, w.myTag), heartbeat...)
	p = append(p, byte(typeHeartbeat), 0, 0, 200, 0, 1, 0, 4) // says that it is longer than it is
	putChecksum(p)
	w.HandlePacket(w.now, p)
	if got := names(w.say()); got != "HEARTBEAT-ACK" {
		t.Errorf("answered by %q", got)
	}
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 2})
	w.hear(w.myTag, data(1, 2, 0, whole|flagUnordered, "a"), data(0, 2, 0, whole|flagUnordered, "b"), data(2, 2, 0, whole|flagUnordered, "c"))
	if got := w.reads(); !slices.Equal(got, []string{"2:a", "2:b", "2:c"}) {
		t.Errorf("delivered %q", got)
	}
}

// RFC 9260 section 8.3: "A receiver of a HEARTBEAT chunk MUST respond to a HEARTBEAT chunk with a HEARTBEAT ACK chunk
// after entering the COOKIE-ECHOED state (sender of the INIT chunk) or the ESTABLISHED state (receiver of the INIT
// chunk), up until reaching the SHUTDOWN-SENT state (sender of the SHUTDOWN chunk) or the SHUTDOWN-ACK-SENT state
// (receiver of the SHUTDOWN chunk)."
func TestHeartbeatIsAnswered(t *testing.T) {
	heartbeat := appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 8, 1, 2, 3, 4})
	w := newWireEnd(t)
	w.Connect(w.now)
	w.say()
	w.hear(w.myTag, heartbeat)
	if got := names(w.say()); got != "" {
		t.Errorf("in COOKIE-WAIT it was answered by %s", got)
	}
	w = standing(t)
	w.hear(w.myTag, heartbeat)
	if said := w.say(); names(said) != "HEARTBEAT-ACK" || string(said[0].value) != string(heartbeat[4:]) {
		t.Errorf("answered by %s", names(said))
	}
}

// RFC 9260 section 8.5.1: "When sending a SHUTDOWN COMPLETE chunk, if the receiver of the SHUTDOWN ACK chunk has a TCB,
// then the destination endpoint's tag MUST be used and the T bit MUST NOT be set."; "An endpoint MUST ignore the
// SHUTDOWN COMPLETE chunk if it is not in the SHUTDOWN-ACK-SENT state."; RFC 9260 section 9.2: "If the receiver of the
// SHUTDOWN chunk has no more outstanding DATA chunks, the SHUTDOWN chunk receiver MUST send a SHUTDOWN ACK chunk and
// start a T2-shutdown timer of its own, entering the SHUTDOWN-ACK-SENT state."
func TestShutdownComplete(t *testing.T) {
	complete := func(flags uint8) []byte { return appendChunk(nil, typeShutdownComplete, flags, nil) }
	for _, c := range []struct {
		tag   uint32
		flags uint8
		ends  bool
	}{{0, 0, true}, {1, 0, false}, {peersTag, flagReflected, true}, {peersTag, 0, false}, {0, flagReflected, false}} {
		w := standing(t)
		tag := c.tag
		if tag < 2 {
			tag += w.myTag
		}
		w.hear(tag, complete(c.flags))
		if w.state != stateEstablished {
			t.Fatal("it counts in an association that stands")
		}
		w.hear(w.myTag, appendChunk(nil, typeShutdown, 0, wire.AppendUint32(nil, w.myTSN-1)))
		for range 2 {
			if got := names(w.say()); got != "SHUTDOWN-ACK" {
				t.Errorf("SHUTDOWN was answered by %s", got)
			}
			w.wait() // T2
		}
		w.say()
		w.hear(tag, complete(c.flags))
		if (w.state == stateDone) != c.ends {
			t.Errorf("%+v: state %d", c, w.state)
		}
	}
	w := standing(t)
	w.Shutdown(w.now)
	w.say()
	w.hear(w.myTag, appendChunk(nil, typeShutdownAck, 0, nil))
	p := w.packets()
	if len(p) != 1 || tagOf(p[0]) != peersTag || chunksOf(t, p[0])[0].flags != 0 || names(chunksOf(t, p[0])) != "SHUTDOWN-COMPLETE" {
		t.Errorf("SHUTDOWN ACK was answered by %x", p)
	}
}

// RFC 9260 section 6: "DATA chunks MUST only be received according to the rules below in ESTABLISHED, SHUTDOWN-PENDING,
// and SHUTDOWN-SENT states."; "A SACK chunk MUST be processed in ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED
// states."; RFC 9260 section 9.2: "If the timer expires, the endpoint MUST resend the SHUTDOWN chunk with the updated
// last sequential TSN received from its peer."; "The rules in Section 6.3 MUST be followed to determine the proper
// timer value for T2-shutdown."; "Once an endpoint has reached the SHUTDOWN-RECEIVED state, it MUST ignore ULP shutdown
// requests but MUST continue responding to SHUTDOWN chunks from its peer."; "If there are still outstanding DATA chunks
// left, the SHUTDOWN chunk receiver MUST continue to follow normal data transmission procedures defined in Section 6,
// until all outstanding DATA chunks are acknowledged; however, the SHUTDOWN chunk receiver MUST NOT accept new data
// from its SCTP user."; "If the timer expires, the endpoint MUST resend the SHUTDOWN ACK chunk."
func TestShutdownTakesCareOfData(t *testing.T) {
	w := withChannels(t, 1)
	w.Send(w.now, 1, false, []byte("a"))
	w.Shutdown(w.now)
	if err := w.Send(w.now, 1, false, []byte("b")); err != ErrClosed {
		t.Errorf("Send: %v", err)
	}
	if got := names(w.say()); got != "DATA" || w.state != stateShutdownPending {
		t.Errorf("sent %s", got)
	}
	w.hear(w.myTag, data(0, 1, 0, whole, "x"), w.sack(0))
	said := w.say()
	if names(said) != "SACK SHUTDOWN" {
		t.Fatalf("then sent %s", names(said))
	}
	w.hear(w.myTag, data(1, 1, 1, whole, "y"))
	w.say()
	w.wait()
	for _, c := range w.say() {
		if c.kind == typeShutdown && binary.BigEndian.Uint32(c.value) != peersTSN+1 {
			t.Errorf("SHUTDOWN again says %d", binary.BigEndian.Uint32(c.value)-peersTSN)
		}
	}
	// The other side: asked to end, it does not take what its program asks in addition.
	w = withChannels(t, 1)
	w.Send(w.now, 1, false, []byte("a"))
	w.say()
	for range 2 {
		w.hear(w.myTag, appendChunk(nil, typeShutdown, 0, wire.AppendUint32(nil, w.myTSN-1)))
		w.Shutdown(w.now)
		if got := names(w.say()); got != "" || w.state != stateShutdownReceived {
			t.Errorf("state %d, sent %s", w.state, got)
		}
	}
	w.wait() // T3: the data goes out again
	if got := names(w.say()); got != "DATA" {
		t.Errorf("sent %s", got)
	}
	w.hear(w.myTag, data(0, 1, 0, whole, "x"))
	if got := names(w.say()); got != "" {
		t.Errorf("DATA after SHUTDOWN was answered by %s", got)
	}
	w.hear(w.myTag, appendChunk(nil, typeShutdown, 0, wire.AppendUint32(nil, w.myTSN)))
	if got := names(w.say()); got != "SHUTDOWN-ACK" {
		t.Errorf("when SHUTDOWN acknowledges it: %s", got)
	}
	w.wait()
	if got := names(w.say()); got != "SHUTDOWN-ACK" {
		t.Errorf("after T2: %s", got)
	}
}

// RFC 9260 section 8.5.1: "The endpoint MUST always fill in the Verification Tag field of the outbound packet with the
// destination endpoint's tag value if it is known."; RFC 9260 section 9.1: "When an endpoint decides to abort an
// existing association, it MUST send an ABORT chunk to its peer endpoint."; "The sender MUST fill in the peer's
// Verification Tag in the outbound packet and MUST NOT bundle any DATA chunk with the ABORT chunk."
func TestAbortIsAlone(t *testing.T) {
	w := withChannels(t, 1)
	w.Send(w.now, 1, false, []byte("x"))
	w.Abort("enough")
	p := w.packets()
	if len(p) != 1 || tagOf(p[0]) != peersTag || names(chunksOf(t, p[0])) != "ABORT" || chunksOf(t, p[0])[0].flags != 0 {
		t.Errorf("sent %x", p)
	}
	if w.told() != "Closed" || len(w.channels) != 0 || w.NextTimeout() != mono.Never {
		t.Error("something is left")
	}
}

// RFC 6525 section 4.1: "This field holds the length in bytes of the parameter; the value MUST be 16 + 2 * N, where N
// is the number of stream numbers listed."; "This parameter MUST NOT appear in any other chunk type."; RFC 6525 section
// 4.4: "This field holds the length in bytes of the parameter; the value MUST be 12 if the optional fields are not
// present and 20 otherwise."; "Either both optional fields (Sender's Next TSN and Receiver's Next TSN) MUST be present,
// or no field."; "This parameter MUST NOT appear in any other chunk type."; RFC 6525 section 5.1.1: "After packaging
// the RE-CONFIG chunk and sending it to the peer, the sender MUST start the Re-configuration Timer if the RE-CONFIG
// chunk contains at least one request parameter."; "If it contains no request parameters, the Re-configuration Timer
// MUST NOT be started."; "This timer MUST use the same value as SCTP's data transmission timer (i.e., the
// retransmission timeout (RTO) timer) and MUST use exponential backoff, doubling the value at every expiration."; "If
// the timer expires, besides doubling the value, the sender MUST retransmit the RE-CONFIG chunk, increment the
// appropriate error counts (for both the association and the destination), and perform threshold management, possibly
// destroying the association if SCTP retransmission thresholds are exceeded."; RFC 6525 section 5.1.2: "The sender MUST
// stop assigning new SSNs to new user data provided by the upper layer for the affected streams and queue it."; "The
// sender MUST assign the next re-configuration request sequence number and MUST put it into the Re-configuration
// Request Sequence Number field of the Outgoing SSN Reset Request Parameter."; "The next re-configuration request
// sequence number MUST then be incremented by 1."; "The Sender's Last Assigned TSN MUST be set to the next TSN the
// sender assigns minus 1."; "If the sender requests that only some outgoing streams be reset, these stream numbers MUST
// be placed in the Outgoing SSN Reset Request Parameter."; "The Outgoing SSN Reset Request Parameter MUST be put into a
// RE-CONFIG Chunk."; "It MUST NOT be put together with any other parameter, as described in Section 3.1."; "The
// RE-CONFIG chunk MUST be sent following the rules given in Section 5.1.1."; RFC 6525 section 5.1.7: "The
// Re-configuration Request Sequence number of the incoming request MUST be copied to the Re-configuration Response
// Sequence Number field of the Re-configuration Response Parameter."; "The result of the processing of the incoming
// request according to Table 3 MUST be placed in the Result field of the Re-configuration Response Parameter."; "If the
// incoming request is an SSN/TSN reset request, the Sender's Next TSN field MUST be filled with the next TSN the sender
// of this Re-configuration Response Parameter will assign."; "For other requests, the Sender's Next TSN field, which is
// optional, MUST NOT be used."; "If the incoming request is an SSN/TSN reset request, the Receiver's Next TSN field
// MUST be filled with a TSN such that the sender of the Re-configuration Response Parameter can be sure it can discard
// received DATA chunks with smaller TSNs."; "For other requests, the Receiver's Next TSN field, which is optional, MUST
// NOT be used."; RFC 6525 section 5.2.7: "If the Re-configuration Timer is running for the Re-configuration Request
// Sequence Number indicated in the Re-configuration Response Sequence Number field, the Re-configuration Request
// Sequence Number MUST be marked as acknowledged."; "If all Re-configuration Request Sequence Numbers for which the
// Re-configuration Timer is running are acknowledged, the Re-configuration Timer MUST be stopped."
func TestReconfigParameters(t *testing.T) {
	w := withChannels(t, 4)
	w.Close(w.now, 4)
	before := w.send.next
	said := w.say()
	p := parameters(said)
	if len(p) != 1 || len(p[0].value) != 12+2 || w.timer[timerReset] != w.now.Add(w.path.rto) {
		t.Fatalf("sent %+v", p)
	}
	v := wire.NewReader(p[0].value)
	if got := [3]uint32{v.Uint32(), v.Uint32(), v.Uint32()}; got != [3]uint32{w.myTSN, peersTSN - 1, uint32(before - 1)} {
		t.Errorf("the request says %v", got)
	}
	if err := w.Send(w.now, 4, false, []byte("x")); err != ErrNoChannel {
		t.Errorf("a message for a stream that is being reset: %v", err)
	}
	tries := 0
	for rto := w.path.rto; w.state == stateEstablished && tries < 4; rto = min(2*rto, maxRTO) {
		if w.timer[timerReset] != w.now.Add(rto) {
			t.Errorf("try %d: the timer is %v, want %v", tries, w.timer[timerReset].Sub(w.now), rto)
		}
		w.wait()
		if got := names(w.say()); got != "RE-CONFIG" {
			t.Errorf("try %d: %s", tries, got)
		}
		tries++
	}
	if w.errors != tries {
		t.Errorf("%d errors after %d tries", w.errors, tries)
	}
	w.hear(w.myTag, resetResponse(w.myTSN, performed))
	if w.timer[timerReset] != mono.Never || w.reset.next != w.myTSN+1 {
		t.Errorf("the timer is %v, the next number %d", w.timer[timerReset], w.reset.next-w.myTSN)
	}
	// Our answers: 12 bytes, but for the one kind that carries TSNs; no timer for them.
	for i, kind := range []paramType{paramIncomingReset, paramTSNReset, paramAddOutgoing} {
		w.hear(w.myTag, reconfig(asks(kind, i, map[paramType][]uint16{paramAddOutgoing: {1, 0}}[kind]...)))
		p := parameters(w.say())
		if len(p) != 1 {
			t.Fatalf("parameter %d was answered by %+v", kind, p)
		}
		v := wire.NewReader(p[0].value)
		if got := v.Uint32(); got != peersTSN+uint32(i) {
			t.Errorf("parameter %d: the answer is for %d", kind, got-peersTSN)
		}
		v.Skip(4)
		if kind == paramTSNReset {
			if next := v.Uint32(); next != uint32(w.send.next) {
				t.Errorf("the sender's next TSN is %d", next)
			}
			if next := v.Uint32(); next != uint32(w.receive.cumulative+1)+1<<31 {
				t.Errorf("the receiver's next TSN is %d", next)
			}
		}
		if !v.Done() || w.timer[timerReset] != mono.Never {
			t.Errorf("parameter %d: the answer has %d bytes", kind, len(p[0].whole))
		}
	}
}
