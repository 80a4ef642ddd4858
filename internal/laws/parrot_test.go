package laws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A parrot sends words until they are acknowledged and tells the words that it hears. It keeps all laws but for the one
// that its flaw names.
//
//	'W' id(2) checksum(4) word     a word
//	'A' id(2) checksum(4)          its acknowledgement
//	'X' 0(2)  checksum(4)          the end
type parrot struct {
	flaw    string
	dead    bool
	nextID  uint16
	words   []word
	acks    []uint16
	told    []parrotEvent
	heard   map[uint16]bool
	goodbye bool // an 'X' is to be sent
	due     mono.Time
	crowd   []mono.Time // of the flaw that looks at everything on each poll
}

type word struct {
	id    uint16
	text  []byte
	fresh bool // to be sent at the next drain
	due   mono.Time
	tries int
}

type parrotEvent struct {
	Text    []byte
	Closing bool
}

func (e parrotEvent) String() string { return fmt.Sprintf("%q closing %v", e.Text, e.Closing) }

const (
	parrotWords  = 32
	parrotHeader = 7
	again        = 100 * time.Millisecond
)

func newParrot(flaw string, seed uint64) *parrot {
	p := &parrot{flaw: flaw, heard: map[uint16]bool{}, due: mono.Never, nextID: uint16(seed * 1000)}
	if flaw == "entropy" {
		p.nextID = uint16(rand.Uint32())
	}
	return p
}

var errParrot = errors.New("the parrot takes no more words")

func (p *parrot) Say(now mono.Time, text string) error {
	if p.dead || len(p.words) >= parrotWords && p.flaw != "hoards words" {
		return errParrot
	}
	p.nextID++
	w := word{id: p.nextID, text: []byte(text), fresh: true, due: now.Add(again)}
	if p.flaw == "one slot" {
		p.words = slices.DeleteFunc(p.words, func(w word) bool { return w.fresh })
	}
	p.words = append(p.words, w)
	p.due = mono.Min(p.due, w.due)
	return nil
}

// Die is the fatal error.
func (p *parrot) Die() {
	if p.dead {
		return
	}
	p.dead, p.goodbye = true, true
	p.words, p.acks = nil, nil
	switch p.flaw {
	case "dies in silence":
	case "dies twice":
		p.tell(parrotEvent{Closing: true})
		p.tell(parrotEvent{Closing: true})
	case "speaks after death":
		p.tell(parrotEvent{Closing: true})
		p.tell(parrotEvent{Text: []byte("boo")})
	default:
		p.tell(parrotEvent{Closing: true})
	}
	if p.flaw == "haunts" {
		p.due = mono.Time(1 << 62)
		return
	}
	p.rearm()
}

func (p *parrot) tell(e parrotEvent) {
	if len(p.told) < 64 || e.Closing || p.flaw == "hoards events" {
		p.told = append(p.told, e)
	}
}

func (p *parrot) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	b := d.Payload
	if p.dead {
		if p.flaw == "answers when dead" {
			p.goodbye = true
		}
		return
	}
	if p.flaw == "trusts lengths" {
		_ = b[parrotHeader-1]
	}
	if p.flaw == "hoards events" {
		p.tell(parrotEvent{Text: slices.Clone(b)})
	}
	if len(b) < parrotHeader || checksum(b[:3], b[parrotHeader:]) != binary.BigEndian.Uint32(b[3:]) {
		return
	}
	id := binary.BigEndian.Uint16(b[1:])
	switch b[0] {
	case 'W':
		if len(p.acks) < parrotWords {
			p.acks = append(p.acks, id)
		}
		if !p.heard[id] && len(p.heard) < 1000 {
			p.heard[id] = true
			text := slices.Clone(b[parrotHeader:])
			if p.flaw == "keeps what was lent" {
				text = b[parrotHeader:]
			}
			p.tell(parrotEvent{Text: text})
		}
	case 'A':
		p.words = slices.DeleteFunc(p.words, func(w word) bool { return w.id == id })
		p.rearm()
	case 'X':
		p.Die()
		p.goodbye = false
	}
}

func (p *parrot) HandleTimeout(now mono.Time) {
	if p.flaw == "spins" && now >= p.due {
		return
	}
	for i := range p.words {
		w := &p.words[i]
		if now >= w.due || p.flaw == "eager" {
			w.fresh = true
			w.tries++
			w.due = now.Add(again << min(w.tries, 6))
		}
	}
	if p.flaw != "haunts" || !p.dead {
		p.rearm()
	}
}

func (p *parrot) rearm() {
	p.due = mono.Never
	for _, w := range p.words {
		p.due = mono.Min(p.due, w.due)
	}
}

func (p *parrot) NextTimeout() mono.Time { return p.due }

var sink []byte

func (p *parrot) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	switch p.flaw {
	case "allocates when idle":
		sink = make([]byte, 100)
	case "looks at everybody":
		for i := range p.crowd {
			if p.crowd[i] < now {
				p.crowd[i] = now
			}
		}
	case "always more":
		return true
	}
	if p.flaw == "depends on a map" {
		byID := map[uint16]word{}
		for _, w := range p.words {
			byID[w.id] = w
		}
		p.words = p.words[:0]
		for _, w := range byID {
			p.words = append(p.words, w)
		}
	}
	for len(p.acks) > 0 {
		if !send(b, 'A', p.acks[0], nil) {
			return true
		}
		p.acks = slices.Delete(p.acks, 0, 1)
	}
	for i := range p.words {
		w := &p.words[i]
		if !w.fresh {
			continue
		}
		w.fresh = p.flaw == "chatters"
		if !send(b, 'W', w.id, w.text) {
			w.fresh = p.flaw != "loses the rest"
			return p.flaw != "hides the rest"
		}
		if w.fresh {
			return false
		}
	}
	if p.goodbye {
		if !send(b, 'X', 0, nil) {
			return true
		}
		p.goodbye = false
	}
	return false
}

func send(b *pkt.Batch, kind byte, id uint16, text []byte) bool {
	buf := b.Reserve(parrotHeader + len(text))
	if buf == nil {
		return false
	}
	buf = append(buf, kind, byte(id>>8), byte(id))
	buf = binary.BigEndian.AppendUint32(buf, checksum(buf, text))
	b.Commit(pkt.Transmit{Payload: append(buf, text...)})
	return true
}

func checksum(header, text []byte) uint32 {
	h := fnv.New32a()
	h.Write(header)
	h.Write(text)
	return h.Sum32()
}

func (p *parrot) NextEvent() (parrotEvent, bool) {
	if len(p.told) == 0 {
		return parrotEvent{}, false
	}
	e := p.told[0]
	p.told = p.told[1:]
	return e, true
}

// listener is a parrot's ear, as a program would be.
type listener struct {
	*parrot
	got []string
}

func (l *listener) NextEvent() (parrotEvent, bool) {
	e, ok := l.parrot.NextEvent()
	if ok && !e.Closing {
		l.got = append(l.got, string(e.Text))
	}
	return e, ok
}

// parrots is the subject: two parrots that say ten words to each other at about the same time.
func parrots(flaw string) Subject {
	return Subject{
		New: func(seed uint64) *Specimen {
			a, b := &listener{parrot: newParrot(flaw, seed)}, &listener{parrot: newParrot("", seed+500)}
			s := &Specimen{
				Engine: Of(a, func(e parrotEvent) bool { return e.Closing }),
				Peer:   Of(b, func(e parrotEvent) bool { return e.Closing }),
				Done: func() error {
					for _, l := range []*listener{a, b} {
						slices.Sort(l.got)
						if got, want := strings.Join(l.got, " "), "word-0 word-1 word-2 word-3 word-4 word-5 word-6 word-7 word-8 word-9"; got != want {
							return fmt.Errorf("heard %q, not %q", got, want)
						}
					}
					return nil
				},
				Fatal: []func(mono.Time){func(mono.Time) { a.Die() }},
				Flood: func(now mono.Time, i int) { a.Say(now, strings.Repeat("flood", 100)) },
				Bound: 128 << 10,
			}
			for i := range 10 {
				s.Steps = append(s.Steps, func(now mono.Time) {
					a.Say(now, fmt.Sprint("word-", i))
					b.Say(now, fmt.Sprint("word-", i))
				})
			}
			return s
		},
		Crowd: func(n int) (Engine, mono.Time) {
			p := newParrot(flaw, 0)
			p.crowd = make([]mono.Time, n)
			return Of(p, func(e parrotEvent) bool { return e.Closing }), start
		},
	}
}

func TestALawfulEnginePasses(t *testing.T) { Run(t, parrots("")) }

// An engine inside another, which gives one packet at a time, keeps the laws through Nested, and talks to a Responder
// that knows only how to acknowledge.
func TestNestedEngineAndResponder(t *testing.T) {
	Run(t, Subject{New: func(seed uint64) *Specimen {
		p := newParrot("", seed)
		one := pkt.NewBatch(defaultMaxPacket, 1)
		s := &Specimen{
			Engine: &Nested{
				Handle:  func(now mono.Time, packet []byte) { p.HandleDatagram(now, &pkt.Datagram{Payload: packet}) },
				Timeout: p.HandleTimeout,
				Next:    p.NextTimeout,
				Append: func(dst []byte, now mono.Time) []byte {
					one.Reset()
					p.AppendTransmit(now, one)
					for _, tr := range one.Transmits() {
						dst = append(dst, tr.Payload...)
					}
					return dst
				},
				Event: func() (Event, bool) {
					e, ok := p.NextEvent()
					return Event{Closing: e.Closing}, ok
				},
			},
			Peer: Responder(func(_ mono.Time, d *pkt.Datagram, reply func([]byte)) {
				if d.Payload[0] == 'W' {
					ack := append([]byte("A"), d.Payload[1:3]...)
					reply(binary.BigEndian.AppendUint32(ack, checksum(ack, nil)))
				}
			}),
			Done: func() error {
				if len(p.words) > 0 || p.nextID != uint16(seed*1000)+10 {
					return fmt.Errorf("%d words are not acknowledged", len(p.words))
				}
				return nil
			},
			Fatal: []func(mono.Time){func(mono.Time) { p.Die() }},
		}
		for range 10 {
			s.Steps = append(s.Steps, func(now mono.Time) { p.Say(now, "word") })
		}
		return s
	}})
}

// A law that nothing can break is no law: each flaw is reported by the law that it breaks.
func TestLawlessEnginesAreReported(t *testing.T) {
	for _, c := range []struct {
		law  int
		flaw string
		says string
	}{
		{1, "entropy", "differs"},
		{1, "depends on a map", "differs"},
		{2, "spins", "did not move on"},
		{2, "eager", "a spurious HandleTimeout"},
		{3, "one slot", "not done"},
		{3, "keeps what was lent", "not done"},
		{4, "allocates when idle", "allocates"},
		{4, "looks at everybody", "with 2000"},
		{5, "loses the rest", "against a roomy one"},
		{5, "hides the rest", "said that there was no more"},
		{5, "always more", "says that there is more"},
		{5, "chatters", "said that there was no more"},
		{6, "hoards words", "bound"},
		{6, "hoards events", "bound"},
		{7, "dies in silence", "0 closing events"},
		{7, "dies twice", "2 closing events"},
		{7, "speaks after death", "after the closing event came"},
		{7, "answers when dead", "answers"},
		{7, "haunts", "a timer still runs"},
		{8, "trusts lengths", "panic: runtime error: index out of range"},
	} {
		t.Run(c.flaw, func(t *testing.T) {
			l := laws[c.law-1]
			err := l.broken(parrots(c.flaw))
			if err == nil {
				t.Fatalf("law %s let it pass", l.name)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("law %s says %q, without %q", l.name, err, c.says)
			}
		})
	}
}
