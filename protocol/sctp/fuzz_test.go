package sctp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// inconsistency returns what does not fit together in a, or "". Messages that were told of and not consumed count as
// unread.
func (a *Association) inconsistency(unread int) string {
	s, rx := &a.send, &a.receive
	if a.state == stateDone {
		if s.outstanding != 0 || len(s.chunks) != 0 || rx.held != 0 || a.NextTimeout() != mono.Never {
			return "it is over, and still holds something"
		}
		return ""
	}
	told := unread
	outstanding, lost, held := 0, 0, 0
	buffered, begun, padding := 0, 0, 0
	for tsn := s.acked + 1; tsn < s.next; tsn++ {
		c := s.at(tsn)
		switch c.fate {
		case flying:
			outstanding += c.size
		case missing:
			lost++
			if tsn < s.lowest {
				return fmt.Sprintf("TSN %d is missing, and the lowest is said to be %d", tsn, s.lowest)
			}
		case arrived:
			held++
		}
		if (c.fate == flying || c.fate == missing) && tsn < s.first {
			return fmt.Sprintf("TSN %d is outstanding, and the first is said to be %d", tsn, s.first)
		}
		if c.m.chunks <= 0 {
			return "a chunk belongs to a message that has none"
		}
	}
	for _, ch := range a.channels {
		sum := 0
		for m := ch.first; m != nil; m = m.next {
			if m.counts() {
				sum += len(m.data) - m.cut
			}
			padding += m.padding()
			if m.cut > 0 {
				begun += len(m.data)
				if m != ch.first {
					return "a message was begun that is not the first"
				}
			}
		}
		if sum != ch.buffered {
			return fmt.Sprintf("channel %d has buffered %d bytes and says %d", ch.id, sum, ch.buffered)
		}
		buffered += sum
		for i, m := range ch.early {
			unread += cost(len(m.data))
			if seqnum.Before(m.number, ch.expected) || seqnum.Before(m.number, ch.early[max(0, (i-1)/2)].number) {
				return "the early messages are not in order"
			}
		}
	}
	partly := func(m *assembly) {
		unread += m.cost()
		waiting := 0
		for _, part := range m.ahead {
			unread += cost(len(part))
			waiting += len(part)
		}
		if waiting != m.waiting {
			unread = -1
		}
	}
	partial := 0
	for _, ch := range a.channels {
		partial += len(ch.partial)
		for i, m := range ch.partial {
			partly(m)
			if at, known := ch.partial.find(m.unordered, m.number); !known || at != i || m.stream != ch.id {
				return fmt.Sprintf("a message on stream %d, known as the message %d of channel %d, is found at %d", m.stream, i, ch.id, at)
			}
		}
	}
	if partial != rx.partial || partial > maxPartial {
		return fmt.Sprintf("of %d messages something is missing, not of %d", partial, rx.partial)
	}
	if rx.current != nil {
		partly(rx.current)
	}
	for next, m := range rx.open {
		if partly(m); next != m.next || rx.has(next) {
			return fmt.Sprintf("a message that goes on with %d is known by %d, of which has come: %v", m.next, next, rx.has(next))
		}
	}
	for tsn, d := range rx.early {
		unread += cost(len(d.payload))
		if tsn <= rx.cumulative {
			return fmt.Sprintf("a part waits for what will not come: %d of %d", tsn, rx.cumulative)
		}
	}
	switch {
	case padding != s.padding:
		return fmt.Sprintf("the padding is %d, not %d", padding, s.padding)
	case begun != s.begun:
		return fmt.Sprintf("%d bytes of messages were begun, not %d", begun, s.begun)
	case outstanding != s.outstanding:
		return fmt.Sprintf("%d bytes are flying, %d are said to be outstanding", outstanding, s.outstanding)
	case lost != s.missing || held != s.arrived:
		return fmt.Sprintf("%d are missing, not %d; %d have arrived, not %d", lost, s.missing, held, s.arrived)
	case buffered != s.buffered:
		return fmt.Sprintf("%d bytes are buffered, not %d", buffered, s.buffered)
	case s.next > s.acked+1 && a.timer[timerRetransmit] == mono.Never && s.missing == 0:
		return "something is under way, and no timer runs"
	case s.advanced < s.acked || s.advanced >= s.next:
		return "the advanced point is outside"
	}
	for _, o := range a.orphans {
		unread += cost(len(o.m.data))
	}
	for _, e := range a.events.events[a.events.head:] {
		if e.kind == Message {
			told += cost(len(e.data))
			unread += cost(len(e.data))
		}
	}
	if told != rx.unread {
		return fmt.Sprintf("%d bytes are unread, not %d", told, rx.unread)
	}
	if unread != rx.held {
		return fmt.Sprintf("%d is held, not %d", unread, rx.held)
	}
	last := rx.cumulative
	for _, g := range rx.gaps {
		if g.from <= last+1 || g.to < g.from {
			return fmt.Sprintf("the gaps %v after %d", rx.gaps, rx.cumulative)
		}
		last = g.to
	}
	return ""
}

// The numbers fit together all through a conversation over a bad path.
func TestConsistency(t *testing.T) {
	for seed := range uint64(8) {
		a, b := quietPair(t, 100)
		ends := [2]*Association{a, b}
		now := mono.Time(2e9)
		chance := entropy(seed)
		var ids []StreamID
		for i := range 4 {
			id, err := a.Open(now, ChannelConfig{Unordered: i%2 == 1, Reliability: Reliability(i % 3), Limit: uint32(i * 30)})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		type late struct {
			at     mono.Time
			to     int
			packet []byte
		}
		var flying []late
		for range 1500 {
			for i, e := range ends {
				if chance.Uint64()%4 == 0 {
					e.Send(now, ids[chance.Uint64()%4], false, make([]byte, chance.Uint64()%5000))
				}
				for {
					p := e.AppendPacket(nil, now)
					if len(p) == 0 {
						break
					}
					if chance.Uint64()%8 != 0 {
						flying = append(flying, late{now.Add(time.Duration(5+chance.Uint64()%10) * time.Millisecond), 1 - i, p})
					}
				}
				for {
					ev, ok := e.NextEvent()
					if !ok {
						break
					}
					if ev.Kind == Message {
						e.Consume(len(ev.Data))
					}
				}
				if e.NextTimeout() <= now {
					e.HandleTimeout(now)
				}
				if what := e.inconsistency(0); what != "" {
					t.Fatalf("seed %d, end %d: %s", seed, i, what)
				}
			}
			kept := flying[:0]
			for _, f := range flying {
				if f.at > now {
					kept = append(kept, f)
					continue
				}
				ends[f.to].HandlePacket(now, f.packet)
				if what := ends[f.to].inconsistency(0); what != "" {
					t.Fatalf("seed %d, end %d after a packet: %s", seed, f.to, what)
				}
			}
			flying = kept
			now = now.Add(2 * time.Millisecond)
		}
		if a.Stats().MessagesReceived < 50 || a.Stats().ChunksRetransmitted == 0 || a.Stats().MessagesAbandoned == 0 {
			t.Errorf("seed %d: too little happened: %+v", seed, a.Stats())
		}
	}
}

// FuzzAssociation feeds packets with right tags and checksums to an association in one of its states. The input is a
// byte for the state and then chunks, each packet after a byte with its number of chunks; a byte of 0 lets time pass
// until the next timer.
func FuzzAssociation(f *testing.F) {
	seed := func(state byte, packets ...[][]byte) {
		b := []byte{state}
		for _, p := range packets {
			b = append(b, byte(len(p)))
			for _, c := range p {
				b = append(b, c...)
			}
		}
		f.Add(b)
	}
	ack := func(offset int, gaps ...[2]int) []byte {
		w := &wireEnd{Association: &Association{myTSN: fuzzTSN}}
		return w.sack(offset, gaps...)
	}
	one := func(c ...[]byte) [][]byte { return c }
	seed(0, one(peersInit()), one(), one())
	seed(1, one(appendInit(nil, typeInitAck, &initChunk{tag: 9, window: 9999, outgoing: 9, incoming: 9, cookie: []byte("cookie")})), one(), one(appendChunk(nil, typeCookieAck, 0, nil)))
	seed(2, one(data(0, 2, 0, whole, "hello"), data(2, 2, 1, flagBegin, "x")), one(data(1, 2, 1, flagEnd, "y")), one())
	seed(2, one(ack(0)), one(ack(1, [2]int{2, 3})), one(ack(1, [2]int{2, 4})), one(ack(1, [2]int{2, 5})), one(), one())
	seed(2, one(forward(3, [2]int{2, 1}, [2]int{4, 1})), one(resetRequest(0, 3, 2)), one(resetResponse(fuzzTSN, performed)))
	seed(2, one(appendChunk(nil, typeHeartbeat, 0, []byte{0, 1, 0, 4}), appendChunk(nil, typeError, 0, nil)), one(appendChunk(nil, typeAbort, 0, nil)))
	seed(3, one(appendChunk(nil, typeShutdown, 0, []byte{0, 0, 0, 1})), one(appendChunk(nil, typeShutdownAck, 0, nil)), one(appendChunk(nil, typeShutdownComplete, 0, nil)))
	seed(2, one(data(2, 2, 0, 0, "c"), data(0, 2, 0, flagBegin, "a"), data(3, 2, 0, flagEnd, "d")), one(data(1, 2, 0, 0, "b")), one(data(5, 2, 1, 0, "f")), one(forward(4, [2]int{2, 1})))
	const interleaved = 4
	seed(interleaved+2, one(iData(0, 2, 0, 2, 0, "c"), iData(1, 2, 0, 0, flagBegin, "a"), iData(2, 2, 1, 0, flagBegin, "x")), one(iData(3, 2, 0, 3, flagEnd, "d")), one(iData(4, 2, 0, 1, 0, "b")), one(iForward(5, [3]int{2, 0, 1})))
	seed(interleaved+2, one(iData(0, 2, 0, 0, flagBegin, "a"), iData(1, 4, 0, 0, flagBegin|flagUnordered, "b")), one(iData(2, 2, 0, 1, flagEnd, "c")), one(iForward(3, [3]int{4, 1, 0})), one())
	seed(interleaved+2, one(ack(0)), one(ack(1, [2]int{2, 3})), one(ack(1, [2]int{2, 4})), one(), one(), one())
	seed(interleaved+3, one(iData(0, 9, 7, 3, 0, "x")), one(reconfig(asks(paramIncomingReset, 0, 2, 4))), one(reconfig(asks(paramAddOutgoing, 1, 9, 0), asks(paramAddIncoming, 2, 9, 0))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 3000 {
			return
		}
		w := fuzzed(t, b[0]%4, b[0]&interleaved != 0)
		r := wire.NewReader(b[1:])
		for r.Len() > 0 {
			count := r.Uint8()
			if count == 0 {
				if next := w.NextTimeout(); next != mono.Never {
					w.now = max(w.now, next)
					w.HandleTimeout(w.now)
				}
			}
			p := appendHeader(nil, 5000, 5000, w.myTag)
			for range min(count, 8) {
				c, ok := nextChunk(&r)
				if !ok {
					p = append(p, r.Rest()...)
					break
				}
				if c.kind == typeInit {
					binary.BigEndian.PutUint32(p[4:], 0)
				}
				p = append(p, c.whole...)
				p = wire.AppendZeros(p, wire.Pad4(len(c.whole)))
			}
			putChecksum(p)
			w.HandlePacket(w.now, p)
			sent := 0
			for {
				p := w.AppendPacket(nil, w.now)
				if len(p) == 0 {
					break
				}
				if sent++; sent > 10_000 || len(p) > w.cfg.MaxPacket {
					t.Fatalf("packet %d has %d bytes", sent, len(p))
				}
			}
			for {
				e, ok := w.NextEvent()
				if !ok {
					break
				}
				if e.Kind == Message {
					w.Consume(len(e.Data))
				}
			}
			if what := w.inconsistency(0); what != "" {
				t.Fatal(what)
			}
			if next := w.NextTimeout(); next <= w.now {
				w.HandleTimeout(w.now)
				if w.NextTimeout() <= w.now {
					t.Fatal("a timer does not move on")
				}
			}
		}
	})
}

// fuzzTSN is the first TSN of the association that is fuzzed.
const fuzzTSN = 1000

// fuzzed returns an association in one of its states, with messages under way.
func fuzzed(t *testing.T, state byte, interleave bool) *wireEnd {
	w := newWireEnd(t, func(cfg *Config) {
		cfg.MaxMessageSize, cfg.ReceiveBuffer, cfg.SendBuffer, cfg.MaxChannels = 4096, 1<<14, 1<<16, 8
	})
	w.myTag, w.myTSN = 1, fuzzTSN
	w.start(fuzzTSN)
	w.reset.next = fuzzTSN
	open := func() {
		for i, cfg := range []ChannelConfig{{}, {Unordered: true, Reliability: MaxRetransmits}, {Reliability: MaxLifetime, Limit: 500}} {
			cfg.Negotiated, cfg.ID = true, StreamID(2*i)
			id, err := w.Open(w.now, cfg)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.Send(w.now, id, false, make([]byte, 2000))
			}
		}
	}
	if state == 0 {
		return w
	}
	if state == 1 {
		open()
		w.Connect(w.now)
		return w
	}
	init := initChunk{tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: 1000, incoming: 1000}
	if interleave {
		init.ext = extIData | extIForwardTSN
	}
	w.hear(0, appendInit(nil, typeInit, &init))
	in, _ := parseInit(w.say()[0].value)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	open()
	w.say()
	if state == 3 {
		w.Shutdown(w.now)
	}
	return w
}

// FuzzChunks parses what may be chunks, as each kind that has a parser: they must not read beyond, and what was made must
// be understood.
func FuzzChunks(f *testing.F) {
	for _, c := range [][]byte{
		peersInit(), data(0, 2, 0, whole, "hello"), iData(0, 2, 0, 1, flagEnd, "hello"), forward(3, [2]int{2, 1}), iForward(3, [3]int{2, 1, 1}),
		resetRequest(0, 3, 2), reconfig(asks(paramAddOutgoing, 0, 1, 0)), appendOpen(nil, &ChannelConfig{Label: "x", Protocol: "y"}),
	} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := wire.NewReader(b); ; {
			c, ok := nextChunk(&r)
			if !ok {
				break
			}
			if len(c.value) != len(c.whole)-4 {
				t.Fatalf("a chunk of %d bytes has a value of %d", len(c.whole), len(c.value))
			}
			for p := wire.NewReader(c.value); ; {
				if _, ok := nextParam(&p); !ok {
					break
				}
			}
			if in, ok := parseInit(c.value); ok {
				again, ok := parseInit(appendInit(nil, typeInit, &in)[4:])
				if !ok || again.tag != in.tag || again.tsn != in.tsn || again.window != in.window {
					t.Fatalf("%+v became %+v", in, again)
				}
			}
			parseData(c)
			if s, ok := parseSack(c.value); ok {
				for range s.gapCount {
					s.gaps.Uint16()
					s.gaps.Uint16()
				}
				if !s.gaps.OK() {
					t.Fatal("the gaps of a SACK are not there")
				}
			}
		}
		if c, ok := parseOpen(b); ok {
			again, ok := parseOpen(appendOpen(nil, &c))
			if c.Priority == 0 {
				c.Priority = 256
			}
			if !ok || again != c {
				t.Fatalf("%+v became %+v", c, again)
			}
		}
		parseDescribed(b)
	})
}

// FuzzConversation lets two ends of ours talk while the input decides what their programs do, and what the network does:
// each byte is a deed. Both must hold together all the way, and nothing may come that was not sent.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{0, 0, 3, 3, 9, 17, 25, 0, 0, 4, 5, 0, 0, 0})
	f.Add([]byte{0xff, 0, 0, 8, 16, 24, 32, 40, 6, 6, 0, 7, 7, 0, 1, 1, 0, 2, 0, 0})
	f.Add([]byte("a conversation about this and that, and about closing what was opened"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 2 || len(script) > 600 {
			return
		}
		converse(t, script)
	})
}

func converse(t *testing.T, script []byte) {
	var ends [2]*Association
	for i := range ends {
		var err error
		if ends[i], err = New(Config{
			Rand: entropy(uint64(i)), Server: i == 1, NoInterleaving: script[0]>>i&1 == 1, ZeroChecksum: script[0]>>2&1 == 1,
			MaxMessageSize: 8192, ReceiveBuffer: 1, SendBuffer: 64 << 10, MaxChannels: 16,
		}); err != nil {
			t.Fatal(err)
		}
	}
	now := mono.Time(1e9)
	ends[0].Connect(now)
	if script[0]>>3&1 == 1 {
		ends[1].Connect(now)
	}
	var held [2][]byte // a packet that is late
	unread := [2][]int{}
	exchange := func(lose, swap bool) {
		for i, e := range ends {
			for k := 0; ; k++ {
				p := e.AppendPacket(nil, now)
				if len(p) == 0 {
					break
				}
				if k > 5000 {
					t.Fatal("an end does not stop sending")
				}
				if lose && k%3 == 1 {
					continue
				}
				if swap && held[i] == nil {
					held[i] = p
					continue
				}
				ends[1-i].HandlePacket(now, p)
			}
			if !swap && held[i] != nil {
				ends[1-i].HandlePacket(now, held[i])
				held[i] = nil
			}
		}
	}
	for _, b := range script[1:] {
		i := int(b >> 3 & 1)
		e := ends[i]
		id := StreamID(b >> 4 & 7)
		switch b & 7 {
		case 0:
			exchange(false, false)
		case 1:
			exchange(true, false)
		case 2:
			exchange(false, true)
		case 3:
			e.Open(now, ChannelConfig{Unordered: b&16 != 0, Reliability: Reliability(b >> 5 % 3), Limit: uint32(b >> 6), Priority: uint16(b) * 4})
		case 4:
			e.Send(now, id, b&128 != 0, make([]byte, int(b)*int(b)%9000))
		case 5:
			e.Close(now, id)
		case 6:
			if next := min(ends[0].NextTimeout(), ends[1].NextTimeout()); next != mono.Never {
				now = max(now, next)
			}
		case 7:
			now = now.Add(time.Duration(b) * time.Millisecond)
			for _, n := range unread[i] {
				e.Consume(n)
			}
			unread[i] = nil
			if b == 0xff {
				e.Shutdown(now)
			}
		}
		for i, e := range ends {
			for e.NextTimeout() <= now {
				before := e.NextTimeout()
				e.HandleTimeout(now)
				if e.NextTimeout() <= before {
					t.Fatal("a timer does not move on")
				}
			}
			for {
				ev, ok := e.NextEvent()
				if !ok {
					break
				}
				if ev.Kind == Message {
					unread[i] = append(unread[i], len(ev.Data))
				}
				if ev.Kind == Closed {
					unread[i] = nil
				}
				var fault *Error
				if ev.Kind == Closed && errors.As(ev.Err, &fault) && strings.Contains(fault.Reason, "violated") {
					t.Fatalf("two of ours quarrel: %v", ev.Err)
				}
			}
			sum := 0
			for _, n := range unread[i] {
				sum += cost(n)
			}
			if what := e.inconsistency(sum); what != "" {
				t.Fatalf("end %d: %s", i, what)
			}
		}
	}
}
