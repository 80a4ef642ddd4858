package sctp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// wireEnd is an association that a test talks to packet by packet, in the place of the peer.
type wireEnd struct {
	*Association
	t   *testing.T
	now mono.Time
}

// Tags and TSN of the peer that the test plays.
const (
	peersTag = 0xbeef
	peersTSN = 5000
)

func newWireEnd(t *testing.T, configure ...func(*Config)) *wireEnd {
	t.Helper()
	cfg := Config{Rand: entropy(7), Server: true, MaxPacket: 1160} // no path MTU discovery
	for _, c := range configure {
		c(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &wireEnd{a, t, 1e9}
}

// standing returns an association that the test has begun and finished the handshake with.
func standing(t *testing.T, configure ...func(*Config)) *wireEnd {
	t.Helper()
	w := newWireEnd(t, configure...)
	w.hear(0, peersInit())
	ack := w.say()
	if len(ack) != 1 || ack[0].kind != typeInitAck {
		t.Fatalf("INIT was answered by %v", names(ack))
	}
	in, _ := parseInit(ack[0].value)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	if got := names(w.say()); got != "COOKIE-ACK" {
		t.Fatalf("COOKIE ECHO was answered by %s", got)
	}
	if e, ok := w.NextEvent(); !ok || e.Kind != Established {
		t.Fatalf("the event is %+v", e)
	}
	return w
}

func peersInit() []byte {
	return appendInit(nil, typeInit, &initChunk{tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: maxStreams, incoming: maxStreams})
}

// hear gives the association a packet with chunks.
func (w *wireEnd) hear(tag uint32, chunks ...[]byte) {
	p := appendHeader(nil, 5000, 5000, tag)
	for _, c := range chunks {
		p = append(p, c...)
	}
	putChecksum(p)
	w.HandlePacket(w.now, p)
}

// say returns the chunks of all packets that the association has to send.
func (w *wireEnd) say() (chunks []chunk) {
	w.t.Helper()
	for {
		p := w.AppendPacket(nil, w.now)
		if len(p) == 0 {
			return chunks
		}
		r := wire.NewReader(p[headerSize:])
		for r.Len() > 0 {
			c, ok := nextChunk(&r)
			if !ok {
				w.t.Fatalf("a packet that cannot be parsed: %x", p)
			}
			chunks = append(chunks, c)
		}
	}
}

// wait lets time pass until the next timer, and handles it.
func (w *wireEnd) wait() {
	w.now = max(w.now, w.NextTimeout())
	w.HandleTimeout(w.now)
}

// told returns the kinds of all events.
func (w *wireEnd) told() string {
	var s []string
	for {
		e, ok := w.NextEvent()
		if !ok {
			return strings.Join(s, " ")
		}
		s = append(s, e.Kind.String())
	}
}

func names(chunks []chunk) string {
	var s []string
	for _, c := range chunks {
		s = append(s, name(c.kind))
	}
	return strings.Join(s, " ")
}

func name(k chunkType) string {
	known := map[chunkType]string{
		typeData: "DATA", typeInit: "INIT", typeInitAck: "INIT-ACK", typeSack: "SACK", typeHeartbeat: "HEARTBEAT",
		typeHeartbeatAck: "HEARTBEAT-ACK", typePad: "PAD", typeAbort: "ABORT", typeShutdown: "SHUTDOWN", typeShutdownAck: "SHUTDOWN-ACK",
		typeError: "ERROR", typeCookieEcho: "COOKIE-ECHO", typeCookieAck: "COOKIE-ACK",
		typeShutdownComplete: "SHUTDOWN-COMPLETE", typeReconfig: "RE-CONFIG", typeForwardTSN: "FORWARD-TSN",
		typeIData: "I-DATA", typeIForwardTSN: "I-FORWARD-TSN",
	}
	if s := known[k]; s != "" {
		return s
	}
	return fmt.Sprint("chunk-", uint8(k))
}

// data is a DATA chunk of the peer.
func data(offset int, stream StreamID, ssn uint16, flags uint8, payload string) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(offset))
	v = wire.AppendUint16(v, uint16(stream))
	v = wire.AppendUint16(v, ssn)
	v = wire.AppendUint32(v, ppidBinary)
	return appendChunk(nil, typeData, flags, append(v, payload...))
}

const whole = flagBegin | flagEnd

// sack is a SACK of the peer: the cumulative TSN as an offset from the association's first, and gap blocks.
func (w *wireEnd) sack(offset int, gaps ...[2]int) []byte { return w.report(offset, nil, gaps...) }

// report is such a SACK that tells of duplicates too.
func (w *wireEnd) report(offset int, duplicates []int, gaps ...[2]int) []byte {
	v := wire.AppendUint32(nil, w.myTSN+uint32(offset))
	v = wire.AppendUint32(v, 1<<20)
	v = wire.AppendUint16(v, uint16(len(gaps)))
	v = wire.AppendUint16(v, uint16(len(duplicates)))
	for _, g := range gaps {
		v = wire.AppendUint16(v, uint16(g[0]))
		v = wire.AppendUint16(v, uint16(g[1]))
	}
	for _, d := range duplicates {
		v = wire.AppendUint32(v, w.myTSN+uint32(d))
	}
	return appendChunk(nil, typeSack, 0, v)
}

// sackOf returns the SACK among chunks: its cumulative TSN as an offset from the peer's first, its gaps and duplicates.
func sackOf(t *testing.T, chunks []chunk) (cumulative int, gaps [][2]int, duplicates int, window int) {
	t.Helper()
	for _, c := range chunks {
		if c.kind != typeSack {
			continue
		}
		s, ok := parseSack(c.value)
		if !ok {
			t.Fatal("the SACK cannot be parsed")
		}
		for range s.gapCount {
			gaps = append(gaps, [2]int{int(s.gaps.Uint16()), int(s.gaps.Uint16())})
		}
		return int(s.cumulative) - peersTSN, gaps, (len(c.value) - 12 - 4*s.gapCount) / 4, int(s.window)
	}
	t.Fatalf("there is no SACK among %s", names(chunks))
	return
}

// causes returns the causes of the ABORT or ERROR among chunks.
func causes(chunks []chunk) (found []causeCode) {
	for _, c := range chunks {
		if c.kind != typeAbort && c.kind != typeError {
			continue
		}
		r := wire.NewReader(c.value)
		for {
			p, ok := nextParam(&r)
			if !ok {
				break
			}
			found = append(found, causeCode(p.kind))
		}
	}
	return found
}

// unfinished returns how many messages of DATA are held of which something is missing, and parts of others.
func (rx *receiver) unfinished() int {
	n := len(rx.open) + len(rx.early)
	if rx.current != nil {
		n++
	}
	return n
}
