package ogg

import (
	"bytes"
	"io"
	"slices"
)

const (
	// MaxPacket is how long a packet may be, in bytes.
	MaxPacket = 16 << 20
	// MaxStreams is how many streams may be mixed in one file.
	MaxStreams = 64
)

// NoGranule is the granule position of a packet that has none: it is not the last one that ends on its page.
const NoGranule = -1

// A Packet is one of a stream.
type Packet struct {
	Serial uint32 // of the stream
	// Granule is the time up to which the stream is whole after this packet, in units that the codec defines, or NoGranule.
	Granule     int64
	First, Last bool // of the stream
	Data        []byte
}

// A Reader reads the packets of all streams of a file, in the order in which they end. It looks for the next page where one is
// broken, and leaves out the packets that were on it. It is for one goroutine at a time.
type Reader struct {
	r       io.Reader
	err     error
	buf     []byte
	at      int  // where the next page begins in buf
	page    page // the one at hand: what is left of it
	begun   bool // a packet of it was handed out
	dropped uint64
	streams map[uint32]*stream
}

// A stream is what is between the pages of one.
type stream struct {
	number  uint32
	fresh   bool // none of its packets was there yet
	partial []byte
	open    bool // partial is the beginning of a packet
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, streams: map[uint32]*stream{}} }

// Dropped is how many bytes were passed over because they are no page, or one of a wrong checksum.
func (r *Reader) Dropped() uint64 { return r.dropped }

// Next returns the next packet; its data are valid until the next call. At the end it returns io.EOF, and ErrFormat if there was
// never a page.
func (r *Reader) Next() (Packet, error) {
	for {
		if p, ok := r.packet(); ok {
			return p, nil
		}
		if err := r.nextPage(); err != nil {
			return Packet{}, err
		}
	}
}

// packet returns the next packet that ends on the page.
func (r *Reader) packet() (Packet, bool) {
	for len(r.page.lacing) > 0 {
		s := r.streams[r.page.serial]
		n, size, ends := 0, 0, false
		for n < len(r.page.lacing) && !ends {
			l := r.page.lacing[n]
			size += int(l)
			n++
			ends = l < 255
		}
		data := r.page.data[:size]
		r.page.lacing, r.page.data = r.page.lacing[n:], r.page.data[size:]
		continued := !r.begun && r.page.flags&flagContinued != 0
		r.begun = true
		if continued && !s.open {
			s.fresh = false
			continue // its beginning was lost
		}
		if continued {
			if len(s.partial)+len(data) > MaxPacket {
				s.open, s.fresh = false, false
				continue
			}
			s.partial = append(s.partial, data...)
			data = s.partial
		} else if !ends {
			s.partial = append(s.partial[:0], data...)
		}
		if s.open = !ends; !ends {
			continue
		}
		p := Packet{Serial: r.page.serial, Granule: NoGranule, First: s.fresh, Data: data}
		s.fresh = false
		if r.lastOfPage() {
			p.Granule, p.Last = r.page.granule, r.page.flags&flagLast != 0
		}
		return p, true
	}
	return Packet{}, false
}

// lastOfPage reports whether no further packet ends on the page.
func (r *Reader) lastOfPage() bool {
	return !slices.ContainsFunc(r.page.lacing, func(l byte) bool { return l < 255 })
}

// nextPage finds the next page.
func (r *Reader) nextPage() error {
	for {
		b := r.buf[r.at:]
		p, need, ok := parsePage(b)
		switch {
		case !ok:
			r.resync()
		case need > len(b) && r.err == nil:
			r.fill(need)
		case need > len(b) && r.err == io.EOF && len(b) > 0:
			r.resync() // what looked like a page may hide one
		case need > len(b):
			return r.end()
		default:
			r.at += need
			if r.take(p) {
				return nil
			}
		}
	}
}

// end is the error when no more can be read.
func (r *Reader) end() error {
	if r.err != io.EOF {
		return r.err
	}
	if len(r.streams) == 0 {
		return ErrFormat
	}
	return io.EOF
}

// take begins with a page; false if its stream is one too many.
func (r *Reader) take(p page) bool {
	s := r.streams[p.serial]
	if s == nil || p.flags&flagFirst != 0 {
		if s == nil && len(r.streams) == MaxStreams {
			return false
		}
		s = &stream{number: p.number, fresh: p.flags&flagFirst != 0}
		r.streams[p.serial] = s
	} else if s.number++; s.number != p.number { // a page was lost
		s.number, s.open, s.fresh = p.number, false, false
	}
	if p.flags&flagContinued == 0 {
		s.open = false
	}
	r.page, r.begun = p, false
	return true
}

// resync passes over bytes up to the next ones that may be a page.
func (r *Reader) resync() {
	skip := len(r.buf) - r.at
	if i := bytes.Index(r.buf[r.at+1:], []byte(capture)); i >= 0 {
		skip = 1 + i
	} else {
		skip = max(skip-len(capture)+1, 1)
	}
	r.at += skip
	r.dropped += uint64(skip)
}

// fill reads until need bytes are there from r.at on, or an error.
func (r *Reader) fill(need int) {
	r.buf = append(r.buf[:0], r.buf[r.at:]...)
	r.at = 0
	n := len(r.buf)
	if cap(r.buf) < maxPage {
		r.buf = append(make([]byte, 0, maxPage), r.buf...)
	}
	m, err := io.ReadAtLeast(r.r, r.buf[n:maxPage], need-n)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	r.buf, r.err = r.buf[:n+m], err
}
