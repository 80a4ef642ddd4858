package sctp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// resetRequest is an Outgoing SSN Reset Request of the peer; sequence and last are offsets from its first TSN.
func resetRequest(sequence, last int, streams ...StreamID) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(sequence))
	v = wire.AppendUint32(v, 0)
	v = wire.AppendUint32(v, peersTSN+uint32(last))
	for _, s := range streams {
		v = wire.AppendUint16(v, uint16(s))
	}
	return appendChunk(nil, typeReconfig, 0, appendParam(nil, paramOutgoingReset, v))
}

func resetResponse(sequence uint32, how result) []byte {
	v := wire.AppendUint32(wire.AppendUint32(nil, sequence), uint32(how))
	return appendChunk(nil, typeReconfig, 0, appendParam(nil, paramResetResponse, v))
}

// answers returns the results of all responses among chunks, and the streams of the requests.
func answers(chunks []chunk) (results []result, requested []StreamID) {
	for _, c := range chunks {
		if c.kind != typeReconfig {
			continue
		}
		r := wire.NewReader(c.value)
		for {
			p, ok := nextParam(&r)
			if !ok {
				break
			}
			switch p.kind {
			case paramResetResponse:
				results = append(results, result(binary.BigEndian.Uint32(p.value[4:])))
			case paramOutgoingReset:
				for ids := wire.NewReader(p.value[12:]); ids.Len() > 0; {
					requested = append(requested, StreamID(ids.Uint16()))
				}
			}
		}
	}
	return results, requested
}

func withChannels(t *testing.T, ids ...StreamID) *wireEnd {
	t.Helper()
	w := standing(t)
	for _, id := range ids {
		if _, err := w.Open(w.now, ChannelConfig{Negotiated: true, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	w.told()
	return w
}

// RFC 6525 section 5.2.2: "If specific stream numbers are listed, then only these specific streams MUST be reset to 0,
// and all other non-listed SSNs remain unchanged."; "A Re-configuration Response Parameter MUST be put into a RE-CONFIG
// chunk indicating successful processing."; "The RE-CONFIG chunk MUST be sent after the incoming RE-CONFIG chunk is
// processed completely." RFC 6525 section 5.2.2: the request is performed, our own side follows (RFC 8831 section
// 6.7), and the stream's numbers begin again at 0.
func TestPeerResets(t *testing.T) {
	w := withChannels(t, 4, 6)
	w.hear(w.myTag, data(0, 4, 0, whole, "x"), data(1, 6, 0, whole, "y"))
	w.hear(w.myTag, resetRequest(0, 1, 4))
	said := w.say()
	results, requested := answers(said)
	if !slices.Equal(results, []result{performed}) || !slices.Equal(requested, []StreamID{4}) {
		t.Errorf("answered %v, requested %v", results, requested)
	}
	if got := w.told(); got != "Message Message ChannelClosing" {
		t.Errorf("events: %s", got)
	}
	// A retransmission of the request gets the same answer and does nothing more.
	w.hear(w.myTag, resetRequest(0, 1, 4))
	if results, _ := answers(w.say()); !slices.Equal(results, []result{performed}) {
		t.Errorf("the second time: %v", results)
	}
	w.hear(w.myTag, resetResponse(w.myTSN, performed))
	if got := w.told(); got != "ChannelClosed" {
		t.Errorf("events: %s", got)
	}
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 4})
	w.hear(w.myTag, data(2, 4, 0, whole, "again"), data(3, 6, 1, whole, "on"))
	if got := w.told(); got != "ChannelOpen Message Message" {
		t.Errorf("events: %s", got)
	}
}

// RFC 6525 section 5.2.2: "In this mode, any data arriving with a TSN larger than the Sender's Last Assigned TSN for
// the affected stream(s) MUST be queued locally and held until the cumulative acknowledgment point reaches the Sender's
// Last Assigned TSN."; "If the endpoint enters "deferred reset processing", it MUST put a Re-configuration Response
// Parameter into a RE-CONFIG chunk indicating "In progress" and MUST send the RE-CONFIG chunk."; "Any queued TSNs
// (queued at step E2) MUST now be released and processed normally." RFC 6525 section 5.2.2, E2: "If the Sender's Last
// Assigned TSN is greater than the cumulative acknowledgment point, then the endpoint MUST enter "deferred reset
// processing"": what is on its way still comes first.
func TestResetWaitsForData(t *testing.T) {
	w := withChannels(t, 4)
	w.hear(w.myTag, data(0, 4, 0, whole, "a"))
	w.hear(w.myTag, resetRequest(0, 2, 4))
	if results, requested := answers(w.say()); !slices.Equal(results, []result{inProgress}) || requested != nil {
		t.Errorf("answered %v, requested %v", results, requested)
	}
	w.hear(w.myTag, data(2, 4, 2, whole, "c"))
	w.hear(w.myTag, resetRequest(0, 2, 4))
	if results, _ := answers(w.say()); !slices.Equal(results, []result{inProgress}) {
		t.Errorf("asked again: %v", results)
	}
	w.hear(w.myTag, data(1, 4, 1, whole, "b"))
	if got := w.told(); got != "Message Message Message ChannelClosing" {
		t.Errorf("events: %s", got)
	}
	w.hear(w.myTag, resetRequest(0, 2, 4))
	if results, _ := answers(w.say()); !slices.Equal(results, []result{performed}) {
		t.Errorf("asked at last: %v", results)
	}
}

// RFC 6525 section 5.2.1: "If for whatever reason the endpoint does not wish to process a received request parameter, it
// MUST send a corresponding response parameter as described in Section 5.1.7, with an appropriate Result field."; "If the
// received RE-CONFIG chunk contains at least one request and based on the analysis of the Re-configuration Request Sequence
// Numbers this is the last received RE-CONFIG chunk (i.e., a retransmission), the same RE-CONFIG chunk MUST to be sent back
// in response, as it was earlier." Section 5.2.2: "If no stream numbers are listed in the parameter, then all incoming
// streams MUST be reset to 0 as the next expected SSN."
func TestOtherRequests(t *testing.T) {
	w := withChannels(t, 4, 6)
	w.hear(w.myTag, resetRequest(5, 0, 4))
	if results, _ := answers(w.say()); !slices.Equal(results, []result{badSequence}) {
		t.Errorf("a wrong number: %v", results)
	}
	v := wire.AppendUint32(wire.AppendUint32(nil, peersTSN), 0)
	for range 2 {
		w.hear(w.myTag, appendChunk(nil, typeReconfig, 0, appendParam(nil, paramTSNReset, v)))
		if results, _ := answers(w.say()); !slices.Equal(results, []result{denied}) {
			t.Errorf("SSN/TSN reset: %v", results)
		}
	}
	w.hear(w.myTag, resetRequest(1, -1))
	if results, requested := answers(w.say()); !slices.Equal(results, []result{performed}) || len(requested) == 0 {
		t.Errorf("all streams: %v, requested %v", results, requested)
	}
	if got := w.told(); got != "ChannelClosing ChannelClosing" {
		t.Errorf("events: %s", got)
	}
}

// RFC 8831 section 6.7: "Streams are available for reuse after a reset has been performed." The peer has performed both resets and opens another channel with the id, but its answer to ours was lost.
func TestStreamIsUsedAgain(t *testing.T) {
	w := standing(t)
	open := func(tsn int, ssn uint16, label string) []byte {
		v := wire.AppendUint32(nil, peersTSN+uint32(tsn))
		v = wire.AppendUint16(wire.AppendUint16(v, 4), ssn)
		return appendChunk(nil, typeData, whole, appendOpen(wire.AppendUint32(v, ppidDCEP), &ChannelConfig{Label: label}))
	}
	w.hear(w.myTag, open(0, 0, "one"))
	w.say()
	w.hear(w.myTag, w.sack(0))
	w.hear(w.myTag, resetRequest(0, 0, 4))
	if _, requested := answers(w.say()); !slices.Equal(requested, []StreamID{4}) {
		t.Fatalf("requested %v", requested)
	}
	if got := w.told(); got != "ChannelOpen ChannelClosing" {
		t.Errorf("events: %s", got)
	}
	w.hear(w.myTag, open(1, 0, "two"), data(2, 4, 1, whole, "x"))
	if got := w.told(); got != "ChannelClosed ChannelOpen Message" {
		t.Errorf("when the id is used again: %s", got)
	}
	w.say()
	// The answer changes nothing any more, and the next request has the next number.
	w.hear(w.myTag, resetResponse(w.myTSN, performed))
	if got := w.told(); got != "" {
		t.Errorf("the answer: %s", got)
	}
	w.hear(w.myTag, w.sack(1))
	w.Close(w.now, 4)
	if _, requested := answers(w.say()); !slices.Equal(requested, []StreamID{4}) {
		t.Fatalf("requested %v", requested)
	}
	w.hear(w.myTag, resetResponse(w.myTSN+1, performed), resetRequest(1, 2, 4))
	if got := w.told(); got != "ChannelClosed" {
		t.Errorf("events: %s", got)
	}
}

// RFC 6525 section 5.1.1: "So, if the Re-configuration Timer is running and the RE-CONFIG chunk contains at least one
// request parameter, the chunk MUST be buffered."; RFC 6525 section 5.2.7: "If the request was an Outgoing SSN Reset
// Request, the affected streams MUST now be reset and all queued data should now be processed." RFC 6525 section
// 5.1.1: one request at a time, retransmitted until it is answered, with the same number; "In progress" is asked again.
func TestOurRequest(t *testing.T) {
	w := withChannels(t, 4, 6)
	w.Close(w.now, 4)
	w.Close(w.now, 6)
	first := w.say()
	if _, requested := answers(first); !slices.Equal(requested, []StreamID{4}) {
		t.Fatalf("requested %v", requested)
	}
	for range 3 {
		w.wait()
		again := w.say()
		if len(again) != 1 || !slices.Equal(again[0].whole, first[0].whole) {
			t.Fatalf("sent again: %x, at first %x", again, first[0].whole)
		}
	}
	w.hear(w.myTag, resetResponse(w.myTSN+7, performed)) // of no request of ours
	w.hear(w.myTag, resetResponse(w.myTSN, inProgress))
	if got := names(w.say()); got != "" {
		t.Errorf("in progress: %s at once", got)
	}
	w.wait()
	if got := names(w.say()); got != "RE-CONFIG" {
		t.Errorf("in progress, later: %s", got)
	}
	w.hear(w.myTag, resetResponse(w.myTSN, performed))
	if _, requested := answers(w.say()); !slices.Equal(requested, []StreamID{6}) {
		t.Errorf("the next request is for %v", requested)
	}
	// RFC 8831 section 6.7: a channel is closed when both directions are.
	if got := w.told(); got != "" {
		t.Errorf("events: %s", got)
	}
	w.hear(w.myTag, resetRequest(0, -1, 4))
	if got := w.told(); got != "ChannelClosed" {
		t.Errorf("events: %s", got)
	}
}

// What is sent on a channel is acknowledged before its stream is reset.
func TestResetComesAfterTheData(t *testing.T) {
	w := withChannels(t, 4)
	for range 30 {
		w.Send(w.now, 4, false, make([]byte, 1000))
	}
	w.Close(w.now, 4)
	sent := 0
	for w.state == stateEstablished {
		said := w.say()
		if _, requested := answers(said); requested != nil {
			break
		}
		sent += len(said)
		w.now = w.now.Add(10e6)
		w.hear(w.myTag, w.sack(sent-1))
	}
	if sent != 30 || !w.send.empty() {
		t.Errorf("the reset was requested after %d chunks", sent)
	}
}

// RFC 6525 section 5.1.1: "Before sending a RE-CONFIG chunk, the sender MUST ensure that the peer advertised support
// for the re-configuration extension."; "If the chunk type of the RE-CONFIG chunk does not appear in the supported
// extension's list of chunks, then the sender MUST NOT send any re-configuration request to the peer, and any request
// by the application for such service SHOULD be responded to with an appropriate error indicating that the peer SCTP
// stack does not support the re-configuration extension." A peer that cannot reset streams: channels are closed on
// this side alone.
func TestPeerWithoutReset(t *testing.T) {
	w := withChannels(t, 4)
	w.ext &^= extReconfig
	w.Close(w.now, 4)
	if got := w.told(); got != "ChannelClosed" || names(w.say()) != "" || w.NextTimeout() == mono.Never {
		t.Errorf("events: %s", got)
	}
}

// parameters returns the parameters of all RE-CONFIG chunks among chunks.
func parameters(chunks []chunk) (found []param) {
	for _, c := range chunks {
		if c.kind != typeReconfig {
			continue
		}
		for r := wire.NewReader(c.value); ; {
			p, ok := nextParam(&r)
			if !ok {
				break
			}
			found = append(found, p)
		}
	}
	return found
}

// asks is a request of the peer of one of the simple kinds: what follows its number is body.
func asks(kind paramType, sequence int, body ...uint16) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(sequence))
	for _, b := range body {
		v = wire.AppendUint16(v, b)
	}
	return appendParam(nil, kind, v)
}

func reconfig(params ...[]byte) []byte {
	return appendChunk(nil, typeReconfig, 0, slices.Concat(params...))
}

// RFC 6525 section 5.1.2: "If this Outgoing SSN Reset Request Parameter is sent in response to an Incoming SSN Reset
// Request Parameter, the stream numbers MUST be copied from the Incoming SSN Reset Request Parameter to the Outgoing
// SSN Reset Request Parameter."; RFC 6525 section 5.2.3: "The RE-CONFIG chunk MUST be sent after the incoming RE-CONFIG
// chunk is processed completely."; "In such a case, the local endpoint MUST do the following". RFC 6525 section 5.2.3:
// "An Outgoing SSN Reset Request Parameter MUST be put into a RE-CONFIG chunk according to Section 5.1.2."; "If the
// Outgoing SSN Reset Request Parameter that was just sent completely overlaps the received Incoming SSN Reset Request
// Parameter, respond to the peer with an acknowledgment indicating that there was "Nothing to do"."; "Even in such a
// situation, the Incoming SSN Reset MUST be processed normally, even though this means that (if the endpoint elects to
// do the stream reset) streams that are already at SSN 0 will be reset a subsequent time." Section 5.1.2: "The stream
// numbers MUST be copied from the Incoming SSN Reset Request Parameter to the Outgoing SSN Reset Request Parameter.";
// "The Re-configuration Response Sequence Number of the Outgoing SSN Reset Request Parameter MUST be the
// Re-configuration Request Sequence Number of the Incoming SSN Reset Request Parameter."
func TestPeerAsksForAReset(t *testing.T) {
	w := withChannels(t, 4, 6, 8)
	w.Send(w.now, 4, false, []byte("on its way"))
	w.say()
	w.told()
	w.hear(w.myTag, reconfig(asks(paramIncomingReset, 0, 4, 6)))
	said := w.say()
	results, requested := answers(said)
	if !slices.Equal(results, []result{performed}) || !slices.Equal(requested, []StreamID{6}) {
		t.Errorf("answered %v, requested %v", results, requested)
	}
	for _, p := range parameters(said) {
		if p.kind == paramOutgoingReset && binary.BigEndian.Uint32(p.value[4:]) != peersTSN {
			t.Errorf("the response number is %d", binary.BigEndian.Uint32(p.value[4:])-peersTSN)
		}
	}
	if got := w.told(); got != "ChannelClosing ChannelClosing" {
		t.Errorf("events: %s", got)
	}
	for _, c := range []struct {
		sequence int
		ids      []uint16
		want     result
	}{
		{0, []uint16{4, 6}, performed}, // again
		{1, []uint16{6}, nothingToDo},  // just sent
		{2, []uint16{2}, nothingToDo},  // no channel
		{3, []uint16{65535}, wrongSSN}, // no stream
		{4, []uint16{6, 8}, performed}, // some overlap
		{9, []uint16{4}, badSequence},
	} {
		w.hear(w.myTag, reconfig(asks(paramIncomingReset, c.sequence, c.ids...)))
		if results, _ := answers(w.say()); !slices.Equal(results, []result{c.want}) {
			t.Errorf("%v: answered %v, want %v", c.ids, results, c.want)
		}
	}
	// What was sent is acknowledged before its stream is reset.
	w.hear(w.myTag, w.sack(0), resetResponse(w.myTSN, performed))
	if _, requested := answers(w.say()); !slices.Equal(requested, []StreamID{4, 8}) {
		t.Errorf("requested %v", requested)
	}
}

// RFC 6525 section 5.1.6: "A new stream MUST use SSN 0 for its first ordered message."; RFC 6525 section 5.2.6: "When
// an SCTP endpoint receives a re-configuration request adding additional incoming streams, it MUST either send a
// response parameter denying the request or send a corresponding Add Outgoing Streams Request Parameter, following the
// rules given in Section 5.1.5."; RFC 9260 section 6.5: "Every DATA chunk MUST carry a valid stream identifier." RFC
// 6525 section 5.2.5: "When an SCTP endpoint receives a re-configuration request adding additional streams, it MUST
// send a response parameter either acknowledging or denying the request."; "If the response is successful, the receiver
// MUST add the requested number of inbound streams to the association, initializing the next expected SSN to 0."
// Section 5.2.6: "it MUST either send a response parameter denying the request or send a corresponding Add Outgoing
// Streams Request Parameter". Section 5.2.1: "If multiple parameters have to be returned, they MUST be put into one
// RE_CONFIG chunk."
func TestPeerAddsStreams(t *testing.T) {
	w := few(t)
	w.say()
	w.hear(w.myTag, w.sack(1), resetResponse(w.myTSN, denied))
	w.say()
	w.hear(w.myTag, data(0, 9, 0, whole, "x"))
	if said := w.say(); len(causes(said)) != 1 || causes(said)[0] != causeInvalidStream {
		t.Errorf("on a stream that there is not: %s", names(said))
	}
	w.hear(w.myTag, reconfig(asks(paramAddOutgoing, 0, 6, 0), asks(paramAddIncoming, 1, 2, 0)))
	said := w.say()
	p := parameters(said)
	if len(p) != 3 || p[0].kind != paramResetResponse || p[1].kind != paramResetResponse || p[2].kind != paramAddOutgoing {
		t.Fatalf("answered by %+v", p)
	}
	if n := strings.Count(names(said), "RE-CONFIG"); n != 2 || p[2].value[5] != 2 {
		t.Errorf("%d chunks, %d streams are asked for", n, p[2].value[5])
	}
	if results, _ := answers(said); !slices.Equal(results, []result{performed, performed}) || w.inStreams != 10 || w.outStreams != 4 {
		t.Errorf("answered %v; %d and %d streams", results, w.inStreams, w.outStreams)
	}
	w.hear(w.myTag, data(1, 9, 0, whole, "x"), resetResponse(w.myTSN+1, performed))
	if said := w.say(); len(causes(said)) != 0 || w.outStreams != 6 {
		t.Errorf("afterwards: %v; %d streams", causes(said), w.outStreams)
	}
	for i, kind := range []paramType{paramAddOutgoing, paramAddIncoming} {
		w.hear(w.myTag, reconfig(asks(kind, 2+i, 65535, 0)))
		if results, _ := answers(w.say()); !slices.Equal(results, []result{denied}) {
			t.Errorf("too many: %v", results)
		}
	}
}

// RFC 6525 section 4.5: "This field holds the length in bytes of the parameter; the value MUST be 12."; "This parameter
// MUST NOT appear in any other chunk type."; RFC 6525 section 4.6: "This field holds the length in bytes of the
// parameter; the value MUST be 12."; "This parameter MUST NOT appear in any other chunk type."; RFC 6525 section 5.2.7:
// "Note that an implementation may allocate the memory at the time of the request, but it MUST NOT use the streams
// until the peer has responded with a positive acknowledgment." RFC 6525 section 5.1.5: "Upon sending the request, the
// sender MUST await a positive acknowledgment (Success) before using any additional stream added by this request."; "A
// new stream MUST use SSN 0 for its first ordered message." Section 5.2.7: "If the request was to add outgoing streams,
// the endpoint MUST add the additional streams to the association."; "it MUST NOT use the streams until the peer has
// responded with a positive acknowledgment"; "If the timer runs out, the RE-CONFIG chunk MUST be retransmitted but the
// corresponding error counters MUST NOT be incremented." Section 5.1.1: "At any given time, there MUST NOT be more than
// one request in flight."
func TestWeAddStreams(t *testing.T) {
	w := few(t)
	w.Send(w.now, 5, false, []byte("early"))
	said := w.say()
	p := parameters(said)
	if len(p) != 1 || p[0].kind != paramAddOutgoing || p[0].value[5] != 2 || len(parsed(said)) != 2 {
		t.Fatalf("sent %s, %+v", names(said), p)
	}
	w.hear(w.myTag, w.sack(1), resetResponse(w.myTSN, inProgress))
	for range 4 { // the first heartbeat comes after that
		w.wait()
		if got := names(w.say()); got != "RE-CONFIG" {
			t.Errorf("asked again by %s", got)
		}
	}
	if w.errors != 0 {
		t.Errorf("%d errors while the peer was at it", w.errors)
	}
	w.hear(w.myTag, resetResponse(w.myTSN, performed))
	said = w.say()
	if p = parameters(said); len(p) != 1 || p[0].kind != paramAddIncoming || w.outStreams != 6 {
		t.Fatalf("then sent %s; %d streams", names(said), w.outStreams)
	}
	// The peer answers by a request of its own.
	w.hear(w.myTag, reconfig(asks(paramAddOutgoing, 0, 2, 0)))
	said = w.say()
	d := parsed(said)
	if got := w.told(); got != "ChannelOpen BufferedAmountLow" || len(d) != 2 || d[0].stream != 5 || d[0].number != 0 || w.timer[timerReset] != mono.Never {
		t.Errorf("events: %s; sent %s", got, names(said))
	}
}

// Both ends are ours: more channels than one of them has streams for.
func TestChannelsBeyondTheStreams(t *testing.T) {
	d := newDuo(t, lan)
	d.a.mangle = func(p []byte) []byte { // a offers 4 streams in both directions
		if c := chunkType(p[headerSize]); c == typeInit || c == typeInitAck {
			binary.BigEndian.PutUint16(p[headerSize+12:], 4)
			binary.BigEndian.PutUint16(p[headerSize+14:], 4)
			putChecksum(p)
		}
		return p
	}
	d.b.Connect(d.b.now())
	d.b.driver.Poll()
	d.until("established", func() bool { return d.a.state == stateEstablished && d.b.state == stateEstablished })
	d.a.inStreams, d.a.outStreams = 4, 4
	for range 10 {
		d.b.sends(d.b.opens(ChannelConfig{}), "hello")
	}
	d.until("delivered", func() bool { return len(d.a.got) == 10 })
	if d.b.outStreams != 20 || d.b.inStreams != 20 {
		t.Errorf("b has %d and %d streams", d.b.outStreams, d.b.inStreams)
	}
}
