// Package rtpdump reads and writes the files of rtptools' rtpdump and rtpplay: packets of RTP and RTCP as they were on the wire,
// with the times at which they came.
package rtpdump

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

const (
	magic        = "#!rtpplay1.0 "
	maxFirstLine = 128
	fileHeader   = 16
	packetHeader = 8
	maxPacket    = 1<<16 - 1 - packetHeader
)

// ErrFormat says that what is read is no such file, or a broken one.
var ErrFormat = errors.New("rtpdump: not a file of this format")

// A Header is what stands at the beginning of a file.
type Header struct {
	Start  time.Time      // of the recording
	Source netip.AddrPort // where the packets came from; of IPv4
}

// A Packet is one of RTP or RTCP.
type Packet struct {
	Offset time.Duration // since the start of the recording, in milliseconds
	RTCP   bool
	// Length is how long the packet was, header included, if RTP; Data may be less of it, as recordings of headers alone have.
	Length int
	Data   []byte // valid until the next call
}

// A Reader reads a file. It is for one goroutine at a time.
type Reader struct {
	Header Header
	r      *bufio.Reader
	buf    []byte
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 4096)
	line := make([]byte, 0, maxFirstLine)
	for {
		c, err := b.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if c == '\n' {
			break
		}
		if line = append(line, c); len(line) == maxFirstLine {
			return nil, ErrFormat
		}
	}
	if !bytes.HasPrefix(line, []byte(magic)) {
		return nil, ErrFormat
	}
	var h [fileHeader]byte
	if _, err := io.ReadFull(b, h[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	start := time.Unix(int64(binary.BigEndian.Uint32(h[:])), 1000*int64(binary.BigEndian.Uint32(h[4:])))
	source := netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[8:12])), binary.BigEndian.Uint16(h[12:]))
	return &Reader{Header: Header{start, source}, r: b}, nil
}

// Next reads the next packet. At the end it returns io.EOF, within a packet io.ErrUnexpectedEOF.
func (r *Reader) Next() (Packet, error) {
	var h [packetHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return Packet{}, err
	}
	n := int(binary.BigEndian.Uint16(h[:])) - packetHeader
	if n < 0 {
		return Packet{}, ErrFormat
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n, max(n, 2048))
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return Packet{}, io.ErrUnexpectedEOF
	}
	p := Packet{Offset: time.Duration(binary.BigEndian.Uint32(h[4:])) * time.Millisecond, Data: r.buf}
	if p.Length = int(binary.BigEndian.Uint16(h[2:])); p.Length == 0 { // "actual header+payload length for RTP, 0 for RTCP"
		p.RTCP = true
	}
	return p, nil
}

// A Writer writes a file. It is for one goroutine at a time.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	source := h.Source.Addr().Unmap()
	if !source.Is4() { // the format has no room for others
		source = netip.IPv4Unspecified()
	}
	b := fmt.Appendf(nil, "%s%s/%d\n", magic, source, h.Source.Port())
	b = binary.BigEndian.AppendUint32(b, uint32(h.Start.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Start.Nanosecond()/1000))
	b = append(b, source.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	b = append(b, 0, 0)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return &Writer{w: w}, nil
}

// Write writes a packet. A Length of 0 means that of the data.
func (w *Writer) Write(p Packet) error {
	length := p.Length
	switch {
	case p.RTCP:
		length = 0
	case length == 0:
		length = len(p.Data)
	}
	if len(p.Data) > maxPacket || length < 0 || length > 1<<16-1 || length == 0 && !p.RTCP {
		return fmt.Errorf("rtpdump: a packet of %d bytes", len(p.Data))
	}
	w.buf = binary.BigEndian.AppendUint16(w.buf[:0], uint16(packetHeader+len(p.Data)))
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(length))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(p.Offset.Milliseconds()))
	w.buf = append(w.buf, p.Data...)
	_, err := w.w.Write(w.buf)
	return err
}
