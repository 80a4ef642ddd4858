package sctp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/wire"
)

// RFC 9260 section 3.2: "01: Stop processing this SCTP packet, discard the unrecognized chunk and all further chunks,
// and report the unrecognized chunk in an ERROR chunk"; and the other three values of the highest two bits.
func TestUnknownChunks(t *testing.T) {
	for _, c := range []struct {
		kind     byte
		goesOn   bool
		reported bool
	}{{0x3f, false, false}, {0x7f, false, true}, {0xbf, true, false}, {0xfe, true, true}} {
		w := standing(t)
		w.hear(w.myTag, []byte{c.kind, 0, 0, 4}, appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4}))
		want := []string{}
		if c.reported {
			want = append(want, "ERROR")
		}
		if c.goesOn {
			want = append(want, "HEARTBEAT-ACK")
		}
		if got := names(w.say()); got != strings.Join(want, " ") {
			t.Errorf("chunk %#x: answered by %q, want %q", c.kind, got, want)
		}
	}
}

// RFC 9260 section 3.2.1: the same for parameters; those of INIT are reported in INIT ACK.
func TestUnknownParameters(t *testing.T) {
	for _, c := range []struct {
		kind     uint16
		goesOn   bool
		reported bool
	}{{0x3fff, false, false}, {0x7fff, false, true}, {0xbfff, true, false}, {0xffff, true, true}} {
		init := peersInit()[:20]
		init = appendParam(init, paramType(c.kind), []byte("what?"))
		init = appendParam(init, paramType(0xfffe), nil)
		binary.BigEndian.PutUint16(init[2:], uint16(len(init)))
		w := newWireEnd(t)
		w.hear(0, init)
		ack := w.say()
		if names(ack) != "INIT-ACK" {
			t.Fatalf("parameter %#x: answered by %s", c.kind, names(ack))
		}
		var reported []uint16
		r := wire.NewReader(ack[0].value[16:])
		for {
			p, ok := nextParam(&r)
			if !ok {
				break
			}
			if p.kind == paramUnrecognized {
				reported = append(reported, binary.BigEndian.Uint16(p.value))
			}
		}
		var want []uint16
		if c.reported {
			want = append(want, c.kind)
		}
		if c.goesOn {
			want = append(want, 0xfffe)
		}
		if !slices.Equal(reported, want) {
			t.Errorf("parameter %#x: reported %x, want %x", c.kind, reported, want)
		}
	}
}

// RFC 9260 section 5.1: "The Verification Tag field in the common header of the outbound SCTP packet containing the
// ABORT chunk MUST be set to the Initiate Tag value of the received INIT or INIT ACK chunk this ABORT chunk is
// responding to." RFC 9260 section 3.3.2: "If the value of the Initiate Tag in a received INIT chunk is found to be 0,
// the receiver MUST silently discard the packet"; "A receiver of an INIT chunk with the OS value set to 0 MUST discard
// the packet, SHOULD send a packet in response containing an ABORT chunk"; the same for MIS, and for an a_rwnd below
// 1500.
func TestBadInit(t *testing.T) {
	for name, c := range map[string]struct {
		init initChunk
		want string
	}{
		"tag 0":        {initChunk{tag: 0, window: 1500, outgoing: 1, incoming: 1}, ""},
		"OS 0":         {initChunk{tag: 9, window: 1500, outgoing: 0, incoming: 1}, "ABORT"},
		"MIS 0":        {initChunk{tag: 9, window: 1500, outgoing: 1, incoming: 0}, "ABORT"},
		"small window": {initChunk{tag: 9, window: 1499, outgoing: 1, incoming: 1}, "ABORT"},
		"good":         {initChunk{tag: 9, window: 1500, outgoing: 1, incoming: 1}, "INIT-ACK"},
	} {
		for _, w := range []*wireEnd{newWireEnd(t), standing(t)} {
			before := w.state
			w.hear(0, appendInit(nil, typeInit, &c.init))
			got := ""
			for _, p := range w.packets() {
				got += names(chunksOf(t, p))
				if tagOf(p) != c.init.tag {
					t.Errorf("%s: answered with the tag %d", name, tagOf(p))
				}
			}
			if got != c.want || w.state != before {
				t.Errorf("%s: answered by %q in state %d, then %d; want %q", name, got, before, w.state, c.want)
			}
		}
	}
}

// RFC 9260 section 5.1: "They MUST be the only chunks present in the SCTP packets that carry them." RFC 9260 section
// 5.1: "An INIT or INIT ACK chunk MUST NOT be bundled with any other chunk"; section 8.5.1: "When an endpoint receives
// an SCTP packet with the Verification Tag set to 0, it SHOULD verify that the packet contains only an INIT chunk.
// Otherwise, the receiver MUST silently discard the packet."
func TestInitComesAlone(t *testing.T) {
	w := newWireEnd(t)
	w.hear(0, peersInit(), appendChunk(nil, typeCookieAck, 0, nil))
	w.hear(1, peersInit())
	if got := names(w.say()); got != "" {
		t.Errorf("answered by %s", got)
	}
	if w.stats.DroppedTag != 2 {
		t.Errorf("%d packets were counted", w.stats.DroppedTag)
	}
}

// RFC 9260 section 5.1: "After sending an INIT ACK chunk with the State Cookie parameter, "Z" MUST NOT allocate any
// resources or keep any states for the new association."
func TestNothingIsKeptBeforeTheCookie(t *testing.T) {
	w := newWireEnd(t)
	for i := range 100 {
		w.hear(0, appendInit(nil, typeInit, &initChunk{tag: 1 + uint32(i), tsn: uint32(i), window: 1500, outgoing: 1, incoming: 1}))
		if got := names(w.say()); got != "INIT-ACK" {
			t.Fatalf("answered by %s", got)
		}
	}
	if w.state != stateClosed || w.peerTag != 0 || w.NextTimeout() != 1<<63-1 {
		t.Errorf("state %d, peer's tag %d, timer %v", w.state, w.peerTag, w.NextTimeout())
	}
}

// RFC 9260 section 5.1.3: "Inside this State Cookie, the sender MUST include a MAC (see [RFC2104] for an example) to
// provide integrity protection on the State Cookie."; RFC 9260 section 5.1.5: "If the elapsed time is longer than the
// lifespan carried in the State Cookie, then the packet, including the COOKIE ECHO chunk and any attached DATA chunks,
// SHOULD be discarded, and the endpoint MUST transmit an ERROR chunk with a "Stale Cookie" error cause to the peer
// endpoint."; RFC 9260 section 5.2.4: "The endpoint also MUST transmit an ERROR chunk with a "Stale Cookie" error cause
// to the peer endpoint (this is case C or D in Section 5.2)."; RFC 9260 section 8.4: "If the packet contains a COOKIE
// ECHO chunk as the first chunk, it MUST be processed as described in Section 5.1." RFC 9260 section 5.1.5: "If this
// comparison fails, the SCTP packet, including the COOKIE ECHO chunk and any DATA chunks, MUST be silently discarded";
// "If these values do not match, the packet MUST be silently discarded"; "the endpoint MUST transmit an ERROR chunk
// with a "Stale Cookie" error cause to the peer endpoint".
func TestCookies(t *testing.T) {
	w := newWireEnd(t)
	w.hear(0, peersInit())
	in, _ := parseInit(w.say()[0].value)
	for i := range in.cookie {
		bad := slices.Clone(in.cookie)
		bad[i] ^= 1
		w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, bad), data(0, 1, 0, whole, "x"))
	}
	w.hear(in.tag+1, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie[:20]))
	if got := names(w.say()); got != "" || w.state != stateClosed {
		t.Errorf("forged cookies: answered by %s, state %d", got, w.state)
	}
	w.now = w.now.Add(cookieLife + time.Second)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	said := w.say()
	if names(said) != "ERROR" || causes(said)[0] != causeStaleCookie || w.state != stateClosed {
		t.Errorf("a stale cookie: answered by %s %v, state %d", names(said), causes(said), w.state)
	}
	w.now = w.now.Add(-cookieLife)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie), data(0, 1, 0, whole, "x"))
	if got := names(w.say()); got != "COOKIE-ACK SACK" || w.state != stateEstablished {
		t.Errorf("a good cookie with data: answered by %s, state %d", got, w.state)
	}
}

// RFC 9260 section 5.2.4: "The endpoint SHOULD stay in or enter the ESTABLISHED state, but it MUST update its peer's
// Verification Tag from the State Cookie, stop any T1-init or T1-cookie timers that might be running, and send a COOKIE
// ACK chunk." RFC 9260 section 5.2.4, action D: "It SHOULD stop any T1-cookie timer that is running and send a COOKIE
// ACK chunk."
func TestCookieEchoTwice(t *testing.T) {
	w := newWireEnd(t)
	w.hear(0, peersInit())
	in, _ := parseInit(w.say()[0].value)
	for range 3 {
		w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
		if got := names(w.say()); got != "COOKIE-ACK" {
			t.Errorf("answered by %s", got)
		}
	}
	if got := w.told(); got != "Established" {
		t.Errorf("events: %s", got)
	}
}

// RFC 9260 section 5.2.2: "Unless otherwise stated, upon receipt of an unexpected INIT chunk for this association, the
// endpoint MUST generate an INIT ACK chunk with a State Cookie."; "And the INIT ACK chunk MUST contain a new Initiate
// Tag (randomly generated; see Section 5.3.1)."; "After sending the INIT ACK or ABORT chunk, the endpoint MUST take no
// further actions, i.e., the existing association, including its current state, and the corresponding TCB MUST NOT be
// changed." RFC 9260 section 5.2.2: "The outbound SCTP packet containing this INIT ACK chunk MUST carry a Verification
// Tag value equal to the Initiate Tag found in the unexpected INIT chunk. And the INIT ACK chunk MUST contain a new
// Initiate Tag"; "the existing association, including its current state, and the corresponding TCB MUST NOT be
// changed."
func TestUnexpectedInit(t *testing.T) {
	w := standing(t)
	w.hear(0, appendInit(nil, typeInit, &initChunk{tag: 77, tsn: 1, window: 1500, outgoing: 1, incoming: 1}))
	p := w.AppendPacket(nil, w.now)
	if tag := binary.BigEndian.Uint32(p[4:]); tag != 77 {
		t.Errorf("the packet's tag is %d", tag)
	}
	r := wire.NewReader(p[headerSize:])
	c, _ := nextChunk(&r)
	in, _ := parseInit(c.value)
	if in.tag == w.myTag || in.tag == 0 {
		t.Errorf("the initiate tag is %d, the association's %d", in.tag, w.myTag)
	}
	if w.state != stateEstablished || w.peerTag != peersTag {
		t.Errorf("state %d, peer's tag %x", w.state, w.peerTag)
	}
}

// RFC 9260 section 5.1.6: "When retransmitting the INIT chunk, the endpoint MUST follow the rules defined in Section
// 6.3 to determine the proper timer value." RFC 9260 section 5.1.4: "If the timer expires, the endpoint MUST
// retransmit the COOKIE ECHO chunk and restart the T1-cookie timer. This is repeated until either a COOKIE ACK chunk is
// received or 'Max.Init.Retransmits' is reached".
func TestHandshakeRetransmissions(t *testing.T) {
	w := newWireEnd(t)
	w.Connect(w.now)
	for i := range 4 {
		if got := names(w.say()); got != "INIT" {
			t.Fatalf("try %d: %s", i, got)
		}
		w.wait()
	}
	w.say()
	ack := appendInit(nil, typeInitAck, &initChunk{tag: peersTag, tsn: peersTSN, window: 1500, outgoing: 9, incoming: 9, cookie: []byte("biscuit")})
	w.hear(w.myTag, ack)
	w.hear(w.myTag, ack) // section 5.2.3: a second one is discarded
	for i := range maxInitRetransmits + 1 {
		said := w.say()
		if names(said) != "COOKIE-ECHO" || string(said[0].value) != "biscuit" {
			t.Fatalf("try %d: %s", i, names(said))
		}
		w.wait()
	}
	if got := w.told(); got != "Closed" || names(w.say()) != "" || w.NextTimeout() != 1<<63-1 {
		t.Errorf("events: %s", got)
	}
}

// RFC 9260 section 3.3.3: "If an endpoint in the COOKIE-WAIT state receives an INIT ACK chunk with the Initiate Tag set to
// 0, it MUST destroy the TCB and SHOULD send an ABORT chunk"; the same without streams.
func TestBadInitAck(t *testing.T) {
	for name, c := range map[string]initChunk{
		"tag 0":     {window: 1500, outgoing: 1, incoming: 1, cookie: []byte("c")},
		"no stream": {tag: 1, window: 1500, incoming: 1, cookie: []byte("c")},
		"no cookie": {tag: 1, window: 1500, outgoing: 1, incoming: 1},
	} {
		w := newWireEnd(t)
		w.Connect(w.now)
		w.say()
		w.hear(w.myTag, appendInit(nil, typeInitAck, &c))
		want := "ABORT"
		if c.tag == 0 {
			want = "" // there is nobody to send it to
		}
		if got := names(w.say()); got != want || w.told() != "Closed" {
			t.Errorf("%s: answered by %q", name, got)
		}
	}
}

// RFC 9260 section 5.2.6: the ERROR of a stale cookie begins the handshake again in COOKIE-ECHOED, and "in all cases, if
// the association is not in the COOKIE-ECHOED state, the ERROR chunk SHOULD be silently discarded".
func TestStaleCookieError(t *testing.T) {
	stale := appendChunk(nil, typeError, 0, appendParam(nil, causeStaleCookie, []byte{0, 0, 0, 1}))
	w := newWireEnd(t)
	w.Connect(w.now)
	w.say()
	w.hear(w.myTag, stale)
	if got := names(w.say()); got != "" {
		t.Errorf("in COOKIE-WAIT: %s", got)
	}
	w.hear(w.myTag, appendInit(nil, typeInitAck, &initChunk{tag: peersTag, window: 1500, outgoing: 1, incoming: 1, cookie: []byte("c")}))
	w.say()
	w.hear(w.myTag, stale)
	if got := names(w.say()); got != "INIT" || w.state != stateCookieWait {
		t.Errorf("in COOKIE-ECHOED: %s", got)
	}
}

// RFC 9260 section 5.3.1: "Moreover, the Verification Tag value used by either endpoint in a given association MUST NOT
// change during the life time of an association."; RFC 9260 section 8.5: "When receiving an SCTP packet, the endpoint
// MUST ensure that the value in the Verification Tag field of the received SCTP packet matches its own tag."; "If the
// received Verification Tag value does not match the receiver's own tag value, the receiver MUST silently discard the
// packet and MUST NOT process it any further, except for those cases listed in Section 8.5.1 below."; RFC 9260 section
// 8.5.1: "Otherwise, the receiver MUST silently discard the packet and take no further action."; RFC 9260 section 9.1:
// "An endpoint receiving an ABORT chunk MUST apply the special Verification Tag check rules described in Section
// 8.5.1." RFC 9260 section 8.5: "If the received Verification Tag value does not match the receiver's own tag value,
// the receiver MUST silently discard the packet"; section 8.5.1 B: "The receiver of an ABORT chunk MUST accept the
// packet if the Verification Tag field of the packet matches its own tag and the T bit is not set OR if it is set to
// its Peer's Tag and the T bit is set in the Chunk Flags."
func TestVerificationTags(t *testing.T) {
	heartbeat := appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4})
	for _, c := range []struct {
		chunk    []byte
		peers    bool // the packet carries the peer's tag
		accepted bool
	}{
		{heartbeat, false, true},
		{heartbeat, true, false},
		{appendChunk(nil, typeAbort, 0, nil), false, true},
		{appendChunk(nil, typeAbort, 0, nil), true, false},
		{appendChunk(nil, typeAbort, flagReflected, nil), true, true},
		{appendChunk(nil, typeAbort, flagReflected, nil), false, false},
	} {
		w := standing(t)
		tag := w.myTag
		if c.peers {
			tag = peersTag
		}
		w.hear(tag, c.chunk)
		if got := len(w.say()) > 0 || w.state == stateDone; got != c.accepted {
			t.Errorf("%s, flags %d, peer's tag %v: accepted %v", name(chunkType(c.chunk[0])), c.chunk[1], c.peers, got)
		}
	}
}

// RFC 9260 section 6.8: "After the packet is constructed (containing the SCTP common header and one or more control or
// DATA chunks), the transmitter MUST"; "When an SCTP packet is received, the receiver MUST first check the CRC32c
// checksum as follows"; "If it is not, the receiver MUST treat the packet as an invalid SCTP packet." RFC 9260 section
// 6.8: "The receiver ... if they are not the same, the receiver MUST treat the packet as an invalid SCTP packet"; RFC
// 9653 section 5.3 lets a zero pass where it was agreed on.
func TestChecksum(t *testing.T) {
	for _, zero := range []bool{false, true} {
		w := standing(t, func(cfg *Config) { cfg.ZeroChecksum = zero })
		heartbeat := appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4})
		for _, sum := range []uint32{0, 1} {
			p := append(appendHeader(nil, 5000, 5000, w.myTag), heartbeat...)
			binary.BigEndian.PutUint32(p[8:], sum)
			w.HandlePacket(w.now, p)
			if got := len(w.say()) == 1; got != (zero && sum == 0) {
				t.Errorf("zero agreed %v, checksum %d: accepted %v", zero, sum, got)
			}
		}
	}
	// The check value of the CRC-32C of "123456789" is e3069283 (RFC 3720 appendix B.4 has others of its kind).
	p := append(make([]byte, 12), "123456789"...)
	_ = p
	if got := checksum(append([]byte("12345678"), append([]byte{0, 0, 0, 0}, '9')...)); got != crcOf("12345678\x00\x00\x00\x009") {
		t.Errorf("checksum %x", got)
	}
	if got := crcOf("123456789"); got != 0xe3069283 {
		t.Errorf("CRC32c of the check string is %x", got)
	}
}

// crcOf computes CRC32c bit by bit.
func crcOf(s string) uint32 {
	crc := ^uint32(0)
	for _, c := range []byte(s) {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return ^crc
}

// RFC 9260 section 8.4: "If the OOTB packet contains an ABORT chunk, the receiver MUST silently discard the OOTB packet
// and take no further action."; "When sending the SHUTDOWN COMPLETE chunk, the receiver of the OOTB packet MUST fill in
// the Verification Tag field of the outbound packet with the Verification Tag received in the SHUTDOWN ACK chunk and
// set the T bit in the Chunk Flags to indicate that the Verification Tag is reflected."; "When sending the ABORT chunk,
// the receiver of the OOTB packet MUST fill in the Verification Tag field of the outbound packet with the value found
// in the Verification Tag field of the OOTB packet and set the T bit in the Chunk Flags to indicate that the
// Verification Tag is reflected."; "After sending this ABORT chunk, the receiver of the OOTB packet MUST discard the
// OOTB packet and MUST NOT take any further action."; RFC 9260 section 8.5.1: "If the ABORT chunk is sent in response
// to an OOTB packet, the endpoint MUST follow the procedure described in Section 8.4."; "Only where no TCB exists
// SHOULD the sender use the Verification Tag from the SHUTDOWN ACK chunk and MUST set the T bit." RFC 9260 section
// 8.4: what is out of the blue.
func TestOutOfTheBlue(t *testing.T) {
	for _, c := range []struct {
		chunk []byte
		want  string
	}{
		{appendChunk(nil, typeAbort, 0, nil), ""},
		{appendChunk(nil, typeShutdownAck, 0, nil), "SHUTDOWN-COMPLETE"},
		{appendChunk(nil, typeShutdownComplete, 0, nil), ""},
		{appendChunk(nil, typeCookieAck, 0, nil), ""},
		{appendChunk(nil, typeError, 0, appendParam(nil, causeStaleCookie, []byte{0, 0, 0, 0})), ""},
		{data(0, 1, 0, whole, "x"), "ABORT"},
	} {
		w := newWireEnd(t)
		w.hear(4711, c.chunk)
		p := w.AppendPacket(nil, w.now)
		if len(p) == 0 && c.want == "" {
			continue
		}
		r := wire.NewReader(p[headerSize:])
		if got, _ := nextChunk(&r); name(got.kind) != c.want || got.flags != flagReflected || binary.BigEndian.Uint32(p[4:]) != 4711 {
			t.Errorf("%s: answered by %x, want %q", name(chunkType(c.chunk[0])), p, c.want)
		}
	}
}

// RFC 9260 section 5.1: "After the reception of the first DATA chunk in an association, the endpoint MUST immediately
// respond with a SACK chunk to acknowledge the DATA chunk."; RFC 9260 section 6.2: "The SCTP endpoint MUST always
// acknowledge the reception of each valid DATA chunk when the DATA chunk received is inside its receive window.";
// "However, an SCTP transmitter MUST NOT be more aggressive in sending SACK chunks than the following algorithms
// allow."; "An implementation MUST NOT allow the maximum delay (protocol parameter 'SACK.Delay') to be configured to be
// more than 500 ms."; "In other words, an implementation MAY lower the value of 'SACK.Delay' below 500 ms but MUST NOT
// raise it above 500 ms."; "Acknowledgements MUST be sent in SACK chunks unless shutdown was requested by the ULP, in
// which case an endpoint MAY send an acknowledgement in the SHUTDOWN chunk."; "In particular, the SCTP endpoint MUST
// fill in the Cumulative TSN Ack field to indicate the latest sequential TSN (of a valid DATA chunk) it has received."
// RFC 9260 section 6.2: "an acknowledgement SHOULD be generated for at least every second packet (not every second DATA
// chunk) received, and SHOULD be generated within 200 ms of the arrival of any unacknowledged DATA chunk"; section 5.1:
// "After the reception of the first DATA chunk in an association, the endpoint MUST immediately respond with a SACK
// chunk".
func TestDelayedAcknowledgement(t *testing.T) {
	w := standing(t)
	w.hear(w.myTag, data(0, 1, 0, whole, "first"))
	if c, _, _, _ := sackOf(t, w.say()); c != 0 {
		t.Errorf("acknowledged up to %d", c)
	}
	w.hear(w.myTag, data(1, 1, 1, whole, "x"), data(2, 1, 2, whole, "x"))
	if got := names(w.say()); got != "" {
		t.Errorf("one packet was answered by %s", got)
	}
	before := w.now
	w.wait()
	if c, _, _, _ := sackOf(t, w.say()); c != 2 || w.now.Sub(before) != 200*time.Millisecond {
		t.Errorf("acknowledged up to %d after %v", c, w.now.Sub(before))
	}
	w.hear(w.myTag, data(3, 1, 3, whole, "x"))
	w.hear(w.myTag, data(4, 1, 4, whole, "x"))
	if c, _, _, _ := sackOf(t, w.say()); c != 4 {
		t.Errorf("two packets: acknowledged up to %d", c)
	}
	w.hear(w.myTag, data(5, 1, 5, whole|flagImmediate, "x"))
	if c, _, _, _ := sackOf(t, w.say()); c != 5 {
		t.Errorf("the I bit: acknowledged up to %d", c)
	}
}

// RFC 9260 section 6.2: "When a packet arrives with duplicate DATA chunk(s) and with no new DATA chunk(s), the endpoint
// MUST immediately send a SACK chunk with no delay." RFC 9260 section 6.7: "Upon the reception of a new DATA chunk, an
// endpoint examines the continuity of the TSNs received. If the endpoint detects a gap in the received DATA chunk
// sequence, it SHOULD send a SACK chunk with Gap Ack Blocks immediately"; section 6.2: duplicates are reported at once.
func TestGapsAndDuplicates(t *testing.T) {
	w := standing(t)
	w.hear(w.myTag, data(0, 1, 0, whole, "x"))
	w.say()
	for _, step := range []struct {
		offset     int
		cumulative int
		gaps       [][2]int
		duplicates int
	}{
		{3, 0, [][2]int{{3, 3}}, 0},
		{5, 0, [][2]int{{3, 3}, {5, 5}}, 0},
		{4, 0, [][2]int{{3, 5}}, 0},
		{4, 0, [][2]int{{3, 5}}, 1},
		{0, 0, [][2]int{{3, 5}}, 1},
		{1, 1, [][2]int{{2, 4}}, 0},
		{2, 5, nil, 0},
	} {
		w.hear(w.myTag, data(step.offset, 1, uint16(step.offset), whole, "x"))
		said := w.say()
		if len(said) == 0 { // nothing is missing any more: it may be delayed
			w.wait()
			said = w.say()
		}
		c, gaps, duplicates, _ := sackOf(t, said)
		if c != step.cumulative || !slices.Equal(gaps, step.gaps) || duplicates != step.duplicates {
			t.Errorf("after %d: up to %d, gaps %v, %d duplicates; want %+v", step.offset, c, gaps, duplicates, step)
		}
	}
}

// RFC 9260 section 6.2: "If the receiver ... a DATA chunk with no user data ... MUST send an ABORT chunk with the "No User
// Data" error cause" (section 6.2, last paragraphs).
func TestNoUserData(t *testing.T) {
	w := standing(t)
	w.hear(w.myTag, data(0, 1, 0, whole, ""))
	if said := w.say(); names(said) != "ABORT" || causes(said)[0] != causeNoUserData || w.told() != "Closed" {
		t.Errorf("answered by %s %v", names(said), causes(said))
	}
}

// RFC 9260 section 6: "The fragmentation and bundling mechanisms, as detailed in Sections 6.9 and 6.10, are OPTIONAL to
// implement by the data sender, but they MUST be implemented by the data receiver, i.e., an endpoint MUST properly
// receive and process bundled or fragmented data."; RFC 9260 section 6.6: "If DATA chunks arrive out of order of their
// Stream Sequence Number, the endpoint MUST hold the received DATA chunks from delivery to the ULP until they are
// reordered."; RFC 9260 section 6.9: "An endpoint MUST recognize fragmented DATA chunks by examining the B/E bits in
// each of the received DATA chunks and queue the fragmented DATA chunks for reassembly." RFC 9260 section 6.6: "Within
// a stream, an endpoint MUST deliver DATA chunks received with the U flag set to 0 to the upper layer according to the
// order of their Stream Sequence Number"; "the receiver MUST bypass the ordering mechanism" for those with the flag.
func TestOrder(t *testing.T) {
	w := standing(t)
	if _, err := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 4}); err != nil {
		t.Fatal(err)
	}
	w.told()
	read := func() (s string) {
		for {
			e, ok := w.NextEvent()
			if !ok {
				return s
			}
			s += string(e.Data)
		}
	}
	for _, step := range []struct {
		chunk []byte
		want  string
	}{
		{data(2, 4, 2, whole, "c"), ""},
		{data(3, 4, 0, whole|flagUnordered, "u"), "u"},
		{data(4, 4, 3, flagBegin, "d1"), ""},
		{data(6, 4, 3, flagEnd, "d3"), ""},
		{data(0, 4, 0, whole, "a"), "a"},
		{data(5, 4, 3, 0, "d2"), ""},
		{data(1, 4, 1, whole, "b"), "bcd1d2d3"},
		{data(8, 4, 4, flagEnd|flagUnordered, "v2"), ""},
		{data(7, 4, 9, flagBegin|flagUnordered, "v1"), "v1v2"},
	} {
		w.hear(w.myTag, step.chunk)
		if got := read(); got != step.want {
			t.Errorf("delivered %q, want %q", got, step.want)
		}
	}
	if w.receive.held != 6*cost(1) || w.receive.unfinished() != 0 {
		t.Errorf("%d bytes and %d messages are held", w.receive.held, w.receive.unfinished())
	}
}

// RFC 9260 section 6.7: "Upon the reception of a SACK chunk, the endpoint MUST remove all DATA chunks that have been
// acknowledged by the SACK chunk's Cumulative TSN Ack from its transmit queue."; "All DATA chunks with TSNs not
// included in the Gap Ack Blocks that are smaller than the highest-acknowledged TSN reported in the SACK chunk MUST be
// treated as "missing" by the sending endpoint."; "The number of "missing" reports for each outstanding DATA chunk MUST
// be recorded by the data sender to make retransmission decisions."; RFC 9260 section 7.2.4: "Before the above
// adjustments, if the received SACK chunk also acknowledges new DATA chunks and advances the Cumulative TSN Ack Point,
// the cwnd adjustment rules defined in Sections 7.2.1 and 7.2.2 MUST be applied first." RFC 9260 section 7.2.4: "it
// SHOULD wait for two further miss indications ... When the third consecutive miss indication is received for one or
// more TSNs, the data sender does the following: ... Retransmit those K DATA chunks in a single packet."
func TestFastRetransmit(t *testing.T) {
	w := standing(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	for i := range 8 {
		w.Send(w.now, id, false, make([]byte, 1000+i))
	}
	if got := names(w.say()); got != strings.TrimSpace(strings.Repeat("DATA ", 8)) {
		t.Fatalf("sent %s", got)
	}
	window := w.send.cc.window
	for i := range 3 {
		if got := names(w.say()); got != "" {
			t.Errorf("after %d indications %s is sent", i, got)
		}
		w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i})) // the second chunk is missing
	}
	again := w.say()
	if names(again) != "DATA" || binary.BigEndian.Uint32(again[0].value) != w.myTSN+1 {
		t.Errorf("after three indications %s is sent", names(again))
	}
	// RFC 9438 section 4.6 cuts to 0.7 where RFC 9260 section 7.2.3 cuts to a half.
	if want := max(window*7/10, 4*w.send.cc.packet); w.send.cc.window != want || w.send.cc.threshold != want {
		t.Errorf("the window is %d, the threshold %d, want %d", w.send.cc.window, w.send.cc.threshold, want)
	}
	w.hear(w.myTag, w.sack(0, [2]int{2, 5}))
	w.hear(w.myTag, w.sack(0, [2]int{2, 6}))
	w.hear(w.myTag, w.sack(0, [2]int{2, 7}))
	if got := names(w.say()); got != "" {
		t.Errorf("a chunk was retransmitted fast twice: %s", got)
	}
	if !w.send.cc.inFast {
		t.Error("fast recovery has ended")
	}
	w.hear(w.myTag, w.sack(7))
	if w.send.cc.inFast || !w.send.empty() || w.timer[timerRetransmit] != 1<<63-1 {
		t.Errorf("all is acknowledged, and the sender is %+v", w.send)
	}
}

// RFC 9260 section 7.2.1: "The initial cwnd after a retransmission timeout MUST be no more than PMDCS, and only one
// packet is allowed to be in flight until successful acknowledgement." RFC 9260 section 6.3.3: E1 "set cwnd = PMDCS",
// E2 "set RTO = RTO * 2", E3 "Bundle and retransmit those K DATA chunks in a single packet"; section 7.2.1: "only one
// packet is allowed to be in flight until successful acknowledgement".
func TestRetransmissionTimeout(t *testing.T) {
	w := standing(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	for range 8 {
		w.Send(w.now, id, false, make([]byte, 500))
	}
	w.say()
	for i := range 4 {
		before := w.now
		w.wait()
		if want := time.Second << i; w.now.Sub(before) != want {
			t.Errorf("timeout %d came after %v, want %v", i, w.now.Sub(before), want)
		}
		if p := w.AppendPacket(nil, w.now); len(p) < 1000 || len(w.AppendPacket(nil, w.now)) > 0 {
			t.Errorf("timeout %d: %d bytes were sent, or more than one packet", i, len(p))
		}
		if w.send.cc.window != w.send.cc.packet {
			t.Errorf("timeout %d: the window is %d", i, w.send.cc.window)
		}
	}
	w.hear(w.myTag, w.sack(1))
	if got := names(w.say()); got != "DATA DATA DATA DATA DATA" { // two packets and one chunk more

		t.Errorf("after an acknowledgement: %s", got)
	}
}

// RFC 9260 section 8.1: "If the value of this counter exceeds the limit indicated in the protocol parameter
// 'Association.Max.Retrans', the endpoint SHOULD consider the peer endpoint unreachable and SHALL stop transmitting any
// more data to it (and thus the association enters the CLOSED state)." RFC 9260 section 8.1: "If the value of this
// counter exceeds 'Association.Max.Retrans', the local endpoint SHOULD consider the peer endpoint unreachable and ...
// the association enters the CLOSED state."
func TestUnreachable(t *testing.T) {
	w := standing(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	w.told()
	w.Send(w.now, id, false, []byte("x"))
	sent := 0
	for w.state != stateDone {
		for _, c := range w.say() {
			if c.kind == typeData {
				sent++
			}
		}
		w.wait()
	}
	// Heartbeats count too, once the timeouts are longer than their interval.
	if sent > maxRetransmits+1 || sent < 7 || w.told() != "BufferedAmountLow Closed" {
		t.Errorf("the chunk was sent %d times", sent)
	}
}

// RFC 9260 section 8.3: a HEARTBEAT goes out on an idle path, and its answer measures the round trip.
func TestHeartbeat(t *testing.T) {
	w := standing(t)
	before := w.now
	w.wait()
	said := w.say()
	if names(said) != "HEARTBEAT" || w.now.Sub(before) != heartbeatInterval {
		t.Fatalf("after %v: %s", w.now.Sub(before), names(said))
	}
	w.now = w.now.Add(70 * time.Millisecond)
	w.hear(w.myTag, appendChunk(nil, typeHeartbeatAck, 0, said[0].value))
	if w.Stats().RTT != 70*time.Millisecond {
		t.Errorf("the round trip is %v", w.Stats().RTT)
	}
	before = w.now
	w.wait()
	if names(w.say()) != "HEARTBEAT" || w.now.Sub(before) != heartbeatInterval+minRTO {
		t.Errorf("the next came after %v", w.now.Sub(before))
	}
}

// RFC 3758 section 3.5: "The detection criterion for out-of-order SACKs MUST remain the same as stated in RFC 2960,
// that is, a SACK is only considered out-of-order if the Cumulative TSN ACK carried in the SACK is earlier than that of
// the previous received SACK (i.e., the comparison MUST NOT be made against "Advanced.Peer.Ack.Point")." RFC 9260
// section 6.2.1 D: "If Cumulative TSN Ack is less than the Cumulative TSN Ack Point, then drop the SACK chunk"; a SACK
// for what was never sent can only be wrong.
func TestOldAndImpossibleSacks(t *testing.T) {
	w := standing(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	for range 3 {
		w.Send(w.now, id, false, make([]byte, 1000))
	}
	w.say()
	w.hear(w.myTag, w.sack(1))
	w.hear(w.myTag, w.sack(0))
	if w.send.acked != int64(w.myTSN)+1 || w.send.outstanding != 1000 {
		t.Errorf("acknowledged up to %d, %d bytes outstanding", w.send.acked-int64(w.myTSN), w.send.outstanding)
	}
	w.hear(w.myTag, w.sack(3))
	if said := w.say(); names(said) != "ABORT" || causes(said)[0] != causeViolation {
		t.Errorf("answered by %s", names(said))
	}
}

// RFC 9260 section 6.2.1 D iii: a TSN that a gap block reported and the next does not is missing again.
func TestReneging(t *testing.T) {
	w := standing(t)
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	for range 4 {
		w.Send(w.now, id, false, make([]byte, 1000))
	}
	w.say()
	w.hear(w.myTag, w.sack(0, [2]int{2, 3}))
	if w.send.outstanding != 1000 {
		t.Errorf("%d bytes outstanding", w.send.outstanding)
	}
	w.hear(w.myTag, w.sack(0))
	if w.send.outstanding != 3000 || w.send.arrived != 0 || w.timer[timerRetransmit] == 1<<63-1 {
		t.Errorf("%d bytes outstanding after they were taken back", w.send.outstanding)
	}
}
