package sctp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/wire"
)

// iData is an I-DATA chunk of the peer; of a message's first part number is the MID alone.
func iData(offset int, stream StreamID, mid, fsn uint32, flags uint8, payload string) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(offset))
	v = wire.AppendUint16(v, uint16(stream))
	v = wire.AppendUint16(v, 0)
	v = wire.AppendUint32(v, mid)
	if flags&flagBegin != 0 {
		fsn = ppidBinary
	}
	v = wire.AppendUint32(v, fsn)
	return appendChunk(nil, typeIData, flags, append(v, payload...))
}

// iForward is an I-FORWARD-TSN of the peer, with streams, whether unordered messages are meant, and MIDs.
func iForward(offset int, entries ...[3]int) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(offset))
	for _, e := range entries {
		v = wire.AppendUint16(v, uint16(e[0]))
		v = wire.AppendUint16(v, uint16(e[1]))
		v = wire.AppendUint32(v, uint32(e[2]))
	}
	return appendChunk(nil, typeIForwardTSN, 0, v)
}

// interleaving returns an association whose peer can interleave, with channels.
func interleaving(t *testing.T, ids ...StreamID) *wireEnd {
	t.Helper()
	w := newWireEnd(t)
	w.hear(0, appendInit(nil, typeInit, &initChunk{
		tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: maxStreams, incoming: maxStreams, ext: extIData,
	}))
	in, _ := parseInit(w.say()[0].value)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	w.say()
	for _, id := range ids {
		if _, err := w.Open(w.now, ChannelConfig{Negotiated: true, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	w.told()
	return w
}

// reads returns the messages that the association has to tell of.
func (w *wireEnd) reads() (messages []string) {
	for {
		e, ok := w.NextEvent()
		if !ok {
			return messages
		}
		if e.Kind == Message {
			messages = append(messages, fmt.Sprint(e.Stream, ":", string(e.Data)))
			w.Consume(len(e.Data))
		}
	}
}

// parsed returns the chunks of data among chunks.
func parsed(chunks []chunk) (found []dataChunk) {
	for _, c := range chunks {
		if c.kind == typeData || c.kind == typeIData {
			d, _ := parseData(c)
			found = append(found, d)
		}
	}
	return found
}

// RFC 8260 section 2: "An SCTP implementation supporting user message interleaving is REQUIRED to support the
// coexistence of associations using DATA chunks and associations using I-DATA chunks." RFC 8260 section 2.2.1: "If
// user message interleaving support has been negotiated for an association, I-DATA chunks MUST be used for all user
// messages and DATA chunks MUST NOT be used."; "If user message interleaving support has not been negotiated for an
// association, DATA chunks MUST be used for all user messages and I-DATA chunks MUST NOT be used."
func TestKindOfChunks(t *testing.T) {
	for _, c := range []struct{ mine, peers bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		w := newWireEnd(t, func(cfg *Config) { cfg.NoInterleaving = !c.mine })
		init := initChunk{tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: 9, incoming: 9}
		if c.peers {
			init.ext = extIData
		}
		w.hear(0, appendInit(nil, typeInit, &init))
		in, _ := parseInit(w.say()[0].value)
		if offered := in.ext&extIData != 0 && in.ext&extIForwardTSN != 0; offered != c.mine {
			t.Errorf("%+v: offered %v", c, offered)
		}
		w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
		w.say()
		w.Open(w.now, ChannelConfig{})
		want := "DATA"
		if c.mine && c.peers {
			want = "I-DATA"
		}
		if got := names(w.say()); got != want {
			t.Errorf("%+v: sent %s, want %s", c, got, want)
		}
	}
}

// RFC 8260 section 2.2.3: "If I-DATA support has been negotiated for an association, the reception of a DATA chunk is a
// violation of the above rules and therefore the receiver of the DATA chunk MUST abort the association by sending an ABORT
// chunk."; "The same applies if I-DATA support has not been negotiated for an association and an I-DATA chunk is received."
func TestChunksOfTheWrongKind(t *testing.T) {
	for _, wrong := range []func() (*wireEnd, []byte){
		func() (*wireEnd, []byte) { return interleaving(t), data(0, 1, 0, whole, "x") },
		func() (*wireEnd, []byte) { return standing(t), iData(0, 1, 0, 0, whole, "x") },
	} {
		w, chunk := wrong()
		w.hear(w.myTag, chunk)
		if said := w.say(); names(said) != "ABORT" || causes(said)[0] != causeViolation || w.told() != "Closed" {
			t.Errorf("%s was answered by %s", name(chunkType(chunk[0])), names(said))
		}
	}
}

// RFC 8260 section 2.3.1: "The FORWARD-TSN chunk MUST be used in combination with the DATA chunk and MUST NOT be used in
// combination with the I-DATA chunk."; "The I-FORWARD-TSN chunk MUST be used in combination with the I-DATA chunk and MUST
// NOT be used in combination with the DATA chunk."; "If I-FORWARD-TSN support has been negotiated for an association, the
// reception of a FORWARD-TSN chunk is a violation of the above rules and therefore the receiver of the FORWARD-TSN chunk
// MUST abort the association by sending an ABORT chunk."
func TestForwardOfTheWrongKind(t *testing.T) {
	for _, wrong := range []func() (*wireEnd, []byte){
		func() (*wireEnd, []byte) { return interleaving(t), forward(1) },
		func() (*wireEnd, []byte) { return standing(t), iForward(1) },
	} {
		w, chunk := wrong()
		w.hear(w.myTag, chunk)
		if said := w.say(); names(said) != "ABORT" || causes(said)[0] != causeViolation || w.told() != "Closed" {
			t.Errorf("%s was answered by %s", name(chunkType(chunk[0])), names(said))
		}
	}
}

// RFC 8260 section 2.2.2: "The first fragment MUST have the B bit set."; "The last fragment MUST have the E bit set."; "All
// other fragments MUST NOT have the B or E bit set."; "The sender MUST NOT process (move user data into I-DATA chunks and
// assign a TSN to it) more than one user message in any given stream at any time."; "The sender MUST assign TSNs to I-DATA
// chunks in a way that the receiver can make progress." Section 2.1, on the reserved bits and the field: "They MUST be set
// to 0 by the sender and MUST be ignored by the receiver."; "It MUST be set to 0 by the sender and MUST be ignored by the
// receiver."; "The last fragment of a message MUST have the E bit set."
func TestInterleavedSending(t *testing.T) {
	w := interleaving(t, 2, 4)
	for range 2 {
		w.Send(w.now, 2, false, make([]byte, 3000))
		w.Send(w.now, 4, false, make([]byte, 3000))
	}
	said := w.say()
	var order []string
	at := map[StreamID][2]int64{} // MID, and the next FSN
	tsn := w.myTSN
	for i, d := range parsed(said) {
		order = append(order, fmt.Sprint(d.stream))
		v := said[i].value
		if d.flags&0xf0 != 0 || v[6] != 0 || v[7] != 0 {
			t.Errorf("chunk %d has the flags %#x and the reserved field %x", i, d.flags, v[6:8])
		}
		if d.tsn != tsn {
			t.Errorf("chunk %d has TSN %d, want %d", i, d.tsn, tsn)
		}
		tsn++
		want := at[d.stream]
		if int64(d.number) != want[0] || int64(d.fragment) != want[1] {
			t.Errorf("stream %d: MID %d, FSN %d; want %v", d.stream, d.number, d.fragment, want)
		}
		if begins := d.flags&flagBegin != 0; begins != (want[1] == 0) {
			t.Errorf("FSN %d: the B bit is %v", want[1], begins)
		}
		want[1]++
		if d.flags&flagEnd != 0 {
			want = [2]int64{want[0] + 1, 0}
		}
		at[d.stream] = want
	}
	if got := strings.Join(order, " "); !strings.HasPrefix(got, "2 4 2 4 ") || at[2][0]+at[4][0] < 3 {
		t.Errorf("the streams of the chunks are %s", got)
	}
}

// RFC 8260 section 2.2.3: "Upon reception of an SCTP packet containing an I-DATA chunk whose user message needs to be
// reassembled, the receiver MUST first use the SID to identify the stream, consider the U bit to determine if it is part of
// an ordered or unordered message, find the user message identified by the MID, and use the FSN for reassembly of the
// message and not the TSN."; "The receiver MUST NOT make any assumption about the TSN assignments of the sender."
func TestInterleavedReassembly(t *testing.T) {
	w := interleaving(t, 2, 4)
	for _, step := range []struct {
		chunk []byte
		want  []string
	}{
		{iData(0, 2, 0, 0, flagBegin, "a0"), nil},
		{iData(1, 4, 0, 0, flagBegin, "b0"), nil},
		{iData(2, 2, 0, 0, flagBegin|flagUnordered, "u0"), nil},
		{iData(9, 2, 0, 2, flagEnd, "a2"), nil},                              // with the TSN of a later one
		{iData(5, 2, 0, 1, flagEnd|flagUnordered, "u1"), []string{"2:u0u1"}}, // the same SID and MID
		{iData(3, 2, 1, 0, whole, "c"), nil},                                 // waits for its turn
		{iData(4, 4, 0, 1, flagEnd|0xf0, "b1"), []string{"4:b0b1"}},          // reserved bits are ignored
		{iData(7, 2, 0, 1, 0, "a1"), []string{"2:a0a1a2", "2:c"}},
		{iData(8, 2, 1<<31, 0, whole|flagUnordered, "v"), []string{"2:v"}},
	} {
		w.hear(w.myTag, step.chunk)
		if got := w.reads(); !slices.Equal(got, step.want) {
			t.Errorf("delivered %q, want %q", got, step.want)
		}
	}
	if w.receive.held != 0 || w.inconsistency(0) != "" {
		t.Errorf("%d bytes are held; %s", w.receive.held, w.inconsistency(0))
	}
}

// What cannot be parts of one message ends the association.
func TestPartsThatDoNotFit(t *testing.T) {
	for name, chunks := range map[string][][]byte{
		"twice the same":  {iData(0, 2, 0, 1, 0, "x"), iData(1, 2, 0, 1, 0, "x")},
		"two ends":        {iData(0, 2, 0, 1, flagEnd, "x"), iData(1, 2, 0, 3, flagEnd, "x")},
		"after the end":   {iData(0, 2, 0, 1, flagEnd, "x"), iData(1, 2, 0, 2, 0, "x")},
		"an end before":   {iData(0, 2, 0, 5, 0, "x"), iData(1, 2, 0, 3, flagEnd, "x")},
		"FSN 0, no B bit": {iData(0, 2, 0, 0, 0, "x")},
		"twice the B bit": {iData(0, 2, 0, 0, flagBegin, "x"), iData(1, 2, 0, 0, flagBegin, "x")},
	} {
		w := interleaving(t, 2)
		w.hear(w.myTag, chunks...)
		if got := names(w.say()); got != "ABORT" {
			t.Errorf("%s: answered by %q", name, got)
		}
	}
}

// RFC 8260 section 2: "If an SCTP implementation supports user message interleaving and the Partial Reliability
// extension described in [RFC3758] or the Stream Reconfiguration Extension described in [RFC6525], it is REQUIRED to
// implement the corresponding changes specified in Section 2.3."; RFC 8260 section 2.3.1: "It MUST be set to 0 by the
// sender and MUST be ignored by the receiver." RFC 8260 section 2.3.1: "When the SCTP extension defined in [RFC3758]
// is used in combination with the user message interleaving extension, the new I-FORWARD-TSN chunk MUST be used instead
// of the FORWARD-TSN chunk."; on its flags and reserved bits: "They MUST be set to 0 by the sender and MUST be ignored
// by the receiver."
func TestInterleavedForward(t *testing.T) {
	w := interleaving(t, 2, 4)
	// Of each kind one message is given up of which a part has come, and what follows has come.
	w.hear(w.myTag, iData(1, 2, 0, 1, 0, "a1"), iData(2, 2, 0, 1, flagUnordered, "u1"), iData(3, 2, 1, 0, whole, "b"))
	w.hear(w.myTag, iData(4, 4, 0, 0, flagBegin, "kept0"), iData(6, 2, 1, 0, flagBegin|flagUnordered, "v0"))
	if got := w.reads(); got != nil {
		t.Errorf("delivered %q", got)
	}
	f := iForward(5, [3]int{2, 0xfffe, 0}, [3]int{2, 1, 0}) // the reserved bits are ignored
	f[1] = 0xff
	w.hear(w.myTag, f)
	if got := w.reads(); !slices.Equal(got, []string{"2:b"}) {
		t.Errorf("delivered %q, want b", got)
	}
	// What comes of them after all is thrown away, what was not given up is finished.
	w.hear(w.myTag, iData(7, 2, 0, 2, 0, "a2"), iData(8, 2, 0, 2, flagUnordered, "u2"))
	w.hear(w.myTag, iData(9, 2, 1, 1, flagEnd|flagUnordered, "v1"), iData(10, 4, 0, 1, flagEnd, "kept1"))
	if got := w.reads(); !slices.Equal(got, []string{"2:v0v1", "4:kept0kept1"}) {
		t.Errorf("delivered %q", got)
	}
	if w.receive.held != 0 || w.receive.cumulative != peersTSN+10 {
		t.Errorf("%d bytes are held, up to %d has come", w.receive.held, w.receive.cumulative-peersTSN)
	}
}

// The sender's side: what is given up is named by stream, kind and MID, for ordered and unordered messages.
func TestInterleavedGivingUp(t *testing.T) {
	w := interleaving(t)
	for i, unordered := range []bool{false, true} {
		w.Open(w.now, ChannelConfig{Negotiated: true, ID: StreamID(2 + 2*i), Reliability: MaxRetransmits, Unordered: unordered})
		w.Send(w.now, StreamID(2+2*i), false, make([]byte, 2000))
	}
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 6})
	for range 4 {
		w.Send(w.now, 6, false, make([]byte, 900))
	}
	sent := parsed(w.say())
	last := 0
	for i, d := range sent {
		if d.stream != 6 {
			last = i
		}
	}
	// Nothing of the two has come, and all that was sent after them.
	for i := last + 1; i < len(sent); i++ {
		w.hear(w.myTag, w.sack(-1, [2]int{last + 2, i + 1}))
	}
	w.wait()
	var got [][]byte
	for _, c := range w.say() {
		switch c.kind {
		case typeIForwardTSN:
			for r := wire.NewReader(c.value[4:]); r.Len() > 0; {
				got = append(got, slices.Clone(r.Bytes(8)))
			}
			if c.flags != 0 {
				t.Errorf("the flags are %#x", c.flags)
			}
		case typeForwardTSN:
			t.Error("FORWARD-TSN was sent")
		}
		if len(got) == 2 {
			break
		}
	}
	if len(got) < 2 || string(got[0]) != "\x00\x02\x00\x00\x00\x00\x00\x00" || string(got[1]) != "\x00\x04\x00\x01\x00\x00\x00\x00" {
		t.Errorf("skipped: %x", got)
	}
	if w.stats.MessagesAbandoned != 2 {
		t.Errorf("%d were given up", w.stats.MessagesAbandoned)
	}
}

// RFC 8260 section 2.3.2: "When an association resets the SSN using the SCTP extension defined in [RFC6525], the two
// counters (one for the ordered messages, one for the unordered messages) used for the MIDs MUST be reset to 0."
func TestResetOfMIDs(t *testing.T) {
	d := newDuo(t, lan).connect()
	for round := range 3 {
		id := d.a.opens(ChannelConfig{Negotiated: true, ID: 8, Unordered: round == 1})
		d.b.opens(ChannelConfig{Negotiated: true, ID: 8, Unordered: round == 1})
		if got := d.a.channels[id].numbers; got != [2]uint32{} {
			t.Errorf("round %d begins with %v", round, got)
		}
		d.b.got[id] = nil
		for i := range 5 {
			d.a.sends(id, fmt.Sprint(i, strings.Repeat(".", 2000)))
		}
		d.until("delivered", func() bool { return len(d.b.got[id]) == 5 })
		d.a.closes(id)
		d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 })
	}
}

// RFC 8260 section 2.2.2: "All other properties of the existing SCTP DATA chunk also apply to the I-DATA chunk, i.e.,
// congestion control as well as receiver window conditions MUST be observed, as defined in [RFC4960]." RFC 8260
// section 2.2.2: "All other properties of the existing SCTP DATA chunk also apply to the I-DATA chunk, i.e., congestion
// control as well as receiver window conditions MUST be observed": the peer must have room to finish what was begun, or
// it could finish nothing.
func TestNoMoreIsBegunThanThePeerHasRoomFor(t *testing.T) {
	const channels, size = 40, 100 << 10
	d := newDuo(t, simnet.Path{Delay: 5 * time.Millisecond, Loss: 0.01}, func(cfg *Config) {
		cfg.MaxMessageSize, cfg.ReceiveBuffer = size, 1
	}).connect()
	if window := d.b.cfg.ReceiveBuffer; channels*size < 2*window {
		t.Fatalf("the window is %d", window)
	}
	for range channels {
		id := d.a.opens(ChannelConfig{})
		d.a.Send(d.a.now(), id, false, make([]byte, size))
	}
	d.a.driver.Poll()
	d.until("delivered", func() bool { return len(d.b.got) == channels })
}

// RFC 8260 section 3: "If the implementation is used for WebRTC data channels, as specified in [DATA-CHAN], it MUST
// implement the Weighted Fair Queueing Scheduler defined in Section 3.6." RFC 8831 section 6.4, with RFC 8260 section
// 3.6: a large message in one channel does not delay a small one in another: with interleaving it goes next, without it
// goes at the next boundary of messages.
func TestSmallMessagesOvertakeLargeOnes(t *testing.T) {
	for _, interleaved := range []bool{true, false} {
		t.Run(fmt.Sprint("interleaved ", interleaved), func(t *testing.T) {
			d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond, Rate: 10e6, Queue: 31_000}, func(cfg *Config) {
				cfg.NoInterleaving = !interleaved
			}).connect()
			bulk, game := d.a.opens(ChannelConfig{Priority: 128}), d.a.opens(ChannelConfig{Priority: 1024})
			d.net.Run(time.Second)
			size := 16 << 10
			if interleaved {
				size = 256 << 10
			}
			for range 8 << 20 / size {
				d.a.Send(d.a.now(), bulk, false, make([]byte, size))
			}
			d.a.driver.Poll()
			d.net.Run(100 * time.Millisecond)
			// What is in chunks goes first; of what is not, no more than the rest of a message.
			for range 50 {
				d.net.Run(20 * time.Millisecond)
				before := d.a.BufferedAmount(bulk)
				d.a.Send(d.a.now(), game, false, []byte("shot"))
				for d.a.BufferedAmount(game) > 0 {
					d.a.driver.Poll()
					d.net.Run(time.Millisecond)
				}
				most := 3 * d.a.cfg.MaxPacket
				if !interleaved {
					most += size
				}
				if passed := before - d.a.BufferedAmount(bulk); passed > most {
					t.Errorf("%d bytes of bulk went before a small message", passed)
				}
			}
		})
	}
}

// The scenarios of every kind of path, without interleaving; the others have it.
func TestScenariosWithoutInterleaving(t *testing.T) {
	t.Parallel()
	p := simnet.Path{
		Delay: 25 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.05,
		Reorder: 0.1, ReorderBy: 30 * time.Millisecond, Duplicate: 0.1,
	}
	d := newDuo(t, p, func(cfg *Config) { cfg.NoInterleaving = true }).connect()
	exchange(t, d, 60, func(i int) int { return 16 + i*i*20 }, longest(p))
	over(t, d)
}
