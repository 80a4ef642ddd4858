// Package annexb reads and writes H.264 and H.265 as byte streams (annex B of both): NAL units, each behind a start code. The
// reader cuts a stream into access units, which is what [payload.H264] and [payload.H265] take as frames.
//
// [payload.H264]: https://pkg.go.dev/github.com/parley-rtc/parley/protocol/rtp/payload#H264
// [payload.H265]: https://pkg.go.dev/github.com/parley-rtc/parley/protocol/rtp/payload#H265
package annexb

import (
	"bytes"
	"errors"
	"io"
)

// Codec is which of them a stream is of.
type Codec uint8

// The codecs.
const (
	H264 Codec = 1 + iota
	H265
)

// MaxUnit is how long an access unit may be, in bytes.
const MaxUnit = 32 << 20

// Errors of a Reader.
var (
	ErrFormat = errors.New("annexb: no start code where a stream begins")
	ErrLarge  = errors.New("annexb: an access unit that is too long")
)

// A Reader reads a stream. It is for one goroutine at a time.
type Reader struct {
	codec Codec
	most  int // MaxUnit, but for tests
	r     io.Reader
	err   error  // of r
	buf   []byte // read, from the next NAL unit's start code on
	at    int    // where in buf the next unit begins: what is before was handed out
	seen  int    // up to where buf was searched for the end of that unit
	unit  []byte
}

// NewReader reads from r.
func NewReader(r io.Reader, codec Codec) *Reader { return &Reader{codec: codec, most: MaxUnit, r: r} }

// NextNAL returns the next NAL unit, without its start code, valid until the next call. At the end it returns io.EOF. If it is
// mixed with NextAccessUnit, it goes on behind what that returned.
func (r *Reader) NextNAL() ([]byte, error) {
	for {
		nal, err := r.peek()
		if err != nil {
			return nil, err
		}
		r.consume()
		if len(nal) > 0 {
			return nal, nil
		}
	}
}

// peek returns the next NAL unit, which stays the next one.
func (r *Reader) peek() ([]byte, error) {
	if r.at > 1<<16 && r.at > len(r.buf)/2 {
		r.buf = append(r.buf[:0], r.buf[r.at:]...)
		r.seen -= r.at
		r.at = 0
	}
	for {
		b := r.buf[r.at:]
		if start := bytes.Index(b, code); start >= 0 {
			if len(bytes.TrimLeft(b[:start], "\x00")) > 0 {
				return nil, ErrFormat
			}
			body := r.at + start + len(code)
			from := max(r.seen, body)
			if end := bytes.Index(r.buf[from:], code); end >= 0 {
				r.seen = from + end
				return trim(r.buf[body:r.seen]), nil
			}
			r.seen = max(body, len(r.buf)-len(code)+1)
			if r.err != nil {
				r.seen = len(r.buf)
				if r.err != io.EOF {
					return nil, r.err
				}
				return trim(r.buf[body:]), nil
			}
		} else if len(bytes.TrimLeft(b, "\x00")) > 0 && len(b) >= len(code) {
			return nil, ErrFormat
		} else if r.err != nil {
			return nil, r.err
		}
		if len(r.buf)-r.at > r.most {
			return nil, ErrLarge
		}
		r.fill()
	}
}

var code = []byte{0, 0, 1}

// trim takes trailing_zero_8bits away, and the zero_byte of the start code after.
func trim(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

func (r *Reader) fill() {
	n := len(r.buf)
	if cap(r.buf)-n < 1<<15 {
		r.buf = append(r.buf, make([]byte, max(1<<16, n/2))...)[:n]
	}
	for range 100 {
		m, err := r.r.Read(r.buf[n:cap(r.buf)])
		if r.buf, r.err = r.buf[:n+m], err; m > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

func (r *Reader) consume() { r.at = r.seen }

// NextAccessUnit returns the next access unit, each of its NAL units behind a start code of four bytes, valid until the next call.
// At the end it returns io.EOF. Slices of one picture are told from those of the next by being its first, so arbitrary slice
// order and redundant pictures, which only H.264's Baseline profile has, are cut wrongly.
func (r *Reader) NextAccessUnit() ([]byte, error) {
	r.unit = r.unit[:0]
	picture := false // a slice of the unit was there
	for {
		nal, err := r.peek()
		if err == io.EOF && len(r.unit) > 0 {
			return r.unit, nil
		}
		if err != nil {
			return nil, err
		}
		if len(nal) == 0 {
			r.consume()
			continue
		}
		slice, first, before := r.codec.classify(nal)
		if picture && (before || slice && first) {
			return r.unit, nil
		}
		if len(r.unit)+len(nal) > r.most {
			return nil, ErrLarge
		}
		picture = picture || slice
		r.unit = append(append(append(r.unit, 0), code...), nal...)
		r.consume()
	}
}

// classify tells whether a NAL unit is a slice, and then whether it is the first of its picture; or whether it begins an access
// unit when it comes after a slice (H.264 section 7.4.1.2.3, H.265 section 7.4.2.4.4).
func (c Codec) classify(nal []byte) (slice, first, before bool) {
	if c == H264 {
		switch t := nal[0] & 0x1f; {
		case t >= 1 && t <= 5:
			// first_mb_in_slice is 0, as an Exp-Golomb code; partitions B and C begin with slice_id instead, and are never the first.
			return true, t != 3 && t != 4 && len(nal) > 1 && nal[1]&0x80 != 0, false
		case t >= 6 && t <= 9, t >= 14 && t <= 18: // SEI, parameter sets, delimiter; reserved
			return false, false, true
		}
		return false, false, false
	}
	switch t := nal[0] >> 1 & 0x3f; {
	case t < 32: // first_slice_segment_in_pic_flag
		return true, len(nal) > 2 && nal[2]&0x80 != 0, false
	case t >= 32 && t <= 35, t == 39, t >= 41 && t <= 44, t >= 48 && t <= 55: // parameter sets, delimiter, prefix SEI; reserved
		return false, false, true
	}
	return false, false, false
}

// A Writer writes a stream. Access units with start codes, as payload.Format.AppendFrame makes them, are streams already, and need
// none. It is for one goroutine at a time.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// WriteNAL writes a NAL unit behind a start code of four bytes.
func (w *Writer) WriteNAL(nal []byte) error {
	w.buf = append(append(append(w.buf[:0], 0), code...), nal...)
	_, err := w.w.Write(w.buf)
	return err
}
