package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// An answer is what the server says, as a client of any language sees it.
type answerFrame struct {
	Type       string `json:"type"`
	Seq        uint64 `json:"seq"`
	Ack        uint64 `json:"ack"`
	Code       Code   `json:"code"`
	Message    string `json:"message"`
	Ref        uint64 `json:"ref"`
	RetryAfter int    `json:"retryAfter"`
	Session    string `json:"session"`
	Token      string `json:"token"`
	From       string `json:"from"`
	Name       string `json:"name"`
	Self, Peer json.RawMessage
	Peers      []Peer `json:"peers"`
}

// A talker speaks frames over one of the carriers, byte by byte as the test wants.
type talker interface {
	say(frames ...string)
	// hear is the next frame that is not an ack or a ping.
	hear() answerFrame
}

// wsTalker is a WebSocket.
type wsTalker struct {
	t    *testing.T
	conn *websocket.Conn
}

func (w *world) webSocket() *wsTalker {
	w.t.Helper()
	conn, _, err := websocket.Dial(w.t.Context(), "http://hub.example/api/signal", &websocket.DialOptions{HTTPClient: w.client(), Subprotocols: []string{Subprotocol}})
	if err != nil {
		w.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	w.t.Cleanup(func() { conn.CloseNow() })
	return &wsTalker{w.t, conn}
}

func (c *wsTalker) say(frames ...string) {
	for _, f := range frames {
		c.conn.Write(c.t.Context(), websocket.MessageText, []byte(f)) // the server may have closed
	}
}

func (c *wsTalker) hear() answerFrame {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		_, raw, err := c.conn.Read(ctx)
		if err != nil {
			c.t.Fatalf("nothing more comes: %v", err)
		}
		var f answerFrame
		if err := json.Unmarshal(raw, &f); err != nil {
			c.t.Fatal(err)
		}
		if f.Type != "ack" && f.Type != "ping" {
			return f
		}
	}
}

// closes gives the status and reason that the server closed with.
func (c *wsTalker) closes() (websocket.StatusCode, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		if _, _, err := c.conn.Read(ctx); err != nil {
			var ce websocket.CloseError
			if !errors.As(err, &ce) {
				c.t.Fatalf("the server closed without a status: %v", err)
			}
			return ce.Code, ce.Reason
		}
	}
}

// pollTalker is long-poll requests.
type pollTalker struct {
	w       *world
	client  *http.Client
	session string
	ack     uint64
	heard   []answerFrame
}

func (w *world) longPoll() *pollTalker { return &pollTalker{w: w, client: w.client()} }

func (c *pollTalker) say(frames ...string) {
	c.w.t.Helper()
	head := ""
	if c.session != "" {
		head = fmt.Sprintf(`"session":%q,"ack":%d,`, c.session, c.ack)
	}
	c.post("{" + head + `"frames":[` + strings.Join(frames, ",") + "]}")
}

func (c *pollTalker) post(body string) {
	c.w.t.Helper()
	resp, err := c.client.Post("http://hub.example/api/signal", "application/json", strings.NewReader(body))
	if err != nil {
		c.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var a struct{ Frames []answerFrame }
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != 200 {
		c.w.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	for _, f := range a.Frames {
		if f.Session != "" {
			c.session = f.Session
		}
		c.ack = max(c.ack, f.Seq)
	}
	c.heard = append(c.heard, a.Frames...)
}

func (c *pollTalker) hear() answerFrame {
	c.w.t.Helper()
	if len(c.heard) == 0 {
		c.post(fmt.Sprintf(`{"session":%q,"ack":%d,"wait":25}`, c.session, c.ack))
	}
	if len(c.heard) == 0 {
		c.w.t.Fatal("nothing more comes")
	}
	f := c.heard[0]
	c.heard = c.heard[1:]
	return f
}

// secretOf makes a peer's secret of its name.
func secretOf(name string) string { return name + strings.Repeat("-", 16) }

func joinFrame(room, name string, more ...string) string {
	return fmt.Sprintf(`{"type":"join","v":1,"room":%q,"name":%q,"secret":%q%s}`, room, name, secretOf(name), strings.Join(more, ""))
}

// "An error has a stable code, a message for people ..." docs/signaling.md, Refusals. Each is provoked over both carriers while two others talk: it has
// its code, is counted once, and the two go on.
func TestRefusals(t *testing.T) {
	const minted = "abcd-efgh-2345-mnop"
	internet := func(*http.Request) Access { return Access{Addr: netip.MustParseAddr("203.0.113.7")} }
	joined := joinFrame("hall", "Eve")
	for _, c := range []struct {
		name   string
		cfg    Config
		before func(w *world)
		say    []string // the first in one request, the others in another
		code   Code
		ref    uint64
		ends   bool // the session, or there was none
	}{
		{"not JSON", Config{}, nil, []string{joined, `{"type":"ack","ack":0}`, `["type"]`}, CodeMalformed, 0, true},
		{"an array", Config{}, nil, []string{joined, `[]`}, CodeMalformed, 0, true},
		{"seq is text", Config{}, nil, []string{joined, `{"type":"presence","seq":"1","name":""}`}, CodeMalformed, 0, true},
		{"seq is missing", Config{}, nil, []string{joined, `{"type":"presence","name":""}`}, CodeMalformed, 0, true},
		{"a gap", Config{}, nil, []string{joined, `{"type":"presence","seq":2,"name":""}`}, CodeMalformed, 0, false},
		{"an ack of what was not sent", Config{}, nil, []string{joined, `{"type":"ack","ack":99}`}, CodeMalformed, 0, true},
		{"join twice", Config{}, nil, []string{joined, joined}, CodeMalformed, 0, true},
		{"begins with something else", Config{}, nil, []string{`{"type":"presence","seq":1,"name":""}`}, CodeMalformed, 0, true},
		{"too large", Config{}, nil, []string{joined, `{"type":"presence","seq":1,"name":"` + strings.Repeat("x", 256<<10) + `"}`}, CodeMessageTooLarge, 0, true},
		{"join too large", Config{}, nil, []string{`{"type":"join","name":"` + strings.Repeat("x", 256<<10) + `"}`}, CodeMessageTooLarge, 0, true},
		{"unknown type", Config{}, nil, []string{joined, `{"type":"dance","seq":1}`}, CodeUnknownType, 1, false},
		{"unknown control frame", Config{}, nil, []string{joined, `{"type":"dance"}`}, CodeUnknownType, 0, true},
		{"version", Config{}, nil, []string{`{"type":"join","v":2,"room":"hall","secret":"0123456789abcdef"}`}, CodeUnsupportedVersion, 0, true},
		{"room's name", Config{}, nil, []string{joinFrame("-hall", "Eve")}, CodeInvalid, 0, true},
		{"short secret", Config{}, nil, []string{`{"type":"join","v":1,"room":"hall","secret":"short"}`}, CodeInvalid, 0, true},
		{"name of a wrong kind", Config{}, nil, []string{`{"type":"join","v":1,"room":"hall","secret":"0123456789abcdef","name":1}`}, CodeInvalid, 0, true},
		{"long name", Config{}, nil, []string{joined, `{"type":"presence","seq":1,"name":"` + strings.Repeat("ä", 65) + `"}`}, CodeInvalid, 1, false},
		{"state of a wrong kind", Config{}, nil, []string{joined, `{"type":"presence","seq":1,"name":"","state":[]}`}, CodeInvalid, 1, false},
		{"description of a wrong kind", Config{}, nil, []string{joined, `{"type":"description","seq":1,"to":"x","description":"offer"}`}, CodeInvalid, 1, false},
		{"description of no kind", Config{}, nil, []string{joined, `{"type":"description","seq":1,"to":"x","description":{"sdp":"v=0"}}`}, CodeInvalid, 1, false},
		{"label", Config{}, nil, []string{joined, `{"type":"candidate","seq":1,"to":"x","candidate":{},"connection":"a b"}`}, CodeInvalid, 1, false},
		{"no to", Config{}, nil, []string{joined, `{"type":"candidate","seq":1,"candidate":{}}`}, CodeInvalid, 1, false},
		{"no such peer", Config{}, nil, []string{joined, `{"type":"candidate","seq":1,"to":"nobody","candidate":{}}`}, CodeNoSuchPeer, 1, false},
		{"rate", Config{Rate: 1, Burst: 2}, nil, append([]string{joined}, messages(3)...), CodeRateLimited, 0, false},
		{"joins", Config{JoinRate: 3}, func(w *world) {
			w.longPoll().say(joinFrame("hall", "Dan")) // with the two of the hub
		}, []string{joined}, CodeTooManyAttempts, 0, true},
		{"room full", Config{MaxPeersPerRoom: 2}, nil, []string{joinFrame("kitchen", "Eve")}, CodeRoomFull, 0, true},
		{"rooms", Config{MaxRooms: 1}, nil, []string{joined}, CodeTooManyRooms, 0, true},
		{"peers", Config{MaxPeers: 2, MaxPeersPerAddr: 2}, nil, []string{joined}, CodeTooManyPeers, 0, true},
		{"peers of one address", Config{MaxPeersPerAddr: 2}, nil, []string{joined}, CodeTooManyPeers, 0, true},
		{"passphrase required", Config{Access: internet, Passphrase: "open sesame"}, nil, []string{joined}, CodePassphraseRequired, 0, true},
		{"passphrase wrong", Config{Access: internet, Passphrase: "open sesame"}, nil, []string{joinFrame("hall", "Eve", `,"passphrase":"sesame"`)}, CodePassphraseWrong, 0, true},
		{"too many wrong passphrases", Config{Access: internet, Passphrase: "open sesame", PassphraseRate: 1}, func(w *world) {
			w.longPoll().say(joinFrame("hall", "Eve", `,"passphrase":"sesame"`))
		}, []string{joinFrame("hall", "Eve", `,"passphrase":"open sesame"`)}, CodeTooManyAttempts, 0, true},
		{"room not open", Config{Access: internet, Passphrase: "open sesame"}, nil, []string{joinFrame(minted, "Eve")}, CodeRoomNotOpen, 0, true},
		{"token", Config{Access: internet, Passphrase: "open sesame"}, nil, []string{joinFrame(minted, "Eve", `,"token":"ey.ey.ey"`)}, CodeTokenInvalid, 0, true},
		{"session unknown", Config{}, nil, []string{`{"type":"resume","session":"none","attempt":1}`}, CodeSessionUnknown, 0, true},
		{"draining", Config{}, func(w *world) {
			ctx, cancel := context.WithCancel(w.t.Context())
			cancel()
			w.hub.Drain(ctx)
		}, []string{joined}, CodeDraining, 0, true},
	} {
		for _, carrier := range []string{"websocket", "long-poll"} {
			t.Run(c.name+"/"+carrier, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, c.cfg, false)
					a := w.join(Options{Name: "Ann", Passphrase: "open sesame"})
					b := w.join(Options{Name: "Bob", Passphrase: "open sesame"})
					if c.before != nil {
						c.before(w)
					}
					was := w.hub.Stats()

					var eve talker = w.webSocket()
					if carrier == "long-poll" {
						eve = w.longPoll()
					}
					if poll, ok := eve.(*pollTalker); ok && c.code == CodeSessionUnknown {
						poll.post(`{"session":"none","attempt":1}`) // which has no resume frame
					} else {
						eve.say(c.say[0])
					}
					got := eve.hear()
					if got.Type == "welcome" {
						eve.say(c.say[1:]...)
						got = eve.hear()
					}
					if got.Type != "error" || got.Code != c.code || got.Ref != c.ref || got.Message == "" {
						t.Fatalf("got %+v, want error %s with ref %d", got, c.code, c.ref)
					}
					if (got.Seq > 0) != (c.ref > 0) {
						t.Errorf("a %s with ref %d has seq %d", got.Code, got.Ref, got.Seq)
					}
					now := w.hub.Stats()
					if n := now.Refusals[c.code] - was.Refusals[c.code]; n != 1 {
						t.Errorf("it was counted %d times", n)
					}
					synctest.Wait()
					if held := len(w.hub.sessions) > was.Peers; held == c.ends {
						t.Errorf("the session goes on: %v", held)
					}
					if ws, ok := eve.(*wsTalker); ok && c.ref == 0 {
						want := websocket.StatusPolicyViolation
						if c.code == CodeDraining {
							want = websocket.StatusGoingAway
						}
						if status, reason := ws.closes(); status != want || reason != string(c.code) {
							t.Errorf("closed with %d %q", status, reason)
						}
					}
					unaffected(t, a, b)
				})
			})
		}
	}
}

func messages(n int) (frames []string) {
	for i := range n {
		frames = append(frames, fmt.Sprintf(`{"type":"presence","seq":%d,"name":""}`, i+1))
	}
	return frames
}

// unaffected passes a message each way.
func unaffected(t *testing.T, a, b *Room) {
	t.Helper()
	for _, p := range [][2]*Room{{a, b}, {b, a}} {
		if _, err := p[0].Send(&Description{To: p[1].Self().ID, Description: SessionDescription{SDPOffer, "v=0"}}); err != nil {
			t.Fatal(err)
		}
		if d := until[*Description](t, p[1]); d.From != p[0].Self().ID {
			t.Errorf("%s came from %s", d.Description.SDP, d.From)
		}
	}
}

// "Refusals before signaling begins come as HTTP errors." docs/signaling.md, Refusals.
func TestHTTPRefusals(t *testing.T) {
	hub, err := NewHub(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	request := func(method, contentType, origin string, body io.Reader) *http.Request {
		r := httptest.NewRequest(method, "http://localhost:8080/api/signal", body)
		r.Header.Set("Content-Type", contentType)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		return r
	}
	const json1 = "application/json"
	for _, c := range []struct {
		name    string
		request *http.Request
		status  int
		code    Code
	}{
		{"GET", request("GET", "", "", nil), 405, CodeMethod},
		{"PUT", request("PUT", json1, "", nil), 405, CodeMethod},
		{"form", request("POST", "application/x-www-form-urlencoded", "", nil), 415, CodeMediaType},
		{"body", request("POST", json1, "", bytes.NewReader(make([]byte, 2<<20))), 413, CodeMessageTooLarge},
		{"foreign origin", request("POST", json1, "http://evil.example", strings.NewReader("{}")), 403, CodeOriginForbidden},
		{"null origin", request("POST", json1, "null", strings.NewReader("{}")), 403, CodeOriginForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			hub.ServeHTTP(rec, c.request)
			var body HTTPError
			if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
				t.Fatalf("%v in %q", err, rec.Body)
			}
			if rec.Code != c.status || body.Error.Code != c.code || body.Error.Message == "" {
				t.Errorf("got %d %+v, want %d %s", rec.Code, body.Error, c.status, c.code)
			}
			if n := hub.Stats().Refusals[c.code]; n == 0 {
				t.Error("it was not counted")
			}
		})
	}
}
