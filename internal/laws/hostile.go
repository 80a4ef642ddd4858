package laws

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// noInputPanics is law 8: conversations with rubbish thrown in, and then every truncation of everything the engine was
// sent, every flipped bit near its beginning, and rubbish.
func noInputPanics(s Subject) error {
	for seed := range uint64(40) {
		t := newTalk(s.New(seed), seed, route{loss: 0.05, tamper: throwIn})
		if err := t.survive(t.converse); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
	}
	clean := newTalk(s.New(0), 0, route{})
	if err := clean.converse(); err != nil {
		return err
	}
	for _, talked := range []bool{false, true} {
		if err := rain(s, clean.heard, talked); err != nil {
			return fmt.Errorf("after the conversation %v: %w", talked, err)
		}
	}
	return nil
}

// throwIn feeds the engine a spoiled copy of what is about to arrive, before or in place of it.
func throwIn(t *talk, d *pkt.Datagram) (feed bool) {
	if t.rng.IntN(2) == 0 {
		bad := *d
		bad.Payload = slices.Clone(d.Payload)
		t.tamperWith(&bad)
		t.feed(&bad)
	}
	return t.rng.IntN(10) != 0
}

// rain feeds one spoiled copy after another of what was heard, to an engine that is made anew from time to time so that
// none is dead for long.
func rain(s Subject, heard []pkt.Datagram, talked bool) error {
	const (
		datagrams = 64  // of those heard
		flipped   = 128 // bytes at the beginning of each
		life      = 2000
	)
	// A few of each kind are better than many of the first: the shortest and longest, and evenly between.
	slices.SortStableFunc(heard, func(a, b pkt.Datagram) int { return len(a.Payload) - len(b.Payload) })
	var sample []pkt.Datagram
	for i := range min(datagrams, len(heard)) {
		sample = append(sample, heard[i*len(heard)/min(datagrams, len(heard))])
	}
	var t *talk
	fed := 0
	feed := func(d pkt.Datagram, payload []byte) error {
		if fed%life == 0 {
			t = newTalk(s.New(uint64(fed)), uint64(fed), route{})
			if talked {
				if err := t.converse(); err != nil {
					return err
				}
			}
		}
		fed++
		d.Payload = payload
		return t.survive(func() error {
			t.feed(&d)
			t.heard = t.heard[:0]
			if due := t.Engine.NextTimeout(); due != mono.Never && fed%16 == 0 {
				t.now = max(t.now, due)
				t.Engine.HandleTimeout(t.now)
			}
			t.transcript = t.transcript[:0]
			return t.drain()
		})
	}
	for _, d := range sample {
		for n := range len(d.Payload) {
			if err := feed(d, slices.Clone(d.Payload[:n])); err != nil {
				return err
			}
		}
		for bit := range 8 * min(len(d.Payload), flipped) {
			spoiled := slices.Clone(d.Payload)
			spoiled[bit/8] ^= 1 << (bit % 8)
			if err := feed(d, spoiled); err != nil {
				return err
			}
		}
	}
	for i := range 5000 {
		d := pkt.Datagram{Path: pkt.Path{Local: subjectAddr, Remote: peerAddr}}
		if len(sample) > 0 {
			d.Path = sample[i%len(sample)].Path
		}
		rubbish := make([]byte, i%200)
		if i%16 == 0 {
			rubbish = make([]byte, i)
		}
		for j := range rubbish {
			rubbish[j] = byte(t.rng.Uint32())
		}
		if err := feed(d, rubbish); err != nil {
			return err
		}
	}
	return nil
}

// survive runs f and reports a panic together with what the engine was fed last.
func (t *talk) survive(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			last := "nothing"
			if n := len(t.heard); n > 0 {
				last = fmt.Sprintf("%x from %v", t.heard[n-1].Payload, t.heard[n-1].Remote)
			}
			err = fmt.Errorf("panic: %v\nlast input: %s\n%s", p, last, debug.Stack())
		}
	}()
	return f()
}

// tamperWith spoils d in one of the ways in which attackers and broken networks do.
func (t *talk) tamperWith(d *pkt.Datagram) {
	p := d.Payload
	at := func() int { return t.rng.IntN(len(p)) }
	kind := t.rng.IntN(9)
	if len(p) == 0 {
		kind = 8
	}
	switch kind {
	case 0:
		d.Payload = p[:at()]
	case 1:
		p[at()] ^= 1 << t.rng.IntN(8)
	case 2:
		p[at()] = [...]byte{0, 1, 0x7f, 0x80, 0xff}[t.rng.IntN(5)]
	case 3: // a hole
		i := at()
		d.Payload = slices.Delete(p, i, min(len(p), i+1+t.rng.IntN(8)))
	case 4: // a bulge
		i := at()
		d.Payload = slices.Insert(p, i, p[i:min(len(p), i+1+t.rng.IntN(16))]...)
	case 5: // two halves that do not belong together
		if len(t.heard) > 0 {
			other := t.heard[t.rng.IntN(len(t.heard))].Payload
			d.Payload = append(p[:at():len(p)], other[t.rng.IntN(len(other)+1):]...)
		}
	case 6: // from somebody else
		d.Remote = netip.AddrPortFrom(d.Remote.Addr(), uint16(t.rng.Uint32()))
	case 7: // a length field, likely
		i := at() &^ 1
		if i+1 < len(p) {
			v := [...]uint16{0, 1, 2, 3, 4, 0x7fff, 0x8000, 0xfffc, 0xffff}[t.rng.IntN(9)]
			p[i], p[i+1] = byte(v>>8), byte(v)
		}
	case 8:
		d.Payload = make([]byte, t.rng.IntN(1500))
		for i := range d.Payload {
			d.Payload[i] = byte(t.rng.Uint32())
		}
	}
}
