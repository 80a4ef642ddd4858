package ogg

import (
	"encoding/binary"
	"errors"
	"io"
)

// A Writer writes the packets of one stream. Streams are mixed by several writers on one io.Writer, whose pages are each written
// at once; all their first packets come before any other (RFC 3533 section 4). It is for one goroutine at a time.
type Writer struct {
	w       io.Writer
	serial  uint32
	number  uint32
	lacing  []byte
	data    []byte
	granule int64 // of the last packet that ends on the page
	opened  bool  // the first packet of the page began before it
	buf     []byte
	closed  bool
}

// ErrClosed says that the stream has had its last packet.
var ErrClosed = errors.New("ogg: the stream has ended")

// NewWriter writes a stream with a serial number, which differs from that of any other in the file.
func NewWriter(w io.Writer, serial uint32) *Writer {
	return &Writer{w: w, serial: serial, granule: NoGranule}
}

// Write writes a packet, at the end of which the stream is whole up to granule. The first packet gets a page of its own, as
// headers must; others are written when their page is full, by Flush, or by Close.
func (w *Writer) Write(packet []byte, granule int64) error {
	if w.closed {
		return ErrClosed
	}
	if len(w.lacing) == maxSegments {
		if err := w.flush(0); err != nil {
			return err
		}
	}
	first := w.number == 0
	for {
		n := min(len(packet), 255)
		w.lacing = append(w.lacing, byte(n))
		w.data = append(w.data, packet[:n]...)
		if packet = packet[n:]; n < 255 {
			break
		}
		if len(w.lacing) == maxSegments { // the rest of the packet, be it nothing, is on the next page
			if err := w.flush(0); err != nil {
				return err
			}
			w.opened = true
		}
	}
	w.granule = granule
	if first {
		return w.flush(0)
	}
	return nil
}

// Close writes the last page, which says so and is empty if there is nothing since Flush, and leaves what it writes to open.
func (w *Writer) Close() error {
	if w.closed {
		return ErrClosed
	}
	w.closed = true
	return w.flush(flagLast)
}

// Flush writes the page that was begun, if there is anything on it.
func (w *Writer) Flush() error {
	if len(w.lacing) == 0 {
		return nil
	}
	return w.flush(0)
}

func (w *Writer) flush(flags byte) error {
	if w.opened {
		flags |= flagContinued
	}
	if w.number == 0 {
		flags |= flagFirst
	}
	b := append(w.buf[:0], capture...)
	b = append(b, 0, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(w.granule))
	b = binary.LittleEndian.AppendUint32(b, w.serial)
	b = binary.LittleEndian.AppendUint32(b, w.number)
	b = append(b, 0, 0, 0, 0, byte(len(w.lacing)))
	b = append(b, w.lacing...)
	b = append(b, w.data...)
	binary.LittleEndian.PutUint32(b[crcAt:], checksum(0, b))
	w.number++
	w.lacing, w.data, w.granule, w.opened = w.lacing[:0], w.data[:0], NoGranule, false
	w.buf = b
	_, err := w.w.Write(b)
	return err
}
