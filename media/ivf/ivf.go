// Package ivf reads and writes IVF files, the plain container of libvpx and libaom for VP8, VP9 and AV1: a header, and frames with
// their times. What a frame is, is what [payload.Format] takes and makes.
//
// [payload.Format]: https://pkg.go.dev/github.com/parley-rtc/parley/protocol/rtp/payload#Format
package ivf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Codecs, as [Header] names them.
const (
	VP8  = "VP80"
	VP9  = "VP90"
	AV1  = "AV01"
	H264 = "H264"
	H265 = "HEVC"
)

const (
	signature   = "DKIF"
	headerLen   = 32
	frameHeader = 12
	framesAt    = 24

	// MaxFrame is how long a frame may be, in bytes: a key frame of 8K video has some megabytes.
	MaxFrame = 32 << 20
)

// ErrFormat says that what is read is no IVF file, or a broken one.
var ErrFormat = errors.New("ivf: not a file of this format")

// A Header is what stands at the beginning of a file.
type Header struct {
	Codec         string // four bytes
	Width, Height int    // of a picture, 0 to 65535
	// Rate / Scale is how many units of time a second has: 30 / 1 where each frame has one of 30 frames a second, or 90000 / 1 as
	// RTP has it.
	Rate, Scale uint32
	Frames      uint32 // how many there are, as the writer had it; often 0
}

// A Frame is one of a file.
type Frame struct {
	PTS  uint64 // in units of time, see Header
	Data []byte // valid until the next call
}

// A Reader reads a file. It is for one goroutine at a time.
type Reader struct {
	Header Header
	r      io.Reader
	buf    []byte
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	var b [headerLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	n := int(binary.LittleEndian.Uint16(b[6:]))
	h := Header{
		Codec:  string(b[8:12]),
		Width:  int(binary.LittleEndian.Uint16(b[12:])),
		Height: int(binary.LittleEndian.Uint16(b[14:])),
		Rate:   binary.LittleEndian.Uint32(b[16:]),
		Scale:  binary.LittleEndian.Uint32(b[20:]),
		Frames: binary.LittleEndian.Uint32(b[framesAt:]),
	}
	if string(b[:4]) != signature || n < headerLen || h.Rate == 0 || h.Scale == 0 {
		return nil, ErrFormat
	}
	if _, err := io.CopyN(io.Discard, r, int64(n-headerLen)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return &Reader{Header: h, r: r}, nil
}

// Next reads the next frame. At the end it returns io.EOF, within a frame io.ErrUnexpectedEOF.
func (r *Reader) Next() (Frame, error) {
	var b [frameHeader]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return Frame{}, err
	}
	size := binary.LittleEndian.Uint32(b[:])
	if size > MaxFrame {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, size)
	}
	// In steps: a broken file does not make us reserve what it does not have.
	r.buf = r.buf[:0]
	for left := int(size); left > 0; {
		n := min(left, 1<<20)
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, n)...)
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			return Frame{}, io.ErrUnexpectedEOF
		}
		left -= n
	}
	return Frame{PTS: binary.LittleEndian.Uint64(b[4:]), Data: r.buf}, nil
}

// Time returns when a frame is to be shown, counted from 0.
func (h *Header) Time(pts uint64) time.Duration {
	scaled := pts * uint64(h.Scale)
	rate := uint64(max(h.Rate, 1))
	return time.Duration(scaled/rate)*time.Second + time.Duration(scaled%rate*uint64(time.Second)/rate)
}

// A Writer writes a file. It is for one goroutine at a time.
type Writer struct {
	w      io.Writer
	buf    []byte
	frames uint32
}

// NewWriter writes the header. Its number of frames may be left to Close.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if len(h.Codec) != 4 || h.Rate == 0 || h.Scale == 0 || h.Width < 0 || h.Width > 1<<16-1 || h.Height < 0 || h.Height > 1<<16-1 {
		return nil, fmt.Errorf("ivf: a header that cannot be written: %+v", h)
	}
	b := append(make([]byte, 0, headerLen), signature...)
	b = binary.LittleEndian.AppendUint16(b, 0) // version
	b = binary.LittleEndian.AppendUint16(b, headerLen)
	b = append(b, h.Codec...)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Width))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Height))
	for _, v := range []uint32{h.Rate, h.Scale, h.Frames, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return &Writer{w: w, buf: b[:0]}, nil
}

// Write writes a frame.
func (w *Writer) Write(f Frame) error {
	if len(f.Data) > MaxFrame {
		return fmt.Errorf("ivf: a frame of %d bytes", len(f.Data))
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], uint32(len(f.Data)))
	w.buf = binary.LittleEndian.AppendUint64(w.buf, f.PTS)
	w.buf = append(w.buf, f.Data...)
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	w.frames++
	return nil
}

// Close writes the number of frames into the header, if what it writes to can seek, and leaves it open. Without it the file is
// whole, too.
func (w *Writer) Close() error {
	s, ok := w.w.(io.WriteSeeker)
	if !ok {
		return nil
	}
	end, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := s.Seek(framesAt, io.SeekStart); err != nil {
		return err
	}
	if err := binary.Write(s, binary.LittleEndian, w.frames); err != nil {
		return err
	}
	_, err = s.Seek(end, io.SeekStart)
	return err
}
