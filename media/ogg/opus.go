package ogg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// An OpusHead is the identification header (RFC 7845 section 5.1).
type OpusHead struct {
	Channels uint8
	// PreSkip is how many samples, at 48 kHz, a decoder makes at the beginning that are not to be played.
	PreSkip    uint16
	SampleRate uint32 // of what was encoded, in Hz; 0: unknown. Opus itself always has 48 kHz
	Gain       int16  // to apply to what was decoded, in dB as Q7.8
	// Mapping is the channel mapping family: 0 is mono or stereo, and then there is nothing more. Else the rest is how many
	// streams and coupled streams there are, and which channel is which of theirs.
	Mapping          uint8
	Streams, Coupled uint8
	Channel          []byte
}

const (
	opusHead = "OpusHead"
	opusTags = "OpusTags"

	opusPageMax = payload.OpusClock // a second: what a page should have at most
)

// ParseOpusHead reads the header.
func ParseOpusHead(b []byte) (h OpusHead, err error) {
	// Of the version only a change of the upper four bits is incompatible.
	if len(b) < 19 || string(b[:8]) != opusHead || b[8]>>4 != 0 {
		return h, ErrFormat
	}
	h = OpusHead{
		Channels:   b[9],
		PreSkip:    binary.LittleEndian.Uint16(b[10:]),
		SampleRate: binary.LittleEndian.Uint32(b[12:]),
		Gain:       int16(binary.LittleEndian.Uint16(b[16:])),
		Mapping:    b[18],
	}
	if h.Channels == 0 || h.Mapping == 0 && h.Channels > 2 {
		return OpusHead{}, ErrFormat
	}
	if h.Mapping == 0 {
		return h, nil
	}
	if len(b) < 21+int(h.Channels) {
		return OpusHead{}, ErrFormat
	}
	h.Streams, h.Coupled, h.Channel = b[19], b[20], slices.Clone(b[21:21+int(h.Channels)])
	decoded := int(h.Streams) + int(h.Coupled)
	if h.Streams == 0 || h.Coupled > h.Streams || decoded > 255 {
		return OpusHead{}, ErrFormat
	}
	// Of these families it is known that a channel is one of those decoded, or 255 for silence (RFC 7845 section 5.1.1).
	const surround, most, discrete, silent = 1, 8, 255, 255
	if h.Mapping == surround && h.Channels > most || (h.Mapping == surround || h.Mapping == discrete) &&
		slices.ContainsFunc(h.Channel, func(c byte) bool { return int(c) >= decoded && c != silent }) {
		return OpusHead{}, ErrFormat
	}
	return h, nil
}

// Append appends the header.
func (h *OpusHead) Append(b []byte) []byte {
	b = append(append(b, opusHead...), 1, h.Channels)
	b = binary.LittleEndian.AppendUint16(b, h.PreSkip)
	b = binary.LittleEndian.AppendUint32(b, h.SampleRate)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Gain))
	b = append(b, h.Mapping)
	if h.Mapping != 0 {
		b = append(append(b, h.Streams, h.Coupled), h.Channel...)
	}
	return b
}

// An OpusPacket is one packet of Opus: what is one payload of RTP.
type OpusPacket struct {
	// Position is where the packet begins, in samples of 48 kHz since the stream began, the pre-skip included.
	Position int64
	Duration uint32 // in samples of 48 kHz
	// Trim is how many samples at its end are not to be played: of the last packet only.
	Trim uint32
	Data []byte // valid until the next call
}

// Time returns where a packet begins, counted in what is played; it may be negative, within the pre-skip.
func (h *OpusHead) Time(p OpusPacket) time.Duration {
	played := p.Position - int64(h.PreSkip)
	const clock = payload.OpusClock
	return time.Duration(played/clock)*time.Second + time.Duration(played%clock)*time.Second/clock
}

// An OpusReader reads the first stream of Opus in a file, and passes over others. It is for one goroutine at a time.
type OpusReader struct {
	Head     OpusHead
	r        *Reader
	serial   uint32
	position int64
	first    []OpusPacket // of the first page with a time, which a recording of something live has not at 0
}

// NewOpusReader reads the headers.
func NewOpusReader(r io.Reader) (*OpusReader, error) {
	o := &OpusReader{r: NewReader(r)}
	for found := false; ; {
		p, err := o.r.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: no stream of Opus: %w", ErrFormat, err)
		}
		if !found && p.First {
			if o.Head, err = ParseOpusHead(p.Data); err == nil {
				o.serial, found = p.Serial, true
			}
		} else if found && p.Serial == o.serial {
			if !bytes.HasPrefix(p.Data, []byte(opusTags)) { // RFC 7845 section 3: the second packet is the comment header
				return nil, ErrFormat
			}
			return o, o.begin()
		}
	}
}

// begin reads the first page of audio: its first sample is as far before its granule position as its packets last (RFC 7845 section
// 4.3).
func (o *OpusReader) begin() error {
	total := int64(0)
	for len(o.first) < maxSegments {
		p, granule, last, err := o.read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		total += int64(p.Duration)
		p.Data = slices.Clone(p.Data)
		o.first = append(o.first, p)
		if granule == NoGranule {
			continue
		}
		if granule > total {
			o.position = granule - total
		} else if last {
			o.first[len(o.first)-1].Trim = uint32(min(total-granule, int64(p.Duration)))
		}
		return nil
	}
	return nil
}

// read returns the next packet without its position.
func (o *OpusReader) read() (p OpusPacket, granule int64, last bool, err error) {
	for {
		raw, err := o.r.Next()
		if err != nil {
			return p, 0, false, err
		}
		if raw.Serial != o.serial {
			continue
		}
		head, err := payload.ParseOpus(raw.Data)
		if err == nil && raw.Granule >= NoGranule {
			return OpusPacket{Duration: head.Duration, Data: raw.Data}, raw.Granule, raw.Last, nil
		}
	}
}

// Next returns the next packet. What is no Opus is passed over. At the end it returns io.EOF.
func (o *OpusReader) Next() (p OpusPacket, err error) {
	if len(o.first) > 0 {
		p, o.first = o.first[0], o.first[1:]
		p.Position = o.position
		o.position += int64(p.Duration)
		return p, nil
	}
	p, granule, last, err := o.read()
	if err != nil {
		return p, err
	}
	p.Position = o.position
	o.position += int64(p.Duration)
	switch {
	case granule == NoGranule:
	case granule > o.position: // pages were lost: the time goes on by what was on them
		p.Position, o.position = granule-int64(p.Duration), granule
	case last:
		p.Trim = uint32(min(o.position-granule, int64(p.Duration)))
	}
	return p, nil
}

// An OpusWriter writes a file of one stream of Opus. It is for one goroutine at a time.
type OpusWriter struct {
	w        *Writer
	position int64 // after the last packet
	flushed  int64 // at the beginning of the page
}

// ErrGap says that a packet begins too long after the end of the one before it.
var ErrGap = errors.New("ogg: a gap of more than ten minutes")

const maxGap = 600 * payload.OpusClock

// NewOpusWriter writes the headers; the serial number should be random.
func NewOpusWriter(w io.Writer, serial uint32, h OpusHead) (*OpusWriter, error) {
	if again, err := ParseOpusHead(h.Append(nil)); err != nil || again.Channels != h.Channels {
		return nil, fmt.Errorf("ogg: a header that cannot be written: %+v", h)
	}
	const vendor = "Parley"
	tags := append([]byte(opusTags), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(tags[8:], uint32(len(vendor)))
	tags = append(append(tags, vendor...), 0, 0, 0, 0)
	o := &OpusWriter{w: NewWriter(w, serial)}
	if err := o.w.Write(h.Append(nil), 0); err != nil {
		return nil, err
	}
	if err := o.w.Write(tags, 0); err != nil {
		return nil, err
	}
	return o, o.w.Flush() // audio begins on a page of its own (RFC 7845 section 3)
}

// Write writes a packet. Its duration is in its data; if it begins later than the one before it ended, as after a loss or a pause,
// packets without audio fill the gap, which decoders conceal (RFC 7845 section 4.1). One that begins earlier is put behind
// what is there.
func (o *OpusWriter) Write(p OpusPacket) error {
	head, err := payload.ParseOpus(p.Data)
	if err != nil {
		return err
	}
	gap := p.Position - o.position
	if gap > maxGap {
		return ErrGap
	}
	silence := [1]byte{p.Data[0] &^ 3} // one frame of the same kind, of no bytes
	frame := int64(head.Duration) / int64(head.Frames)
	for ; gap >= frame; gap -= frame {
		if err := o.write(silence[:], frame, 0); err != nil {
			return err
		}
	}
	return o.write(p.Data, int64(head.Duration), int64(min(p.Trim, head.Duration)))
}

func (o *OpusWriter) write(packet []byte, duration, trim int64) error {
	// Before the packet rather than after it: so the last page has one.
	if o.position > o.flushed && o.position+duration-o.flushed > opusPageMax {
		if err := o.w.Flush(); err != nil {
			return err
		}
		o.flushed = o.position
	}
	o.position += duration
	return o.w.Write(packet, o.position-trim)
}

// Flush writes what is held back of a page, at most a second.
func (o *OpusWriter) Flush() error {
	o.flushed = o.position
	return o.w.Flush()
}

// Close writes the end of the stream, and leaves what it writes to open.
func (o *OpusWriter) Close() error { return o.w.Close() }
