package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const (
	// streamQueue is how many bytes wait to be written before media is dropped: a second of two megabits.
	streamQueue = 256 << 10
	// streamControl is how many bytes of frames that must not be dropped may wait on top of that.
	streamControl = 64 << 10
	// streamWrite is how much is written at a time, and has the stream's patience to leave: one record of TLS.
	streamWrite = 16 << 10
	// streamPatience ends a stream whose peer sent half a frame, or took nothing, for so long.
	streamPatience = 10 * time.Second
	// streamLinger is how long what is queued may take to leave after the tenant closed the stream.
	streamLinger = 5 * time.Second
	// streamBuffer is the first size of a read buffer; it grows when a longer frame comes.
	streamBuffer = 4 << 10
	// streamKeep is the longest queue whose memory an idle stream keeps.
	streamKeep = 16 << 10
)

// stream is a byte stream in the place of a socket. One goroutine reads it and posts whole frames; another writes what
// is queued, and exists only while there is something.
type stream struct {
	lease   *Lease
	name    pkt.Socket
	conn    net.Conn
	framing Framing
	local   netip.AddrPort
	remote  netip.AddrPort
	chunks  chan *chunk // what the reader may read into

	mu      sync.Mutex
	queue   []byte // to be written next
	taken   []byte // being written
	spare   []byte // what was written before, empty: the next queue
	writing int    // the length of taken
	writer  bool   // exists
	closing bool   // nothing is queued any more
	closed  bool   // the writer has closed the connection, or is about to
	closeBy time.Time
}

// Adopt makes a stream a socket of the tenant: each frame that framing finds comes in as a datagram and each transmit
// goes out as a frame. When the peer is too slow, droppable frames are dropped; half a frame for 10 s ends the stream
// and so does anything that is no frame. A tenant that is a CloseHandler learns of the end.
//
// From now on the loop owns conn and closes it. Whatever the listener has to say to the peer first, such as a TLS
// handshake, must be done.
func (lease *Lease) Adopt(conn net.Conn, framing Framing) (pkt.Socket, error) {
	if lease.ended {
		return 0, ErrClosed
	}
	s := &stream{
		lease: lease, conn: conn, framing: framing, chunks: make(chan *chunk, 2),
		local: addrPort(conn.LocalAddr()), remote: addrPort(conn.RemoteAddr()),
	}
	name, err := lease.loop.sockets.add(lease, s)
	if err != nil {
		return 0, err
	}
	s.name = name
	for range cap(s.chunks) {
		c := &chunk{stream: s}
		c.post = c.deliver
		s.chunks <- c
	}
	go s.read()
	return name, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String()) // invalid for what has no such address, as a pipe
	return ap
}

// chunk is what one read brought: whole frames. The reader has two, so that it reads while the loop handles.
type chunk struct {
	stream *stream
	buf    []byte
	frames []Frame // offsets from the start of buf
	post   func(mono.Time)

	datagram pkt.Datagram
}

// read is the reader.
func (s *stream) read() {
	l := s.lease.loop
	broken := s.readFrames()
	l.Post(func(now mono.Time) {
		if !s.isOpen() {
			return // the tenant closed it
		}
		if broken {
			l.count.StreamsBroken++
		}
		l.sockets.remove(s.name)
		s.close()
		if t, ok := s.lease.tenant.(CloseHandler); ok {
			s.lease.Touch()
			t.HandleClose(now, s.name)
		}
	})
}

// readFrames reads until the stream ends, and returns whether the peer broke the rules.
func (s *stream) readFrames() (broken bool) {
	l := s.lease.loop
	var rest []byte // the part of a frame that the last chunk ended with; the loop does not touch it
	patient := true // no read deadline is set
	for {
		c := <-s.chunks
		if c.buf == nil {
			c.buf = make([]byte, 0, streamBuffer)
		}
		c.buf = append(c.buf[:0], rest...)
		c.frames = c.frames[:0]
		if !patient {
			_ = s.conn.SetReadDeadline(time.Time{})
			patient = true
		}
		start := 0
		for len(c.frames) == 0 {
			if patient && len(c.buf) > 0 {
				_ = s.conn.SetReadDeadline(time.Now().Add(streamPatience))
				patient = false
			}
			if len(c.buf) == cap(c.buf) {
				c.buf = append(make([]byte, 0, min(2*cap(c.buf), 2*maxFrame)), c.buf...)
			}
			n, err := s.conn.Read(c.buf[len(c.buf):cap(c.buf)])
			c.buf = c.buf[:len(c.buf)+n]
			for {
				f, bad := s.framing.Next(c.buf[start:])
				if bad != nil {
					broken, err = true, bad
				}
				if bad != nil || f.Size == 0 || f.Size > len(c.buf)-start {
					break
				}
				c.frames = append(c.frames, Frame{start + f.Start, start + f.End, start + f.Size})
				start += f.Size
			}
			if err != nil {
				if len(c.frames) > 0 {
					l.Post(c.post)
				}
				return broken || errors.Is(err, os.ErrDeadlineExceeded)
			}
		}
		rest = c.buf[start:]
		if !l.Post(c.post) {
			return false
		}
	}
}

// isOpen reports, on the loop, whether the tenant still has the stream.
func (s *stream) isOpen() bool {
	open := s.lease.loop.sockets.get(s.name)
	return open != nil && open.stream == s
}

// deliver hands the frames to the tenant, on the loop, and gives the chunk back to the reader.
func (c *chunk) deliver(mono.Time) {
	s, l := c.stream, c.stream.lease.loop
	for _, f := range c.frames {
		if !s.isOpen() {
			break // the tenant closed it
		}
		l.count.StreamFrames++
		c.datagram = pkt.Datagram{
			Path:    pkt.Path{Socket: s.name, Local: s.local, Remote: s.remote},
			Payload: c.buf[f.Start:f.End:f.End],
		}
		l.HandleDatagram(&c.datagram)
	}
	s.chunks <- c
}

// send queues ts, on the loop.
func (s *stream) send(ts []*pkt.Transmit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range ts {
		payload := t.Payload
		for {
			n := len(payload)
			if t.SegmentSize > 0 {
				n = min(n, int(t.SegmentSize))
			}
			s.put(payload[:n])
			payload = payload[n:]
			if len(payload) == 0 {
				break
			}
		}
	}
	s.startWriter()
}

// put queues one frame.
func (s *stream) put(frame []byte) {
	if s.closing {
		return
	}
	count := &s.lease.loop.count
	waiting := s.writing + len(s.queue) + len(frame)
	switch {
	case waiting <= streamQueue || waiting <= streamQueue+streamControl && !s.framing.Droppable(frame):
		count.StreamFramesSent++
		s.queue = s.framing.Append(s.queue, frame)
	case s.framing.Droppable(frame):
		count.StreamDrops++
	default:
		// The reader notices, and tells the tenant.
		count.StreamsOverflowed++
		s.abandon()
	}
}

// close lets what is queued leave and closes the stream.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.closing, s.closeBy = true, time.Now().Add(streamLinger)
	_ = s.conn.SetWriteDeadline(s.closeBy)
	s.startWriter()
}

// abandon forgets what is queued and closes the stream.
func (s *stream) abandon() {
	s.queue = nil
	s.closing, s.closeBy = true, time.Now()
	_ = s.conn.SetWriteDeadline(s.closeBy)
}

// startWriter starts the writer if there is something for it to do; closing a connection may block, so that is its work
// too.
func (s *stream) startWriter() {
	if !s.writer && (len(s.queue) > 0 || s.closing && !s.closed) {
		s.writer = true
		go s.write()
	}
}

// write is the writer.
func (s *stream) write() {
	for {
		buf, closing := s.takeQueue()
		if closing {
			_ = s.conn.Close()
			return
		}
		if buf == nil {
			return
		}
		for len(buf) > 0 {
			n := min(len(buf), streamWrite)
			s.setWriteDeadline()
			if _, err := s.conn.Write(buf[:n]); err != nil {
				s.mu.Lock()
				s.abandon()
				s.mu.Unlock()
				break
			}
			buf = buf[n:]
		}
	}
}

// takeQueue gives the writer what it is to write; nil if it is to end, after closing the connection if closing is true.
func (s *stream) takeQueue() (buf []byte, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken != nil && cap(s.taken) <= streamKeep {
		s.spare = s.taken[:0]
	}
	s.taken, s.writing = nil, 0
	if len(s.queue) == 0 {
		s.writer = false
		s.closed = s.closing
		return nil, s.closing
	}
	s.taken = s.queue
	s.queue, s.spare = s.spare, nil
	s.writing = len(s.taken)
	return s.taken, false
}

func (s *stream) setWriteDeadline() {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := time.Now().Add(streamPatience)
	if s.closing && s.closeBy.Before(by) {
		by = s.closeBy
	}
	_ = s.conn.SetWriteDeadline(by)
}
