package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	pollGrace = 10 * time.Second // a request that takes that much longer than it may is given up
	pollSend  = 512 << 10        // what one request carries
)

// overPoll is a long-poll carrier from its first request to its end. It calls opened when it works.
func (r *Room) overPoll(ctx context.Context, opened func()) error {
	req := PollRequest{}
	first, ack := r.opening()
	if resume, ok := first.(*Resume); ok {
		req.Session, req.Attempt, req.Ack = resume.Session, resume.Attempt, ack
	} else {
		req.Frames = []json.RawMessage{control(first, 0)}
	}
	if err := r.post(ctx, req); err != nil {
		return err
	}
	opened()

	r.mu.Lock()
	req = PollRequest{Session: r.session, Attempt: r.attempt}
	r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		cancel(r.pollWait(ctx, req))
	}()
	cancel(r.pollWrite(ctx, req))
	<-waited
	return context.Cause(ctx) // the first error
}

// pollWait keeps one request waiting at the server.
func (r *Room) pollWait(ctx context.Context, req PollRequest) error {
	req.Wait = int(maxWait / time.Second)
	for {
		r.mu.Lock()
		req.Ack = r.tell()
		r.mu.Unlock()
		if err := r.post(ctx, req); err != nil {
			return err
		}
	}
}

// pollWrite sends what there is, in one request at a time.
func (r *Room) pollWrite(ctx context.Context, req PollRequest) error {
	for {
		r.mu.Lock()
		acked := r.acked
		r.mu.Unlock()
		out, leave := r.next(acked, pollSend)
		if len(out.messages) > 0 || leave {
			req.Ack, out.ack = out.ack, 0
			req.Frames = nil
			for _, f := range out.frames() {
				req.Frames = append(req.Frames, f)
			}
			if leave {
				req.Frames = append(req.Frames, control(&Leave{}, 0))
			}
			if err := r.post(ctx, req); err != nil {
				return err
			}
			if leave {
				return errFarewell
			}
			continue // until all is acknowledged
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// post makes a request and takes what its answer holds.
func (r *Room) post(ctx context.Context, req PollRequest) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.Wait)*time.Second+pollGrace)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("signaling: %w", err)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("signaling: %w", err)
	}
	hr.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(hr)
	if err != nil {
		return fmt.Errorf("signaling: long-poll: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if refused := readRefusal(resp); refused != nil {
			return refused
		}
		return fmt.Errorf("signaling: long-poll: the answer was %s", resp.Status)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxServerFrame))
	if err != nil {
		return fmt.Errorf("signaling: long-poll: %w", err)
	}
	var answer PollResponse
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("signaling: long-poll: the answer is not of a Parley server: %w", err)
	}
	for _, raw := range answer.Frames {
		if err := r.receive(raw); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acknowledge(answer.Ack)
}
