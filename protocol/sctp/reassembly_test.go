package sctp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// RFC 9260 section 6.9: "Once the user message is reassembled, SCTP passes the reassembled user message to the specific
// stream for possible reordering and final dispatching", whatever the order in which its chunks have come; nothing is left
// of it then.
func TestReassemblyInAnyOrder(t *testing.T) {
	const parts = 9
	for _, interleaved := range []bool{false, true} {
		for seed := range uint64(200) {
			var w *wireEnd
			if interleaved {
				w = interleaving(t, 4)
			} else {
				w = standing(t)
				w.Open(w.now, ChannelConfig{Negotiated: true, ID: 4})
			}
			w.told()
			var chunks [][]byte
			for m, flags := range []uint8{0, flagUnordered, 0, flagUnordered} {
				for i := range parts {
					flags := flags
					if i == 0 {
						flags |= flagBegin
					}
					if i == parts-1 {
						flags |= flagEnd
					}
					if text := strings.Repeat(string(rune('a'+m)), i+1); interleaved {
						chunks = append(chunks, iData(len(chunks), 4, uint32(m/2), uint32(i), flags, text))
					} else {
						chunks = append(chunks, data(len(chunks), 4, uint16(m/2), flags, text))
					}
				}
			}
			switch chance := rand.New(entropy(seed)); seed {
			case 0:
			case 1:
				slices.Reverse(chunks)
			default:
				chance.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
			}
			for _, c := range chunks {
				w.hear(w.myTag, c)
				if what := w.inconsistency(0); what != "" {
					t.Fatalf("interleaved %v, seed %d: %s", interleaved, seed, what)
				}
			}
			var got []string
			for e, ok := w.NextEvent(); ok; e, ok = w.NextEvent() {
				if len(e.Data) != parts*(parts+1)/2 || strings.Count(string(e.Data), string(e.Data[:1])) != len(e.Data) {
					t.Fatalf("interleaved %v, seed %d: %q has come", interleaved, seed, e.Data)
				}
				got = append(got, string(e.Data[:1]))
				w.Consume(len(e.Data))
			}
			if a, c := slices.Index(got, "a"), slices.Index(got, "c"); len(got) != 4 || a < 0 || c < a {
				t.Errorf("interleaved %v, seed %d: %v have come", interleaved, seed, got)
			}
			if w.receive.held != 0 || w.receive.unfinished()+w.receive.partial != 0 {
				t.Errorf("interleaved %v, seed %d: %d bytes are held", interleaved, seed, w.receive.held)
			}
		}
	}
}

// Parts of which the beginning or the end will not come, because the peer has given their message up, are thrown away as
// soon as that is clear.
func TestPartsOfMessagesGivenUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		chunks [][]byte
	}{
		{"ended abruptly", [][]byte{data(0, 4, 0, flagBegin, "a"), data(1, 4, 1, whole, "b")}},
		{"ended abruptly before a long one", [][]byte{data(0, 4, 0, flagBegin, "a"), data(1, 4, 1, flagBegin, "b"), data(2, 4, 1, flagEnd, "c")}},
		{"ended abruptly, known later", [][]byte{data(1, 4, 1, whole, "b"), data(0, 4, 0, flagBegin, "a")}},
		{"goes on after its end", [][]byte{data(2, 4, 0, 0, "c"), data(3, 4, 0, flagEnd, "d"), data(0, 4, 0, flagBegin, "a"), data(1, 4, 0, flagEnd, "b")}},
		{"goes on after a whole one", [][]byte{data(1, 4, 0, flagEnd, "b"), data(0, 4, 0, whole, "a")}},
		{"goes on where there is no stream", [][]byte{data(0, 4, 0, flagBegin, "a"), data(1, maxStreams, 0, 0, "b")}},
		{"goes on where there is no stream, known later", [][]byte{data(2, 4, 0, flagEnd, "c"), data(1, maxStreams, 0, 0, "b"), data(0, 4, 0, flagBegin, "a")}},
		{"follows a whole one, before a gap", [][]byte{data(1, 4, 1, whole, "b"), data(2, 4, 2, 0, "c"), data(0, 4, 0, whole, "a")}},
		{"follows an end, before a gap", [][]byte{data(2, 4, 0, flagEnd, "c"), data(3, 4, 0, 0, "d"), data(0, 4, 0, whole, "a"), data(1, 4, 1, whole, "b")}},
		{"is followed by an end, before a gap", [][]byte{data(3, 4, 0, 0, "d"), data(2, 4, 0, flagEnd, "c"), data(0, 4, 0, flagBegin, "a"), data(1, 4, 0, 0, "b")}},
		{"has no beginning", [][]byte{data(0, 4, 0, 0, "a"), data(1, 4, 0, 0, "b"), data(2, 4, 0, flagEnd, "c")}},
		{"has no beginning, known later", [][]byte{data(1, 4, 0, 0, "b"), data(2, 4, 0, flagEnd, "c"), data(0, 4, 0, 0, "a")}},
		{"beginning skipped", [][]byte{data(2, 4, 0, 0, "c"), data(3, 4, 0, flagEnd, "d"), forward(1)}},
		{"beginning skipped before it goes on", [][]byte{forward(1), data(2, 4, 0, 0, "c"), data(3, 4, 0, flagEnd, "d")}},
		{"end skipped", [][]byte{data(0, 4, 0, flagBegin, "a"), data(1, 4, 0, 0, "b"), forward(2)}},
		{"middle skipped", [][]byte{data(0, 4, 0, flagBegin, "a"), data(3, 4, 0, flagEnd, "d"), forward(2)}},
	} {
		w := standing(t)
		if _, err := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 4}); err != nil {
			t.Fatal(err)
		}
		for _, c := range test.chunks {
			w.hear(w.myTag, c)
		}
		for e, ok := w.NextEvent(); ok; e, ok = w.NextEvent() {
			if e.Kind == Message {
				w.Consume(len(e.Data))
			}
		}
		held := w.receive.held
		for _, ch := range w.channels {
			for _, m := range ch.early { // what waits for an SSN
				held -= cost(len(m.data))
			}
		}
		if held != 0 || w.receive.unfinished() != 0 || w.state != stateEstablished {
			t.Errorf("%s: %d bytes are held, %d unfinished", test.name, held, w.receive.unfinished())
		}
	}
}
