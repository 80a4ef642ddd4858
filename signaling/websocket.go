package signaling

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	firstFrameWithin = 10 * time.Second
	pingAfter        = 10 * time.Second // of saying nothing
	deadAfter        = 25 * time.Second // of hearing nothing
	writeWithin      = 15 * time.Second // what one pull gives
	closeWithin      = 3 * time.Second
	pullLimit        = 64 << 10
)

// A socket is the server's end of one WebSocket.
type socket struct {
	*websocket.Conn
	raw net.Conn // for deadlines, which the library has none of while it closes
}

// serveWebSocket is one WebSocket from its upgrade to its end. The reader is this goroutine, the writer another.
func (h *Hub) serveWebSocket(w http.ResponseWriter, r *http.Request, access Access, settle func()) {
	hijack := &hijacker{ResponseWriter: w}
	// Origin was checked before.
	conn, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}, InsecureSkipVerify: true})
	if err != nil {
		h.refuseEarly(CodeMethod, "not a WebSocket's handshake") // the library has answered
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1) // read has the limit, so that the client is told
	ws := socket{conn, hijack.conn}
	ws.raw.SetDeadline(time.Time{}) // what the HTTP server had set
	defer h.hurry(func(deadline time.Time) { ws.raw.SetDeadline(deadline) })()

	s, c, first, cursor, refusal := h.open(ws, r, access)
	settle()
	if refusal != nil {
		ws.finish(refusal)
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		h.writeSocket(ws, s, c, first, cursor)
	}()
	for {
		raw, err := ws.read(context.Background(), deadAfter, h.cfg.MessageSize)
		if errors.Is(err, errBinary) {
			h.fail(s, c, CodeMalformed, "a frame must be a text message")
			break
		}
		if err != nil {
			h.lose(s, c)
			break
		}
		if h.receive(s, c, raw) != nil {
			break
		}
	}
	<-written
}

// open reads the first frame and finds the seat. The frame that answers it and the cursor are for the writer.
func (h *Hub) open(ws socket, r *http.Request, access Access) (s *seat, c *carrier, first []byte, cursor uint64, refusal *Error) {
	if ws.Subprotocol() != Subprotocol {
		return nil, nil, nil, 0, h.refuseEarly(CodeUnsupportedVersion, "this server speaks the WebSocket subprotocol "+Subprotocol+": reload the page, or update the program")
	}
	raw, err := ws.read(h.stopping, firstFrameWithin, h.cfg.MessageSize)
	in, refusal := h.parseFirst(raw, err)
	if refusal != nil {
		return nil, nil, nil, 0, refusal
	}
	switch f := in.frame.(type) {
	case *Join:
		s, c, welcome, refusal := h.join(r, access, f, webSocket)
		if refusal != nil {
			return nil, nil, nil, 0, refusal
		}
		return s, c, control(welcome, 0), 0, nil
	case *Resume:
		s, c, refusal := h.resume(f.Session, f.Attempt, in.Ack, webSocket, false)
		if refusal != nil {
			return nil, nil, nil, 0, refusal
		}
		h.mu.Lock()
		defer h.unlock()
		return s, c, control(&Resumed{}, s.tell()), in.Ack, nil
	}
	return nil, nil, nil, 0, h.refuseEarly(CodeMalformed, "the first frame must be join or resume")
}

// parseFirst reads the frame that begins a session or a carrier. A read that failed is errGone, which is told to nobody.
func (h *Hub) parseFirst(raw []byte, err error) (in incoming, refusal *Error) {
	switch {
	case errors.Is(err, errBinary):
		return in, h.refuseEarly(CodeMalformed, "a frame must be a text message")
	case err != nil:
		return in, errGone
	case len(raw) > h.cfg.MessageSize:
		return in, h.refuseEarly(CodeMessageTooLarge, "a frame is larger than the server takes")
	}
	in, bad := parse(raw, newClientFrame)
	if bad == nil {
		bad = in.bad
	}
	if bad != nil {
		return in, h.refuseEarly(bad.Code, bad.Message)
	}
	return in, nil
}

// writeSocket writes what there is until the carrier is over.
func (h *Hub) writeSocket(ws socket, s *seat, c *carrier, first []byte, cursor uint64) {
	err := ws.write(first)
	spoke := time.Now()
	timer := time.NewTimer(pingAfter)
	defer timer.Stop()
	for err == nil {
		out, over := h.pull(s, c, cursor, pullLimit)
		if over != nil {
			ws.finish(over)
			return
		}
		cursor = out.cursor
		now := time.Now()
		switch {
		case len(out.messages) > 0:
			err = ws.write(out.frames()...)
			spoke = now
		case out.tell:
			err = ws.write(control(&Ack{}, out.ack))
			spoke = now
		case now.Sub(spoke) >= pingAfter:
			err = ws.write(control(&Ping{}, 0))
			spoke = now
		}
		if out.more {
			continue
		}
		next := spoke.Add(pingAfter)
		if !out.ackDue.IsZero() && out.ackDue.Before(next) {
			next = out.ackDue
		}
		timer.Reset(time.Until(next))
		select {
		case <-c.wake:
		case <-timer.C:
		}
	}
	ws.CloseNow() // the reader notices
}

// lose notes that a carrier broke.
func (h *Hub) lose(s *seat, c *carrier) {
	h.mu.Lock()
	defer h.unlock()
	h.detach(s, c, errGone)
}

var errBinary = errors.New("signaling: a binary message")

// read gives one text message, or the first size+1 bytes of one that is larger.
func (ws socket) read(ctx context.Context, within time.Duration, size int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	typ, r, err := ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if typ != websocket.MessageText {
		return nil, errBinary
	}
	return io.ReadAll(io.LimitReader(r, int64(size)+1))
}

// write writes frames, all of them within writeWithin.
func (ws socket) write(frames ...[]byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	for _, f := range frames {
		if err := ws.Write(ctx, websocket.MessageText, f); err != nil {
			return err
		}
	}
	return nil
}

// finish tells the client why the carrier ends, and closes it.
func (ws socket) finish(why *Error) {
	if why == errGone {
		ws.CloseNow()
		return
	}
	ws.raw.SetDeadline(time.Now().Add(closeWithin))
	if why == errLeft {
		ws.Close(websocket.StatusNormalClosure, "left")
		return
	}
	if ws.write(control(why, 0)) == nil {
		status := websocket.StatusPolicyViolation
		if why.Code == CodeDraining {
			status = websocket.StatusGoingAway
		}
		ws.Close(status, string(why.Code))
	}
	ws.CloseNow()
}

// hijacker keeps the connection that the library takes over.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
