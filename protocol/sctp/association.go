package sctp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Config says how to make an Association. Only Rand must be set.
type Config struct {
	// Rand gives entropy: for tags, initial TSNs, the cookie's key and heartbeats.
	Rand io.Reader
	// Server says that this end was the DTLS server: its channels get odd ids, those of the client even ones (RFC 8832
	// section 6). The two ends must differ.
	Server bool
	// LocalPort and RemotePort are the SCTP ports (a=sctp-port, RFC 8841). Default 5000.
	LocalPort, RemotePort uint16
	// MaxPacket is the size of the largest packet to send, in bytes: how far path MTU discovery goes (MAX_PLPMTU of RFC
	// 8899). Default [DefaultMaxPacket]. 512 to 65535.
	MaxPacket int
	// BasePacket is the size of packets to begin with, which most paths carry (BASE_PLPMTU). Default [DefaultBasePacket], or
	// MaxPacket if that is less. If the two are equal, nothing is discovered: so it must be where the layers below cannot
	// do what Unfragmented says.
	BasePacket int
	// MaxMessageSize is the size of the largest message to receive, in bytes; a channel on which a larger one comes is
	// closed. Default 256 KiB.
	MaxMessageSize int
	// PeerMaxMessageSize is the size of the largest message that the peer takes (a=max-message-size); 0: any.
	PeerMaxMessageSize int
	// SendBuffer is how many bytes may be buffered that were not sent yet, over all channels. A message counts at least
	// 256 bytes, which is what it takes. Default 16 MiB.
	SendBuffer int
	// ReceiveBuffer is how many bytes the peer may have sent that were not consumed yet, once the window has grown to it:
	// it begins with 1 MiB, and grows as a program keeps up with a fast peer. Default 16 MiB, and always at least
	// MaxMessageSize and 1 MiB, so that one message never closes the window for itself.
	ReceiveBuffer int
	// MaxChannels is how many channels there may be at a time. Default 2048, at most 65535.
	MaxChannels int
	// NoInterleaving says not to offer that messages are interleaved (RFC 8260): a large message then delays what is
	// sent on other channels.
	NoInterleaving bool
	// LocalInit and RemoteInit are the INIT chunks of the two descriptions (a=sctp-init, decoded from base64), ours as
	// NewInit has made it. If both are set, there is no handshake: the association stands with Connect. The draft wants
	// both or none: who has sent an INIT chunk and got none back leaves RemoteInit empty.
	LocalInit, RemoteInit []byte
	// Patient says that the handshake is not given up, where the layers below know whether the peer is alive: it may not
	// be allowed to answer yet.
	Patient bool
	// ZeroChecksum says that DTLS is below, so that checksums need not be computed if the peer agrees (RFC 9653).
	ZeroChecksum bool
}

// The defaults of BasePacket and MaxPacket.
const (
	DefaultBasePacket = 1160 // what DTLS leaves of a datagram of 1200 bytes
	DefaultMaxPacket  = 1412 // what IPv6, UDP and DTLS leave of Ethernet's 1500
)

// Validate puts defaults where nothing is set and returns what is wrong with c.
func (c *Config) Validate() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.LocalPort == 0 {
		c.LocalPort = 5000
	}
	if c.RemotePort == 0 {
		c.RemotePort = 5000
	}
	def(&c.MaxPacket, max(DefaultMaxPacket, c.BasePacket))
	def(&c.BasePacket, min(DefaultBasePacket, c.MaxPacket))
	def(&c.MaxMessageSize, 256<<10)
	def(&c.SendBuffer, 16<<20)
	def(&c.ReceiveBuffer, 16<<20)
	def(&c.MaxChannels, 2048)
	switch {
	case c.Rand == nil:
		return errors.New("sctp: Config.Rand is missing")
	case c.MaxPacket < 512 || c.MaxPacket > 65535:
		return fmt.Errorf("sctp: Config.MaxPacket is %d, it must be 512 to 65535", c.MaxPacket)
	case c.BasePacket < 512 || c.BasePacket > c.MaxPacket:
		return fmt.Errorf("sctp: Config.BasePacket is %d, it must be 512 to MaxPacket, which is %d", c.BasePacket, c.MaxPacket)
	case c.MaxMessageSize < 0 || c.PeerMaxMessageSize < 0 || c.SendBuffer < 0 || c.ReceiveBuffer < 0:
		return errors.New("sctp: a size in Config is negative")
	case c.MaxMessageSize > 1<<30:
		return fmt.Errorf("sctp: Config.MaxMessageSize is %d, it must be at most %d", c.MaxMessageSize, 1<<30)
	case c.MaxChannels < 1 || c.MaxChannels > maxStreams:
		return fmt.Errorf("sctp: Config.MaxChannels is %d, it must be 1 to %d", c.MaxChannels, maxStreams)
	}
	c.ReceiveBuffer = max(c.ReceiveBuffer, c.MaxMessageSize+1<<20)
	return nil
}

// maxStreams is how many streams are asked for and offered (RFC 8831 section 6.2).
const maxStreams = 65535

// state is that of RFC 9260 section 4.
type state uint8

const (
	stateClosed state = iota // nothing was sent; a peer's INIT is answered
	stateCookieWait
	stateCookieEchoed
	stateEstablished
	stateShutdownPending
	stateShutdownSent
	stateShutdownReceived
	stateShutdownAckSent
	stateDone // for good
)

// The timers.
const (
	timerInit       = iota // T1: INIT or COOKIE ECHO was not answered
	timerShutdown          // T2: SHUTDOWN or SHUTDOWN ACK was not answered
	timerGuard             // T5: the shutdown as a whole
	timerLoss              // what RACK waits for
	timerProbe             // nothing is heard
	timerRetransmit        // T3
	timerPace              // the next burst may leave
	timerSack
	timerHeartbeat
	timerReset
	timerPMTU // a probe of the path MTU was not answered
	timers
)

// Protocol parameters (RFC 9260 section 16). The least RTO is below the recommended second, as it is elsewhere where
// peers delay their acknowledgements by no more than 200 ms.
const (
	initialRTO         = time.Second
	minRTO             = 400 * time.Millisecond
	maxRTO             = 60 * time.Second
	cookieLife         = 60 * time.Second
	maxRetransmits     = 10 // Association.Max.Retrans
	maxInitRetransmits = 8  // Max.Init.Retransmits
	sackDelay          = 200 * time.Millisecond
	heartbeatInterval  = 30 * time.Second
	shutdownGuard      = 5 * maxRTO
)

// Association is one end of an SCTP association with its data channels. It is not safe for concurrent use.
type Association struct {
	cfg    Config
	state  state
	timer  [timers]mono.Time
	events eventQueue
	pool   pool
	spent  []byte // the message of the last event, to be pooled again
	stats  Stats

	// What the two ends told each other.
	key         [32]byte // of cookies
	myTag       uint32
	peerTag     uint32
	myTSN       uint32 // initial
	tieTags     [2]uint32
	ext         extensions // of the peer
	outStreams  int        // that we may send on
	inStreams   int        // that the peer may send on
	cookie      []byte     // to be echoed
	graceful    bool       // it was ended by a shutdown, and the peer may not know yet
	initTries   int
	errors      int // in a row, without a sign of life
	stopTries   int
	path        path
	mtu         pathMTU
	whole       bool   // the last packet must not be fragmented
	heartbeat   uint64 // the nonce that is not answered; 0: none
	lastSent    mono.Time
	sackPending bool // there is something to acknowledge
	due         due  // what the next packets must carry

	replies [][]byte // whole packets with tags of their own
	control []byte   // chunks that answer the peer's

	send    sender
	receive receiver
	reset   resetter

	channels map[StreamID]*channel
	recent   *channel // that was looked up last
	orphans  []orphan
	orphaned int // bytes in them
	labels   int // bytes of labels and protocols
	lowID    int // no id of ours below it is free
}

// due is a set of chunks to be sent.
type due uint16

const (
	dueInit due = 1 << iota
	dueCookieEcho
	dueCookieAck
	dueSack
	dueHeartbeat
	dueForward
	dueReset
	dueShutdown
	dueShutdownAck
)

// Stats tells how an association does. Sizes are in bytes, and of payloads where not said otherwise.
type Stats struct {
	PacketsSent, PacketsReceived     uint64
	BytesSent, BytesReceived         uint64
	MessagesSent, MessagesReceived   uint64
	ChunksRetransmitted              uint64
	MessagesAbandoned                uint64 // of partial reliability
	Timeouts                         uint64 // of T3
	FastRecoveries                   uint64
	Undone                           uint64 // of these and of timeouts: nothing had been lost
	DroppedChecksum, DroppedTag      uint64 // packets
	DroppedMalformed                 uint64 // packets or chunks
	DroppedWindow                    uint64 // chunks beyond the window
	DroppedUnknownChannel            uint64 // messages
	DuplicateChunks                  uint64
	BlackHoles                       uint64        // the path carried no more what it did
	RTT                              time.Duration // smoothed; 0 before the first measurement
	CongestionWindow, Outstanding    int
	PeerWindow, ReceiveBuffered, MTU int // the MTU is the size of SCTP packets (PLPMTU of RFC 8899)
}

// New makes an association that has sent nothing yet and answers a peer's INIT.
func New(cfg Config) (*Association, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Association{cfg: cfg, channels: map[StreamID]*channel{}}
	for i := range a.timer {
		a.timer[i] = mono.Never
	}
	if _, err := io.ReadFull(cfg.Rand, a.key[:]); err != nil {
		return nil, fmt.Errorf("sctp: Config.Rand: %w", err)
	}
	a.begin()
	if err := a.takeDescribed(); err != nil {
		return nil, err
	}
	return a, nil
}

// begin sets the association's half of what both ends will tell each other.
func (a *Association) begin() {
	a.myTag = a.randomTag()
	a.path.init()
	a.start(a.random32())
	a.receive = receiver{}
	a.errors, a.stopTries, a.heartbeat = 0, 0, 0
	a.sackPending = false
	a.due = 0
	a.control = nil
}

// start sets the first TSN of what this end sends, which is the first number of its requests too.
func (a *Association) start(tsn uint32) {
	a.myTSN = tsn
	a.mtu = pathMTU{size: a.cfg.BasePacket}
	a.send.init(tsn, a.mtu.size)
	a.reset = resetter{next: tsn}
}

// random32 returns entropy. A reader that fails later than in New gives zeros: every use of it only makes guessing
// harder for somebody who would have to break DTLS first.
func (a *Association) random32() uint32 {
	var b [4]byte
	io.ReadFull(a.cfg.Rand, b[:])
	return binary.BigEndian.Uint32(b[:])
}

// randomTag returns a tag, which is never 0 (RFC 9260 section 5.3.1).
func (a *Association) randomTag() uint32 {
	for range 8 {
		if tag := a.random32(); tag != 0 {
			return tag
		}
	}
	return 1
}

// Stats returns a snapshot.
func (a *Association) Stats() Stats {
	s := a.stats
	s.RTT = a.path.srtt
	s.CongestionWindow, s.Outstanding = a.send.cc.window, a.send.outstanding
	s.PeerWindow, s.ReceiveBuffered = a.send.peerWindow, a.receive.held
	s.MTU = a.mtu.size
	return s
}

// Streams returns how many streams there are in each direction, at most 65535: what was negotiated (RFC 9260 section 5.1.1),
// and what was added since. They are 0 before the peer has said anything.
func (a *Association) Streams() (outgoing, incoming int) { return a.outStreams, a.inStreams }

// Over reports whether the association has ended, for good.
func (a *Association) Over() bool { return a.state == stateDone }

// HandlePacket takes a packet from the peer. What is wrong with it is counted, never an error; the packet is borrowed.
func (a *Association) HandlePacket(now mono.Time, packet []byte) {
	if a.state == stateDone && !a.graceful {
		return
	}
	if a.state == stateClosed && a.described() { // the peer was faster
		a.Connect(now)
	}
	a.stats.PacketsReceived++
	r := wire.NewReader(packet)
	from, to, tag, sum := r.Uint16(), r.Uint16(), r.Uint32(), r.Bytes(4)
	if !r.OK() || from != a.cfg.RemotePort || to != a.cfg.LocalPort {
		a.stats.DroppedMalformed++
		return
	}
	first, ok := nextChunk(&r)
	if !ok {
		a.stats.DroppedMalformed++
		return
	}
	if got := binary.LittleEndian.Uint32(sum); got != checksum(packet) && !(got == 0 && a.mayLackChecksum(first.kind)) {
		a.stats.DroppedChecksum++
		return
	}
	if a.state == stateDone {
		if first.kind == typeShutdownAck { // our SHUTDOWN COMPLETE was lost
			a.reply(tag, appendChunk(nil, typeShutdownComplete, flagReflected, nil))
		}
		return
	}
	if !a.tagFits(tag, first, r.Len() > 0) {
		a.stats.DroppedTag++
		return
	}
	a.handleChunks(now, tag, first, r)
}

// mayLackChecksum: a packet that begins with INIT or COOKIE ECHO never may (RFC 9653 section 5.3).
func (a *Association) mayLackChecksum(first chunkType) bool {
	return a.cfg.ZeroChecksum && first != typeInit && first != typeCookieEcho
}

// tagFits applies the rules of RFC 9260 section 8.5, and answers what is out of the blue (section 8.4).
func (a *Association) tagFits(tag uint32, first chunk, more bool) bool {
	switch first.kind {
	case typeInit:
		return tag == 0 && !more
	case typeCookieEcho:
		return true // the cookie says
	case typeShutdownAck:
		if a.state < stateEstablished {
			a.reply(tag, appendChunk(nil, typeShutdownComplete, flagReflected, nil))
			return false
		}
	}
	if a.state == stateClosed {
		switch first.kind {
		case typeAbort, typeShutdownAck, typeShutdownComplete, typeError, typeCookieAck:
		default:
			a.reply(tag, appendChunk(nil, typeAbort, flagReflected, nil))
		}
		return false
	}
	switch first.kind {
	case typeAbort, typeShutdownComplete:
		if first.flags&flagReflected != 0 {
			return tag == a.peerTag && a.peerTag != 0
		}
	}
	return tag == a.myTag
}

func (a *Association) handleChunks(now mono.Time, tag uint32, c chunk, r wire.Reader) {
	hadData := false
	for ok := true; ok; c, ok = nextChunk(&r) {
		if !a.handleChunk(now, tag, c, &hadData) || a.state == stateDone {
			break
		}
		if r.Len() == 0 {
			break
		}
	}
	if hadData && a.state != stateDone {
		a.afterData(now)
	}
	if a.state == stateShutdownPending || a.state == stateShutdownReceived {
		a.proceedShutdown(now)
	}
}

// handleChunk returns false if the rest of the packet is not to be looked at.
func (a *Association) handleChunk(now mono.Time, tag uint32, c chunk, hadData *bool) bool {
	standing := a.state >= stateEstablished
	switch c.kind {
	case typeInit:
		a.handleInit(now, c)
		return false
	case typeInitAck:
		a.handleInitAck(now, c)
		return false
	case typeCookieEcho:
		return a.handleCookieEcho(now, tag, c)
	case typeCookieAck:
		a.handleCookieAck(now)
	case typeAbort:
		a.handleAbort(c)
		return false
	case typeError:
		a.handleError(now, c)
	case typeShutdownComplete:
		if a.state == stateShutdownAckSent {
			a.finish(nil)
		}
		return false
	case typePad:
	case typeHeartbeat:
		if standing || a.state == stateCookieEchoed {
			a.answer(appendChunk(nil, typeHeartbeatAck, 0, c.value))
		}
	case typeData, typeIData:
		if standing && a.handleData(now, c) {
			*hadData = true
		} else if a.state == stateCookieEchoed { // the peer stands: our COOKIE ECHO has arrived, and its answer has not
			a.due |= dueCookieEcho
		}
	case typeSack:
		if standing {
			a.handleSack(now, c)
		}
	case typeHeartbeatAck:
		if standing {
			a.handleHeartbeatAck(now, c)
		}
	case typeForwardTSN, typeIForwardTSN:
		if standing && a.handleForwardTSN(now, c) {
			*hadData = true
		}
	case typeReconfig:
		if standing {
			a.handleReconfig(now, c)
		}
	case typeShutdown:
		if standing {
			a.handleShutdown(now, c)
		}
	case typeShutdownAck:
		if standing {
			a.handleShutdownAck()
			return false
		}
	default:
		if c.kind.report() {
			a.answer(appendChunk(nil, typeError, 0,
				appendParam(nil, causeUnrecognized, c.whole[:min(len(c.whole), maxReported)])))
		}
		return c.kind.skip()
	}
	return true
}

// maxControl bounds the answers that wait, in bytes; what does not fit is dropped, and the peer asks again.
const maxControl = 1024

// answer sends a chunk with one of the next packets.
func (a *Association) answer(c []byte) {
	if len(a.control)+len(c) <= min(maxControl, a.mtu.size-headerSize-4) {
		a.control = append(a.control, c...)
	}
}

const maxReplies = 8

// reply sends a chunk in a packet of its own with the given tag.
func (a *Association) reply(tag uint32, c []byte) {
	if len(a.replies) >= maxReplies || headerSize+len(c) > a.cfg.MaxPacket {
		return
	}
	p := append(appendHeader(nil, a.cfg.LocalPort, a.cfg.RemotePort, tag), c...)
	putChecksum(p)
	a.replies = append(a.replies, p)
}

// HandleTimeout does what is due.
func (a *Association) HandleTimeout(now mono.Time) {
	for i := range a.timer {
		if a.timer[i] > now {
			continue
		}
		a.timer[i] = mono.Never
		switch i {
		case timerInit:
			a.initTimeout(now)
		case timerShutdown:
			a.shutdownTimeout(now)
		case timerGuard:
			a.abort(appendParam(nil, causeUserAbort, []byte("shutdown takes too long")), &Error{Reason: "the shutdown took too long"})
		case timerLoss:
			a.lossTimeout(now)
		case timerProbe:
			a.probeTimeout(now)
		case timerRetransmit:
			a.retransmitTimeout(now)
		case timerPace: // AppendPacket has more to say
		case timerSack:
			a.due |= dueSack
		case timerHeartbeat:
			a.heartbeatTimeout(now)
		case timerReset:
			a.resetTimeout(now)
		case timerPMTU:
			a.probeUnanswered(now)
		}
	}
}

// NextTimeout returns when HandleTimeout is due, or mono.Never.
func (a *Association) NextTimeout() mono.Time {
	next := mono.Never
	for _, t := range a.timer {
		next = min(next, t)
	}
	return next
}

// AppendPacket appends the next packet to dst, or nothing if there is none to be sent now. It needs room for MaxPacket
// bytes.
func (a *Association) AppendPacket(dst []byte, now mono.Time) []byte {
	a.whole = false
	if len(a.replies) > 0 {
		dst = append(dst, a.replies[0]...)
		a.replies = a.replies[1:]
		if len(a.replies) == 0 {
			a.replies = nil
		}
		a.sentPacket()
		return dst
	}
	if a.state == stateClosed || a.state == stateDone {
		return dst
	}
	start := len(dst)
	tag := a.peerTag
	if a.due&dueInit != 0 {
		tag = 0
	}
	b := appendHeader(dst, a.cfg.LocalPort, a.cfg.RemotePort, tag)
	bare := true
	if a.mtu.due && a.state == stateEstablished {
		b = a.appendProbe(b, start, now)
		a.whole = true
	} else {
		a.send.launched = 0
		b, bare = a.appendChunks(b, start+a.mtu.size, now)
		size := len(b) - start
		a.whole = size > a.cfg.BasePacket && size <= a.mtu.size
		a.mark(size)
	}
	if len(b) == start+headerSize {
		return dst
	}
	if !bare || a.ext&extZeroChecksum == 0 || !a.cfg.ZeroChecksum {
		putChecksum(b[start:])
	}
	a.sentPacket()
	return b
}

// Unfragmented reports whether the packet that AppendPacket has just returned must not be fragmented on its way (DF, or for
// IPv6 no fragmentation by the sender; RFC 8899 section 3, item 2): probes, and what is larger than BasePacket. What must be
// larger than the path carries may be.
func (a *Association) Unfragmented() bool { return a.whole }

func (a *Association) sentPacket() { a.stats.PacketsSent++ }

// appendChunks fills a packet up to limit; bare says that it needs no checksum if the peer agrees.
func (a *Association) appendChunks(b []byte, limit int, now mono.Time) (_ []byte, bare bool) {
	if len(a.reset.waiting) > 0 {
		a.request(now)
	}
	take := func(d due) bool {
		was := a.due&d != 0
		a.due &^= d
		return was
	}
	if take(dueInit) {
		return appendInit(b, typeInit, a.offer()), false
	}
	if take(dueCookieEcho) {
		return appendChunk(b, typeCookieEcho, 0, a.cookie), false
	}
	if a.state < stateEstablished {
		return b, false
	}
	if take(dueCookieAck) {
		b = appendChunk(b, typeCookieAck, 0, nil)
	}
	if take(dueShutdownAck) {
		return appendChunk(b, typeShutdownAck, 0, nil), true
	}
	plain := len(b)
	if a.sackPending {
		b = a.appendSack(b, limit) // taken back below if nothing else goes with it
	}
	withSack := len(b)
	if len(a.control) > 0 && len(b)+len(a.control) <= limit {
		b = append(b, a.control...)
		a.control = a.control[:0]
	}
	if take(dueShutdown) {
		b = a.appendShutdown(b)
	}
	if a.due&dueReset != 0 {
		b = a.appendReset(b, limit, now)
	}
	if a.due&dueForward != 0 {
		b = a.appendForward(b, limit, now)
	}
	if a.due&dueHeartbeat != 0 && len(b)+heartbeatSize <= limit {
		a.due &^= dueHeartbeat
		b = appendHeartbeat(b, a.heartbeat, now)
	}
	b = a.appendData(b, limit, now)
	if withSack > plain {
		if len(b) == withSack && a.due&dueSack == 0 {
			return b[:plain], true
		}
		a.sackSent()
	} else {
		a.due &^= dueSack
	}
	return b, true
}

// NextEvent returns the next event; false if there is none.
func (a *Association) NextEvent() (Event, bool) {
	if a.spent != nil {
		a.pool.put(a.spent)
		a.spent = nil
	}
	e, ok := a.events.pop()
	a.spent = e.Data
	return e, ok
}

func (a *Association) tell(e Event) { a.events.push(e) }

// near returns the number that n stands for, the one nearest to base.
func near(base int64, n uint32) int64 { return base + seqnum.Diff(n, uint32(base)) }
