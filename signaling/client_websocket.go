package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// maxServerFrame is the largest frame that a client takes.
const maxServerFrame = 4 << 20

// overWebSocket is a WebSocket from its dial to its end. It calls opened when it works.
func (r *Room) overWebSocket(ctx context.Context, opened func()) error {
	conn, err := r.dial(ctx, opened)
	if err != nil {
		return err
	}
	defer conn.CloseNow()

	ctx, cancel := context.WithCancelCause(ctx)
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(r.writeClient(ctx, conn))
	}()
	for err == nil {
		err = r.readClient(ctx, conn, deadAfter)
	}
	cancel(err)
	<-written
	if errors.As(err, new(*Error)) {
		return err // what the server said counts more than that the connection broke
	}
	return context.Cause(ctx)
}

// dial opens a WebSocket and takes its first frame, all within openWithin.
func (r *Room) dial(ctx context.Context, opened func()) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, r.endpoint.String(), &websocket.DialOptions{HTTPClient: r.client, Subprotocols: []string{Subprotocol}})
	if err != nil {
		if resp != nil && resp.Body != nil {
			if refused := readRefusal(resp); refused != nil {
				return nil, refused
			}
		}
		return nil, fmt.Errorf("signaling: opening a WebSocket: %w", err)
	}
	conn.SetReadLimit(maxServerFrame)
	first, ack := r.opening()
	if err = conn.Write(ctx, websocket.MessageText, control(first, ack)); err == nil {
		err = r.readClient(ctx, conn, openWithin)
	}
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	opened()
	return conn, nil
}

func (r *Room) readClient(ctx context.Context, conn *websocket.Conn, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	typ, raw, err := conn.Read(ctx)
	switch {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return errFarewell
	case err != nil:
		return fmt.Errorf("signaling: reading from the WebSocket: %w", err)
	case typ != websocket.MessageText:
		return errBinary
	}
	return r.receive(raw)
}

func (r *Room) writeClient(ctx context.Context, conn *websocket.Conn) error {
	r.mu.Lock()
	cursor := r.acked
	r.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		out, leave := r.next(cursor, pullLimit)
		cursor = out.cursor
		frames := out.frames()
		switch {
		case leave:
			frames = append(frames, control(&Leave{}, out.ack))
		case len(frames) == 0 && out.tell:
			frames = append(frames, control(&Ack{}, out.ack))
		}
		if err := writeAll(ctx, conn, frames); err != nil {
			return fmt.Errorf("signaling: writing to the WebSocket: %w", err)
		}
		if leave {
			<-ctx.Done() // the server closes
			return nil
		}
		if out.more {
			continue
		}
		timer.Stop()
		if !out.ackDue.IsZero() {
			timer.Reset(time.Until(out.ackDue))
		}
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func writeAll(ctx context.Context, conn *websocket.Conn, frames [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	for _, f := range frames {
		if err := conn.Write(ctx, websocket.MessageText, f); err != nil {
			return err
		}
	}
	return nil
}

// readRefusal is the server's own word in an HTTP answer, nil if somebody else speaks.
func readRefusal(resp *http.Response) *Error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var refusal HTTPError
	if err != nil || json.Unmarshal(body, &refusal) != nil || refusal.Error.Code == "" {
		return nil
	}
	e := refusal.Error
	return &Error{Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter}
}
