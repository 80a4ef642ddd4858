package sctp

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/parley-rtc/parley/internal/wire"
)

// StreamID names a stream, and with it the data channel on the stream.
type StreamID uint16

// headerSize is the size of the common header (RFC 9260 section 3.1): two ports, verification tag, checksum.
const headerSize = 12

type chunkType uint8

// The chunk types of RFC 9260 section 3.2, RFC 6525 section 3.1, RFC 3758 section 3.2, RFC 8260 section 2 and RFC 4820
// section 3.
const (
	typeData             chunkType = 0
	typeInit             chunkType = 1
	typeInitAck          chunkType = 2
	typeSack             chunkType = 3
	typeHeartbeat        chunkType = 4
	typeHeartbeatAck     chunkType = 5
	typeAbort            chunkType = 6
	typeShutdown         chunkType = 7
	typeShutdownAck      chunkType = 8
	typeError            chunkType = 9
	typeCookieEcho       chunkType = 10
	typeCookieAck        chunkType = 11
	typeShutdownComplete chunkType = 14
	typeIData            chunkType = 64
	typeReconfig         chunkType = 130
	typePad              chunkType = 132
	typeForwardTSN       chunkType = 192
	typeIForwardTSN      chunkType = 194
)

// Flags of chunks.
const (
	flagEnd       = 1 << 0 // DATA: the last fragment
	flagBegin     = 1 << 1 // DATA: the first fragment
	flagUnordered = 1 << 2 // DATA
	flagImmediate = 1 << 3 // DATA: acknowledge at once
	flagReflected = 1 << 0 // ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own (T bit)
)

type paramType uint16

// The parameter types of RFC 9260 section 3.3.2 and 3.3.3, RFC 6525 section 4, RFC 3758 section 3.1, RFC 5061 section
// 4.2.7 and RFC 9653 section 4.
const (
	paramHeartbeatInfo  paramType = 1
	paramStateCookie    paramType = 7
	paramUnrecognized   paramType = 8
	paramHostName       paramType = 11
	paramIPv4           paramType = 5
	paramIPv6           paramType = 6
	paramPreservative   paramType = 9
	paramAddressTypes   paramType = 12
	paramOutgoingReset  paramType = 13
	paramIncomingReset  paramType = 14
	paramTSNReset       paramType = 15
	paramResetResponse  paramType = 16
	paramAddOutgoing    paramType = 17
	paramAddIncoming    paramType = 18
	paramZeroChecksum   paramType = 0x8001
	paramSupportedExt   paramType = 0x8008
	paramForwardTSN     paramType = 0xc000
	zeroChecksumOverTLS           = 1 // RFC 9653 section 4: the lower layer is DTLS
)

type causeCode uint16

// The error causes of RFC 9260 section 3.3.10.
const (
	causeInvalidStream    causeCode = 1
	causeStaleCookie      causeCode = 3
	causeUnresolvable     causeCode = 5
	causeUnrecognized     causeCode = 6
	causeInvalidParameter causeCode = 7
	causeUnknownParameter causeCode = 8
	causeNoUserData       causeCode = 9
	causeShuttingDown     causeCode = 10
	causeUserAbort        causeCode = 12
	causeViolation        causeCode = 13
)

// What a receiver does with a type that it does not know is in the type's two highest bits (RFC 9260 section 3.2): go
// on with the next one, and report it.
func (t chunkType) skip() bool   { return t&0x80 != 0 }
func (t chunkType) report() bool { return t&0x40 != 0 }
func (t paramType) skip() bool   { return t&0x8000 != 0 }
func (t paramType) report() bool { return t&0x4000 != 0 }

// chunk is a chunk as it came.
type chunk struct {
	kind  chunkType
	flags uint8
	value []byte
	whole []byte // header included, padding not
}

// nextChunk takes a chunk off r; false if there is none or it is broken.
func nextChunk(r *wire.Reader) (chunk, bool) {
	at := *r
	kind, flags, length := r.Uint8(), r.Uint8(), int(r.Uint16())
	if !r.OK() || length < 4 {
		return chunk{}, false
	}
	value := r.Bytes(length - 4)
	whole := at.Bytes(length)
	if !r.OK() {
		return chunk{}, false
	}
	r.Skip(min(wire.Pad4(length), r.Len())) // the last chunk's padding may be missing
	return chunk{chunkType(kind), flags, value, whole}, true
}

// param is a parameter of a chunk, or a cause of an ABORT or ERROR.
type param struct {
	kind  paramType
	value []byte
	whole []byte
}

func nextParam(r *wire.Reader) (param, bool) {
	at := *r
	kind, length := r.Uint16(), int(r.Uint16())
	if !r.OK() || length < 4 {
		return param{}, false
	}
	value := r.Bytes(length - 4)
	whole := at.Bytes(length)
	if !r.OK() {
		return param{}, false
	}
	r.Skip(min(wire.Pad4(length), r.Len()))
	return param{paramType(kind), value, whole}, true
}

// appendChunk appends a chunk with its padding.
func appendChunk(b []byte, kind chunkType, flags uint8, value []byte) []byte {
	b = append(b, byte(kind), flags)
	b = wire.AppendUint16(b, uint16(4+len(value)))
	b = append(b, value...)
	return wire.AppendZeros(b, wire.Pad4(len(value)))
}

// appendParam appends a parameter or cause with its padding.
func appendParam[T paramType | causeCode](b []byte, kind T, value []byte) []byte {
	b = wire.AppendUint16(b, uint16(kind))
	b = wire.AppendUint16(b, uint16(4+len(value)))
	b = append(b, value...)
	return wire.AppendZeros(b, wire.Pad4(len(value)))
}

// appendHeader begins a packet.
func appendHeader(b []byte, from, to uint16, tag uint32) []byte {
	b = wire.AppendUint16(b, from)
	b = wire.AppendUint16(b, to)
	b = wire.AppendUint32(b, tag)
	return wire.AppendUint32(b, 0)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC32c of a packet whose checksum field counts as zero (RFC 9260 appendix A). The field has its
// bytes in the order in which the CRC shifts them, lowest first.
func checksum(packet []byte) uint32 {
	field := [4]byte(packet[8:])
	clear(packet[8:headerSize]) // for one pass over all of it; it is put back
	crc := crc32.Checksum(packet, castagnoli)
	copy(packet[8:], field[:])
	return crc
}

var zeros [4]byte

func putChecksum(packet []byte) { binary.LittleEndian.PutUint32(packet[8:], checksum(packet)) }

// initChunk is an INIT or INIT ACK (RFC 9260 sections 3.3.2 and 3.3.3).
type initChunk struct {
	tag      uint32
	window   uint32
	outgoing uint16 // streams
	incoming uint16
	tsn      uint32
	cookie   []byte
	ext      extensions
	unknown  []byte // "Unrecognized Parameter" parameters to be reported
	hostName bool
}

// extensions is what a peer said that it can do.
type extensions uint8

const (
	extForwardTSN extensions = 1 << iota
	extReconfig
	extZeroChecksum
	extIData
	extIForwardTSN
)

// maxReported bounds what is sent back of parameters and chunks that were not understood, in bytes.
const maxReported = 256

func parseInit(value []byte) (c initChunk, ok bool) {
	r := wire.NewReader(value)
	c.tag, c.window, c.outgoing, c.incoming, c.tsn = r.Uint32(), r.Uint32(), r.Uint16(), r.Uint16(), r.Uint32()
	for r.Len() > 0 {
		p, ok := nextParam(&r)
		if !ok {
			return c, false
		}
		switch p.kind {
		case paramStateCookie:
			c.cookie = p.value
		case paramForwardTSN:
			c.ext |= extForwardTSN
		case paramSupportedExt:
			for _, t := range p.value {
				switch chunkType(t) {
				case typeReconfig:
					c.ext |= extReconfig
				case typeForwardTSN:
					c.ext |= extForwardTSN
				case typeIData:
					c.ext |= extIData
				case typeIForwardTSN:
					c.ext |= extIForwardTSN
				}
			}
		case paramZeroChecksum:
			if len(p.value) == 4 && binary.BigEndian.Uint32(p.value) == zeroChecksumOverTLS {
				c.ext |= extZeroChecksum
			}
		case paramHostName:
			c.hostName = true
		case paramIPv4, paramIPv6, paramAddressTypes, paramPreservative, paramUnrecognized:
		default:
			if p.kind.report() && len(c.unknown)+len(p.whole) <= maxReported {
				c.unknown = appendParam(c.unknown, paramUnrecognized, p.whole)
			}
			if !p.kind.skip() {
				return c, r.OK()
			}
		}
	}
	return c, r.OK()
}

// appendInit appends an INIT or INIT ACK; the cookie is that of an INIT ACK.
func appendInit(b []byte, kind chunkType, c *initChunk) []byte {
	start := len(b)
	b = append(b, byte(kind), 0, 0, 0)
	b = wire.AppendUint32(b, c.tag)
	b = wire.AppendUint32(b, c.window)
	b = wire.AppendUint16(b, c.outgoing)
	b = wire.AppendUint16(b, c.incoming)
	b = wire.AppendUint32(b, c.tsn)
	if c.cookie != nil {
		b = appendParam(b, paramStateCookie, c.cookie)
	}
	b = appendParam(b, paramForwardTSN, nil)
	supported := []byte{byte(typeReconfig), byte(typeForwardTSN)}
	if c.ext&extIData != 0 {
		supported = append(supported, byte(typeIData), byte(typeIForwardTSN))
	}
	b = appendParam(b, paramSupportedExt, supported)
	if c.ext&extZeroChecksum != 0 {
		b = appendParam(b, paramZeroChecksum, []byte{0, 0, 0, zeroChecksumOverTLS})
	}
	b = append(b, c.unknown...)
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// dataChunk is a DATA chunk (RFC 9260 section 3.3.1) or an I-DATA chunk (RFC 8260 section 2.1).
type dataChunk struct {
	flags    uint8
	tsn      uint32
	stream   StreamID
	number   uint32 // SSN, which has 16 bits, or MID
	ppid     uint32 // of an I-DATA chunk only if it is a message's first
	fragment uint32 // FSN
	payload  []byte
}

const (
	dataHeader  = 16
	iDataHeader = 20
)

func parseData(c chunk) (d dataChunk, ok bool) {
	r := wire.NewReader(c.value)
	d.flags = c.flags
	d.tsn, d.stream = r.Uint32(), StreamID(r.Uint16())
	if c.kind == typeData {
		d.number, d.ppid = uint32(r.Uint16()), r.Uint32()
	} else {
		r.Skip(2)
		d.number = r.Uint32()
		if d.flags&flagBegin != 0 {
			d.ppid = r.Uint32()
		} else {
			d.fragment = r.Uint32()
		}
	}
	d.payload = r.Rest()
	return d, r.OK()
}

// sackChunk is a SACK (RFC 9260 section 3.3.4); its blocks and duplicates are read where they lie.
type sackChunk struct {
	cumulative uint32
	window     uint32
	gaps       wire.Reader // pairs of offsets, 16 bits each
	gapCount   int
	duplicates wire.Reader // TSNs
}

func parseSack(value []byte) (s sackChunk, ok bool) {
	r := wire.NewReader(value)
	s.cumulative, s.window = r.Uint32(), r.Uint32()
	s.gapCount = int(r.Uint16())
	duplicates := int(r.Uint16())
	s.gaps = r.Sub(4 * s.gapCount)
	s.duplicates = r.Sub(4 * duplicates)
	return s, r.OK()
}
