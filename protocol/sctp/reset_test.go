package sctp

import (
	"encoding/binary"
	"slices"
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

// RFC 6525 section 5.2.2: the request is performed, our own side follows (RFC 8831 section 6.7), and the stream's numbers
// begin again at 0.
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

// RFC 6525 section 5.2.2, E2: "If the Sender's Last Assigned TSN is greater than the cumulative acknowledgment point, then
// the endpoint MUST enter "deferred reset processing"": what is on its way still comes first.
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

// RFC 6525 section 5.2.1: a wrong sequence number is answered by "Error - Bad Sequence Number"; what data channels have no
// use for is denied; all streams at once is a list of none.
func TestOtherRequests(t *testing.T) {
	w := withChannels(t, 4, 6)
	w.hear(w.myTag, resetRequest(5, 0, 4))
	if results, _ := answers(w.say()); !slices.Equal(results, []result{badSequence}) {
		t.Errorf("a wrong number: %v", results)
	}
	for i, kind := range []paramType{paramIncomingReset, paramTSNReset, paramAddOutgoing, paramAddIncoming} {
		v := wire.AppendUint32(wire.AppendUint32(nil, peersTSN+uint32(i)), 0)
		for range 2 {
			w.hear(w.myTag, appendChunk(nil, typeReconfig, 0, appendParam(nil, kind, v)))
			if results, _ := answers(w.say()); !slices.Equal(results, []result{denied}) {
				t.Errorf("parameter %d: %v", kind, results)
			}
		}
	}
	w.hear(w.myTag, resetRequest(4, -1))
	if results, requested := answers(w.say()); !slices.Equal(results, []result{performed}) || len(requested) == 0 {
		t.Errorf("all streams: %v, requested %v", results, requested)
	}
	if got := w.told(); got != "ChannelClosing ChannelClosing" {
		t.Errorf("events: %s", got)
	}
}

// RFC 6525 section 5.1.1: one request at a time, retransmitted until it is answered, with the same number; "In progress"
// is asked again.
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

// A peer that cannot reset streams: channels are closed on this side alone.
func TestPeerWithoutReset(t *testing.T) {
	w := withChannels(t, 4)
	w.ext &^= extReconfig
	w.Close(w.now, 4)
	if got := w.told(); got != "ChannelClosed" || names(w.say()) != "" || w.NextTimeout() == mono.Never {
		t.Errorf("events: %s", got)
	}
}
