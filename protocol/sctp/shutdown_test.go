package sctp

import (
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/internal/wire"
)

// RFC 9260 section 9.2: "While in the SHUTDOWN-SENT state, the SHUTDOWN chunk sender MUST immediately respond to each
// received packet containing one or more DATA chunks with a SHUTDOWN chunk and restart the T2-shutdown timer."; "If a
// SHUTDOWN chunk by itself cannot acknowledge all of the received DATA chunks (i.e., there are TSNs that can be
// acknowledged that are larger than the cumulative TSN and thus gaps exist in the TSN sequence) or if duplicate TSNs
// have been received, then a SACK chunk MUST also be sent."; "Upon the receipt of the SHUTDOWN ACK chunk, the sender of
// the SHUTDOWN chunk MUST stop the T2-shutdown timer, send a SHUTDOWN COMPLETE chunk to its peer, and remove all record
// of the association."; "If an endpoint is in the SHUTDOWN-ACK-SENT state and receives a SHUTDOWN ACK, it MUST stop the
// T2-shutdown timer, send a SHUTDOWN COMPLETE chunk to its peer, and remove all record of the association." RFC 9260
// section 9.2, both ways and both at once; and what is said again when an answer is lost.
func TestShutdown(t *testing.T) {
	shutdown := func(w *wireEnd) []byte {
		return appendChunk(nil, typeShutdown, 0, wire.AppendUint32(nil, w.myTSN-1))
	}
	t.Run("ours", func(t *testing.T) {
		w := standing(t)
		w.Shutdown(w.now)
		for i := range 3 {
			if got := names(w.say()); got != "SHUTDOWN" {
				t.Fatalf("time %d: %s", i, got)
			}
			w.wait()
		}
		w.say()
		w.hear(w.myTag, data(0, 1, 0, whole, "late")) // "MUST immediately respond ... with a SHUTDOWN chunk"
		if got := names(w.say()); got != "SACK SHUTDOWN" {
			t.Errorf("data was answered by %s", got)
		}
		w.hear(w.myTag, appendChunk(nil, typeShutdownAck, 0, nil))
		if got := names(w.say()); got != "SHUTDOWN-COMPLETE" || w.told() != "Closed" {
			t.Errorf("SHUTDOWN ACK was answered by %s", got)
		}
		w.hear(w.myTag, appendChunk(nil, typeShutdownAck, 0, nil)) // section 8.4: the answer was lost
		if got := names(w.say()); got != "SHUTDOWN-COMPLETE" || w.told() != "" {
			t.Errorf("the second SHUTDOWN ACK was answered by %s", got)
		}
	})
	t.Run("the peer's", func(t *testing.T) {
		w := standing(t)
		id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
		w.Send(w.now, id, false, []byte("x"))
		w.say()
		w.told()
		w.hear(w.myTag, shutdown(w))
		if got := names(w.say()); got != "" || w.state != stateShutdownReceived {
			t.Errorf("with data under way: %s", got)
		}
		if err := w.Send(w.now, id, false, []byte("y")); err != ErrClosed {
			t.Errorf("Send: %v", err)
		}
		w.hear(w.myTag, w.sack(0))
		if got := names(w.say()); got != "SHUTDOWN-ACK" {
			t.Errorf("when all is acknowledged: %s", got)
		}
		w.hear(0, peersInit()) // "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk"
		if got := names(w.say()); got != "SHUTDOWN-ACK" {
			t.Errorf("INIT was answered by %s", got)
		}
		w.hear(w.myTag, appendChunk(nil, typeShutdownComplete, 0, nil))
		if w.told() != "Closed" || w.state != stateDone {
			t.Error("it is not over")
		}
	})
	t.Run("both", func(t *testing.T) {
		w := standing(t)
		w.Shutdown(w.now)
		w.say()
		w.hear(w.myTag, shutdown(w))
		if got := names(w.say()); got != "SHUTDOWN-ACK" {
			t.Errorf("SHUTDOWN was answered by %s", got)
		}
		w.hear(w.myTag, appendChunk(nil, typeShutdownAck, 0, nil))
		if got := names(w.say()); got != "SHUTDOWN-COMPLETE" || w.told() != "Closed" {
			t.Errorf("SHUTDOWN ACK was answered by %s", got)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		w := standing(t)
		w.Shutdown(w.now)
		sent := 0
		for w.state != stateDone {
			sent += len(w.say())
			w.wait()
		}
		if sent > maxRetransmits+1 || sent < 5 || w.told() != "Closed" {
			t.Errorf("SHUTDOWN was sent %d times", sent)
		}
	})
}

// RFC 9260 section 9.1: "An endpoint MUST NOT respond to any received packet that contains an ABORT chunk (also see
// Section 8.4)."; "After checking the Verification Tag, the receiving endpoint MUST remove the association from its
// record and SHOULD report the termination to its upper layer." RFC 9260 section 9.1: "If the association is aborted
// on request of the upper layer, a "User-Initiated Abort" error cause SHOULD be present"; "the Upper Layer Abort Reason
// SHOULD be made available to the upper layer"; "An endpoint MUST NOT respond to any received packet that contains an
// ABORT chunk".
func TestAbort(t *testing.T) {
	w := standing(t)
	w.Abort("out of coffee")
	said := w.say()
	if names(said) != "ABORT" || causes(said)[0] != causeUserAbort {
		t.Fatalf("sent %s", names(said))
	}
	other := standing(t)
	other.hear(other.myTag, appendChunk(nil, typeAbort, 0, said[0].value))
	if got := names(other.say()); got != "" {
		t.Errorf("ABORT was answered by %s", got)
	}
	e, _ := other.NextEvent()
	if e.Kind != Closed || fmt.Sprint(e.Err) != `sctp: the peer aborted: "out of coffee"` {
		t.Errorf("the event is %+v", e)
	}
}
