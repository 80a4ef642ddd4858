package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

const maxWait = 25 * time.Second

// maxRequests bounds the requests of a session that are under way. A client has two, and those of a carrier that was replaced are
// answered at once; but an answer of up to 1 MiB that nobody reads is kept until writing it has taken too long.
const maxRequests = 6

// servePoll is one long-poll request.
func (h *Hub) servePoll(w http.ResponseWriter, r *http.Request, access Access, settle func()) {
	if typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || typ != "application/json" {
		h.refuseHTTP(w, http.StatusUnsupportedMediaType, CodeMediaType, "the body must be of type application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	settle()
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			h.refuseHTTP(w, http.StatusRequestEntityTooLarge, CodeMessageTooLarge, "a request is larger than 1 MiB: send less at once")
		} else {
			h.refuseHTTP(w, http.StatusBadRequest, CodeMalformed, "the request's body did not arrive")
		}
		return
	}
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // so that r's context does not end while the request waits
	rc.SetWriteDeadline(time.Now().Add(maxWait + writeWithin))
	var req PollRequest
	if err := json.Unmarshal(body, &req); err != nil {
		answer(w, batch{}, h.refuseEarly(CodeMalformed, "the body must be a JSON object with frames: "+err.Error()))
		return
	}
	if req.Session == "" {
		h.pollJoin(w, r, access, req)
		return
	}
	s, c, refusal := h.resume(req.Session, req.Attempt, req.Ack, longPoll, len(req.Frames) == 0)
	if refusal != nil {
		answer(w, batch{}, refusal)
		return
	}
	defer h.pollDone(s, c)
	for _, raw := range req.Frames {
		if h.receive(s, c, raw) != nil {
			break
		}
	}
	out, over, ok := h.await(r.Context(), s, c, req.Ack, time.Duration(req.Wait)*time.Second)
	if ok {
		answer(w, out, over)
	}
}

// pollJoin answers the first request of a session.
func (h *Hub) pollJoin(w http.ResponseWriter, r *http.Request, access Access, req PollRequest) {
	if len(req.Frames) != 1 {
		answer(w, batch{}, h.refuseEarly(CodeMalformed, "a request without session must hold one frame: join"))
		return
	}
	in, refusal := h.parseFirst(req.Frames[0], nil)
	join, ok := in.frame.(*Join)
	if refusal == nil && !ok {
		refusal = h.refuseEarly(CodeMalformed, "the first frame must be join")
	}
	if refusal != nil {
		answer(w, batch{}, refusal)
		return
	}
	s, c, welcome, refusal := h.join(r, access, join, longPoll)
	if refusal != nil {
		answer(w, batch{}, refusal)
		return
	}
	defer h.pollDone(s, c)
	answer(w, batch{}, nil, control(welcome, 0))
}

// await gives what is to be said, when there is something, or the wait is over. It is not ok if the client went away.
func (h *Hub) await(ctx context.Context, s *seat, c *carrier, cursor uint64, wait time.Duration) (out batch, over *Error, ok bool) {
	var wake chan struct{}
	timer := time.NewTimer(min(max(wait, 0), maxWait))
	defer timer.Stop()
	if wait > 0 {
		wake = h.waiter(c)
	}
	for done := wait <= 0; ; {
		out, over := h.pull(s, c, cursor, maxRequest)
		if done || len(out.messages) > 0 || over != nil || !h.isWaiter(c, wake) {
			if over == nil {
				out.ack = h.tell(s)
			}
			return out, over, true
		}
		select {
		case <-wake:
		case <-timer.C:
			done = true
		case <-ctx.Done():
			return out, nil, false
		}
	}
}

// waiter makes this request the one that waits; another that did is answered.
func (h *Hub) waiter(c *carrier) chan struct{} {
	h.mu.Lock()
	defer h.unlock()
	c.poke()
	c.wake = make(chan struct{}, 1)
	return c.wake
}

func (h *Hub) isWaiter(c *carrier, wake chan struct{}) bool {
	h.mu.Lock()
	defer h.unlock()
	return c.wake == wake
}

func (h *Hub) tell(s *seat) uint64 {
	h.mu.Lock()
	defer h.unlock()
	return s.tell()
}

// pollDone counts the end of a request. The seat is held for a while.
func (h *Hub) pollDone(s *seat, c *carrier) {
	h.mu.Lock()
	defer h.unlock()
	s.requests--
	if c.requests--; c.requests == 0 && c.over == nil {
		s.expires = time.Now().Add(h.cfg.ResumeFor)
		h.schedule(s)
	}
}

// answer writes a PollResponse: control frames, messages, and why the carrier is over.
func answer(w http.ResponseWriter, out batch, over *Error, frames ...[]byte) {
	ack := out.ack
	out.ack = 0 // stands once in the answer
	frames = append(frames, out.frames()...)
	if over != nil && over != errLeft && over != errGone {
		frames = append(frames, control(over, 0))
	}
	b := []byte(`{"frames":[`)
	for i, f := range frames {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, f...)
	}
	b = append(b, `],"ack":`...)
	b = strconv.AppendUint(b, ack, 10)
	b = append(b, "}\n"...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(b)
}
