package dtls

import (
	"crypto/aes"
	"encoding/binary"
	"slices"
)

const (
	plainHeader  = 13 // of DTLSPlaintext, and of DTLS 1.2's ciphertext
	maxPlaintext = 1 << 14
	maxSequence  = 1<<48 - 1

	unifiedMask  = 0xe0 // 001CSLEE, RFC 9147 section 4
	unifiedBits  = 0x20
	unifiedCID   = 0x10
	unifiedSeq16 = 0x08
	unifiedLen   = 0x04
	unifiedEpoch = 0x03
)

// A recordNumber names a record, as ACKs do.
type recordNumber struct{ epoch, seq uint64 }

type writeEpoch struct {
	protection
	number uint64
	next   uint64 // sequence number
}

type readEpoch struct {
	protection
	number uint64
	window replayWindow
	forged uint64 // records that did not hold
}

// records is the record layer of both versions: the epochs whose keys exist, the newest last.
type records struct {
	writes   []*writeEpoch
	reads    []*readEpoch
	readCID  []byte // in each protected record that comes
	writeCID []byte // in each that goes

	// On the heap with the Conn, because whatever goes into an AEAD's method escapes.
	nonce [nonceLen]byte
	block [aes.BlockSize]byte

	version Version // 0 until negotiated
	ad      []byte
}

func (r *records) write() *writeEpoch { return r.writes[len(r.writes)-1] }

// epoch returns the keys to send in an epoch, or nil if they are gone.
func (r *records) writeEpoch(number uint64) *writeEpoch {
	for _, w := range r.writes {
		if w.number == number {
			return w
		}
	}
	return nil
}

func (r *records) readEpoch(number uint64) *readEpoch {
	for _, e := range r.reads {
		if e.number == number {
			return e
		}
	}
	return nil
}

// unifiedEpoch finds the most recent epoch that ends in two given bits (RFC 9147 section 4.2.2).
func (r *records) unifiedEpoch(bits uint64) *readEpoch {
	for i := len(r.reads) - 1; i >= 0; i-- {
		if e := r.reads[i]; e.aead != nil && e.number&unifiedEpoch == bits {
			return e
		}
	}
	return nil
}

func (r *records) dropReads(below uint64) {
	r.reads = slices.DeleteFunc(r.reads, func(e *readEpoch) bool { return e.number < below })
}

// overhead is what sealing in an epoch adds to a record's content, in bytes.
func (r *records) overhead(w *writeEpoch) int {
	switch {
	case w.aead == nil:
		return plainHeader
	case r.version == Version13:
		return 1 + len(r.writeCID) + 2 + 2 + 1 + tagLen
	}
	n := plainHeader + tagLen
	if w.explicit {
		n += explicitLen
	}
	if len(r.writeCID) > 0 {
		n += len(r.writeCID) + 1
	}
	return n
}

// seal appends one record, whose content is head and body, and returns its number too. The content must not overlap
// what dst has room for.
func (r *records) seal(dst []byte, w *writeEpoch, typ contentType, head, body []byte) ([]byte, recordNumber) {
	seq := w.next
	w.next++
	n := len(head) + len(body)
	dst = slices.Grow(dst, n+r.overhead(w))
	switch {
	case w.aead == nil:
		dst = appendPlainHeader(dst, typ, w.number, seq)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = append(append(dst, head...), body...)
	case r.version == Version13:
		dst = r.seal13(dst, w, seq, typ, head, body)
	default:
		dst = r.seal12(dst, w, seq, typ, head, body)
	}
	return dst, recordNumber{w.number, seq}
}

func appendPlainHeader(dst []byte, typ contentType, epoch, seq uint64) []byte {
	dst = append(dst, byte(typ), byte(Version12>>8), byte(Version12&0xff))
	return binary.BigEndian.AppendUint64(dst, epoch<<48|seq)
}

func (r *records) seal13(dst []byte, w *writeEpoch, seq uint64, typ contentType, head, body []byte) []byte {
	start := len(dst)
	first := byte(unifiedBits | unifiedSeq16 | unifiedLen | w.number&unifiedEpoch)
	if len(r.writeCID) > 0 {
		first |= unifiedCID
	}
	dst = append(append(dst, first), r.writeCID...)
	number := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(seq))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(head)+len(body)+1+tagLen))
	content := len(dst)
	dst = append(append(append(dst, head...), body...), byte(typ))
	dst = w.aead.Seal(dst[:content], w.protection.nonce(&r.nonce, seq), dst[content:], dst[start:content])
	w.mask(&r.block, dst[number:number+2], dst[content:])
	return dst
}

func (r *records) seal12(dst []byte, w *writeEpoch, seq uint64, typ contentType, head, body []byte) []byte {
	n := len(head) + len(body)
	outer := typ
	if len(r.writeCID) > 0 {
		outer = typeCID
		n++ // the type moves inside
	}
	header := len(dst)
	dst = append(appendPlainHeader(dst, outer, w.number, seq), r.writeCID...)
	number := w.number<<48 | seq
	r.ad = appendAD12(r.ad[:0], dst[header:header+plainHeader-2], r.writeCID, n)
	wire := n + tagLen
	if w.explicit {
		wire += explicitLen
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(wire))
	if w.explicit {
		dst = binary.BigEndian.AppendUint64(dst, number)
	}
	content := len(dst)
	dst = append(append(dst, head...), body...)
	if outer == typeCID {
		dst = append(dst, byte(typ))
	}
	return w.aead.Seal(dst[:content], w.protection.nonce(&r.nonce, number), dst[content:], r.ad)
}

// appendAD12 appends the additional data of a DTLS 1.2 record whose header, without length, is given: RFC 6347 section
// 4.1.2.1, or with a connection ID RFC 9146 section 5.3.
func appendAD12(ad, header, cid []byte, n int) []byte {
	if contentType(header[0]) == typeCID {
		ad = append(ad, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, byte(typeCID), byte(len(cid)))
		ad = append(append(ad, header...), cid...)
	} else {
		ad = append(append(ad, header[3:]...), header[:3]...) // number, type, version
	}
	return binary.BigEndian.AppendUint16(ad, uint16(n))
}

// A record is one of a datagram's, not yet opened.
type record struct {
	typ     contentType // 0 in a unified header, which does not tell
	epoch   uint64      // its two lowest bits only in a unified header
	seq     uint64      // not in a unified header, where it is encrypted
	raw     []byte      // all of it
	bodyAt  int         // where the content begins in raw
	seqAt   int         // where the number stands in a unified header
	unified bool
}

// parse cuts the first record off a datagram. If there is none, the rest of the datagram means nothing.
func (r *records) parse(b []byte) (rec record, rest []byte, ok bool) {
	if len(b) == 0 {
		return rec, nil, false
	}
	if b[0]&unifiedMask == unifiedBits {
		return r.parseUnified(b)
	}
	if len(b) < plainHeader || b[1] != byte(Version12>>8) {
		return rec, nil, false
	}
	rec.typ = contentType(b[0])
	rec.epoch = uint64(binary.BigEndian.Uint16(b[3:]))
	rec.seq = binary.BigEndian.Uint64(b[3:]) & maxSequence
	rec.bodyAt = plainHeader
	if rec.typ == typeCID {
		if rec.bodyAt += len(r.readCID); len(r.readCID) == 0 || len(b) < rec.bodyAt || string(b[plainHeader-2:rec.bodyAt-2]) != string(r.readCID) {
			return rec, nil, false
		}
	}
	n := int(binary.BigEndian.Uint16(b[rec.bodyAt-2:]))
	if len(b)-rec.bodyAt < n {
		return rec, nil, false
	}
	rec.raw = b[:rec.bodyAt+n]
	return rec, b[rec.bodyAt+n:], true
}

func (r *records) parseUnified(b []byte) (rec record, rest []byte, ok bool) {
	rec.unified = true
	rec.epoch = uint64(b[0] & unifiedEpoch)
	at := 1
	if b[0]&unifiedCID != 0 {
		// If no CID is negotiated, then the receiver MUST reject any records it receives that contain a CID
		// (RFC 9147 section 9.1).
		if at += len(r.readCID); len(r.readCID) == 0 || len(b) < at || string(b[1:at]) != string(r.readCID) {
			return rec, nil, false
		}
	} else if len(r.readCID) > 0 {
		return rec, nil, false
	}
	rec.seqAt = at
	if at++; b[0]&unifiedSeq16 != 0 {
		at++
	}
	end := len(b)
	if b[0]&unifiedLen != 0 {
		if len(b) < at+2 {
			return rec, nil, false
		}
		end = at + 2 + int(binary.BigEndian.Uint16(b[at:]))
		at += 2
	}
	if end > len(b) || end-at < tagLen {
		return rec, nil, false
	}
	rec.bodyAt = at
	rec.raw = b[:end]
	return rec, b[end:], true
}

// open decrypts a protected record in place. The epoch's window is not marked yet. ok is false if it does not hold;
// fresh is false if it was seen before.
func (r *records) open(rec *record, e *readEpoch) (typ contentType, content []byte, fresh, ok bool) {
	if rec.unified {
		return r.open13(rec, e)
	}
	return r.open12(rec, e)
}

func (r *records) open13(rec *record, e *readEpoch) (typ contentType, content []byte, fresh, ok bool) {
	header, body := rec.raw[:rec.bodyAt], rec.raw[rec.bodyAt:]
	number := header[rec.seqAt : rec.seqAt+1]
	if header[0]&unifiedSeq16 != 0 {
		number = header[rec.seqAt : rec.seqAt+2]
	}
	e.mask(&r.block, number, body)
	var low uint64
	for _, b := range number {
		low = low<<8 | uint64(b)
	}
	rec.epoch, rec.seq = e.number, reconstruct(e.window.next, low, uint(8*len(number)))
	plain, err := e.aead.Open(body[:0], e.protection.nonce(&r.nonce, rec.seq), body, header)
	if err != nil {
		return 0, nil, false, false
	}
	typ, content = stripPadding(plain)
	return typ, content, e.window.fresh(rec.seq), true
}

func (r *records) open12(rec *record, e *readEpoch) (typ contentType, content []byte, fresh, ok bool) {
	if !e.window.fresh(rec.seq) { // the number stands in the clear: there is no timing to hide
		return 0, nil, false, true
	}
	body := rec.raw[rec.bodyAt:]
	number := e.number<<48 | rec.seq
	nonce := e.protection.nonce(&r.nonce, number)
	if e.explicit {
		if len(body) < explicitLen {
			return 0, nil, false, false
		}
		copy(nonce[4:], body)
		body = body[explicitLen:]
	}
	if len(body) < tagLen || (len(r.readCID) > 0) != (rec.typ == typeCID) {
		return 0, nil, false, false
	}
	r.ad = appendAD12(r.ad[:0], rec.raw[:plainHeader-2], r.readCID, len(body)-tagLen)
	plain, err := e.aead.Open(body[:0], nonce, body, r.ad)
	if err != nil {
		return 0, nil, false, false
	}
	if rec.typ == typeCID {
		typ, content = stripPadding(plain)
		return typ, content, true, true
	}
	return rec.typ, plain, true, true
}

// stripPadding splits a DTLSInnerPlaintext: content, type, zeros. All zeros have type 0, which is none.
func stripPadding(b []byte) (contentType, []byte) {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return contentType(b[i]), b[:i]
		}
	}
	return 0, nil
}

// reconstruct returns the number that ends in the given low bits and is closest to the one expected (RFC 9147 section
// 4.2.2).
func reconstruct(expected, low uint64, bits uint) uint64 {
	size := uint64(1) << bits
	seq := expected&^(size-1) | low
	switch {
	case seq > expected && seq-expected > size/2 && seq >= size:
		return seq - size
	case seq < expected && expected-seq > size/2:
		return seq + size
	}
	return seq
}
