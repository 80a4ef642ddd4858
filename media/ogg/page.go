// Package ogg reads and writes Ogg files (RFC 3533), and Opus in them (RFC 7845): [Reader] and [Writer] carry packets of any
// codec, [OpusReader] and [OpusWriter] those of one stream of Opus, with its header and its times.
package ogg

import (
	"encoding/binary"
	"errors"
)

// ErrFormat says that what is read is no Ogg file, or a broken one.
var ErrFormat = errors.New("ogg: not a file of this format")

// Of a page (RFC 3533 section 6).
const (
	capture     = "OggS"
	pageHeader  = 27
	maxSegments = 255
	maxPage     = pageHeader + maxSegments + maxSegments*255

	granuleAt = 6
	serialAt  = 14
	numberAt  = 18
	crcAt     = 22
	countAt   = 26

	flagContinued = 1 // the first packet began on a page before
	flagFirst     = 2 // of the stream
	flagLast      = 4
)

// A page is one that was read.
type page struct {
	flags   byte
	granule int64
	serial  uint32
	number  uint32
	lacing  []byte // the segments' lengths
	data    []byte
}

// parsePage reads a page from the beginning of b. It wants more bytes as long as need is beyond len(b); it is not ok if no page
// begins there.
func parsePage(b []byte) (p page, need int, ok bool) {
	if len(b) < pageHeader {
		return p, pageHeader, true
	}
	if string(b[:4]) != capture || b[4] != 0 { // stream_structure_version
		return p, 0, false
	}
	n := pageHeader + int(b[countAt])
	if len(b) < n {
		return p, n, true
	}
	p.lacing = b[pageHeader:n]
	size := n
	for _, l := range p.lacing {
		size += int(l)
	}
	if len(b) < size {
		return p, size, true
	}
	p.flags = b[5]
	p.granule = int64(binary.LittleEndian.Uint64(b[granuleAt:]))
	p.serial = binary.LittleEndian.Uint32(b[serialAt:])
	p.number = binary.LittleEndian.Uint32(b[numberAt:])
	p.data = b[n:size]
	var sum uint32
	sum = checksum(sum, b[:crcAt])
	sum = checksum(sum, []byte{0, 0, 0, 0})
	sum = checksum(sum, b[crcAt+4:size])
	return p, size, sum == binary.LittleEndian.Uint32(b[crcAt:])
}

// crcTable is of the generator polynomial 0x04c11db7, not reflected as that of hash/crc32 is (RFC 3533 section 6, field 7).
var crcTable = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			high := r >> 31
			r = r<<1 ^ 0x04c11db7*high
		}
		t[i] = r
	}
	return t
}()

func checksum(sum uint32, b []byte) uint32 {
	for _, c := range b {
		sum = sum<<8 ^ crcTable[byte(sum>>24)^c]
	}
	return sum
}
