package pkt

// Transmit is one datagram to send, or several of one size to the same address.
type Transmit struct {
	Path
	ECN  ECN
	DSCP DSCP
	// SegmentSize, if not zero, cuts the payload into datagrams of that many bytes, the last of which may be shorter; at
	// most 64 of them, and 65,000 bytes, because that is what a system sends at once. Zero: the payload is one datagram.
	SegmentSize uint16
	// Unfragmented asks that the datagram be dropped on the way rather than fragmented (RFC 8656 section 9, DONT-FRAGMENT).
	Unfragmented bool
	Payload      []byte
}

// Segments returns the number of datagrams that t stands for.
func (t *Transmit) Segments() int {
	if t.SegmentSize == 0 || len(t.Payload) <= int(t.SegmentSize) {
		return 1
	}
	return (len(t.Payload) + int(t.SegmentSize) - 1) / int(t.SegmentSize)
}

// Batch is a driver's arena for what is to be sent: a fixed number of bytes and of transmits, made once and used again.
//
// An engine reserves room, appends its packet to what it got and commits:
//
//	buf := b.Reserve(maxPacket)
//	if buf == nil {
//		return true // full: keep the packet, the driver calls again
//	}
//	b.Commit(pkt.Transmit{Path: path, Payload: appendPacket(buf)})
//
// What is not committed was never written, so an engine may write a packet and then find it empty. Nothing here
// allocates. A Batch is not safe for concurrent use.
type Batch struct {
	arena     []byte // the length is what is committed
	transmits []Transmit
}

// NewBatch returns an empty batch with room for the given number of payload bytes and of transmits. Both must be at
// least 1, and a batch that has fewer bytes than an engine's largest packet starves that engine.
func NewBatch(bytes, transmits int) *Batch {
	return &Batch{arena: make([]byte, 0, max(bytes, 1)), transmits: make([]Transmit, 0, max(transmits, 1))}
}

// Reserve returns an empty slice with room for exactly n bytes, or nil if the batch has no room for another transmit of
// n bytes. It claims nothing: the next Reserve returns the same memory unless Commit came between.
func (b *Batch) Reserve(n int) []byte {
	if n < 0 || n > cap(b.arena)-len(b.arena) || len(b.transmits) == cap(b.transmits) {
		return nil
	}
	end := len(b.arena)
	return b.arena[end : end : end+n]
}

// Commit adds t, whose payload must be the slice of the last Reserve with bytes appended to it. It panics if the payload
// is anything else, because then the engine wrote more than it reserved; what is sent must never depend on that.
func (b *Batch) Commit(t Transmit) {
	end := len(b.arena)
	n := len(t.Payload)
	if n > cap(b.arena)-end || n > 0 && &t.Payload[0] != &b.arena[end : end+1][0] {
		panic("pkt: Commit of a payload that is not in the memory that Reserve returned")
	}
	if len(b.transmits) == cap(b.transmits) {
		panic("pkt: Commit without Reserve into a full batch")
	}
	b.arena = b.arena[:end+n]
	t.Payload = t.Payload[:n:n]
	b.transmits = append(b.transmits, t)
}

// Append copies t, payload included, into the batch. It returns false, and changes nothing, if there is no room.
func (b *Batch) Append(t Transmit) bool {
	buf := b.Reserve(len(t.Payload))
	if buf == nil {
		return false
	}
	t.Payload = append(buf, t.Payload...)
	b.Commit(t)
	return true
}

// Lend adds t without copying its payload, for an engine that keeps the packet in memory of its own anyway. It is for
// AppendTransmit only: the payload must stay as it is until the engine is called again, and a driver sends what
// AppendTransmit wrote before it calls the engine with anything new. Lend returns false, and changes nothing, if there is
// no room for another transmit.
func (b *Batch) Lend(t Transmit) bool {
	if len(b.transmits) == cap(b.transmits) {
		return false
	}
	b.transmits = append(b.transmits, t)
	return true
}

// Len returns the number of transmits in b.
func (b *Batch) Len() int { return len(b.transmits) }

// Room returns how many bytes, and how many transmits, still fit.
func (b *Batch) Room() (bytes, transmits int) {
	return cap(b.arena) - len(b.arena), cap(b.transmits) - len(b.transmits)
}

// Transmits returns what is to be sent, in order. The driver may reorder the slice; it is valid until Reset.
func (b *Batch) Transmits() []Transmit { return b.transmits }

// Reset empties b for the next round.
func (b *Batch) Reset() {
	b.arena = b.arena[:0]
	b.transmits = b.transmits[:0]
}
