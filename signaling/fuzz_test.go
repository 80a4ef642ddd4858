package signaling

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: no input panics; what is taken for a frame is JSON, and survives being written and parsed again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		joinFrame("kitchen", "Ann", `,"state":{"camera":true},"token":"a.b.c","passphrase":"p"`),
		`{"type":"resume","session":"s","attempt":3,"ack":7}`,
		`{"type":"leave"}`, `{"type":"ack","ack":18446744073709551615}`,
		`{"type":"presence","seq":1,"name":"Ann","state":{"a":[1,{"b":null}]}}`,
		`{"type":"description","seq":2,"to":"p","connection":"c","replyTo":"d","description":{"type":"offer","sdp":"v=0\r\n"}}`,
		`{"type":"candidate","seq":3,"to":"p","candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":0,"usernameFragment":"u"}}`,
		`{"type":"welcome","session":"s","self":{"id":"i","name":"n"},"peers":[{"id":"j","name":""}],"limits":{}}`,
		`{"type":"error","seq":1,"ref":2,"code":"invalid","message":"m","retryAfter":1}`,
		`{"type":"left","seq":4,"peer":"p","reason":"lost"}`, `{"type":"ping"}`, `{"TYPE":"ping","seq":-1}`, `{"type":1}`, " {\n}", `[]`, `null`, "\xff", ``,
		`{"type":"presence","seq":1e3}`, `{"type":"presence","seq":1,"name":"\ud800"}`, strings.Repeat(`{"type":`, 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, newFrame := range []func(string) Frame{newClientFrame, newServerFrame} {
			in, bad := parse(raw, newFrame)
			if bad != nil {
				if bad.Code != CodeMalformed {
					t.Fatalf("no frame, and the code is %s", bad.Code)
				}
				continue
			}
			if !json.Valid(raw) || !utf8.Valid(raw) {
				t.Fatal("what is not JSON was taken for a frame")
			}
			if in.bad != nil {
				if in.bad.Code != CodeInvalid && in.bad.Code != CodeUnsupportedVersion {
					t.Fatalf("a bad field, and the code is %s", in.bad.Code)
				}
				continue
			}
			if in.frame == nil {
				continue
			}
			body, err := encodeBody(in.frame)
			if err != nil {
				t.Fatal(err)
			}
			again := queued(appendBody(appendHeader(nil, in.Type, in.Seq), body)).appendTo(nil, in.Ack)
			in2, bad := parse(again, newFrame)
			if bad != nil || in2.bad != nil || in2.Type != in.Type || in2.Seq != in.Seq || in2.Ack != in.Ack {
				t.Fatalf("%s became %s: %v, %v", raw, again, bad, in2.bad)
			}
			if body2, err := encodeBody(in2.frame); err != nil || !bytes.Equal(body, body2) {
				t.Fatalf("%s became %s, then %s", raw, body, body2)
			}
		}
	})
}

// FuzzPoll: no request to the hub panics or is answered by what is not JSON, and whatever a client of its own session sends, the others stay.
func FuzzPoll(f *testing.F) {
	for _, seed := range []string{
		`{"frames":[` + joinFrame("kitchen", "Eve") + `]}`,
		`{"session":"SESSION","attempt":1,"ack":0,"frames":[{"type":"presence","seq":1,"name":"x"},{"type":"leave"}]}`,
		`{"session":"SESSION","ack":1,"frames":[{"type":"candidate","seq":1,"to":"HOST","candidate":{}}]}`,
		`{"session":"SESSION","frames":[{"type":"ack","ack":1},{"type":"dance","seq":1},{"type":"description","seq":2,"to":"HOST","description":{"type":"offer","sdp":"v"}}]}`,
		`{"session":"SESSION","frames":[null,1,"x",[],{}]}`, `{"frames":{}}`, `{"wait":-1,"session":"SESSION"}`, `[]`, ``,
	} {
		f.Add(seed)
	}
	hub, err := NewHub(Config{Open: true, JoinRate: 1_000_000, Rate: 1_000_000, Burst: 1_000_000})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { hub.Close() })
	host, _, _, refusal := hub.sit(Access{}, &Join{Room: "kitchen", Secret: "host"}, webSocket)
	if refusal != nil {
		f.Fatal(refusal)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s, c, _, refusal := hub.sit(Access{}, &Join{Room: "kitchen", Secret: "guest"}, longPoll)
		if refusal != nil {
			t.Fatal(refusal)
		}
		hub.pollDone(s, c)
		body = strings.NewReplacer("SESSION", s.session, "HOST", host.peer.ID, `"wait"`, `"weight"`).Replace(body)
		r := httptest.NewRequest("POST", "http://localhost/api/signal", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		hub.ServeHTTP(rec, r)
		var answer PollResponse
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); rec.Code != 200 || err != nil {
			t.Fatalf("%d %q: %v", rec.Code, rec.Body, err)
		}
		for _, raw := range answer.Frames {
			if in, bad := parse(raw, newServerFrame); bad != nil || in.bad != nil || in.frame == nil {
				t.Fatalf("the hub said %s", raw)
			}
		}
		hub.mu.Lock()
		defer hub.unlock()
		if hub.sessions[host.session] != host {
			t.Fatal("the host lost its seat")
		}
		if err := hub.remember(host, host.sent); err != nil {
			t.Fatal(err)
		}
		for _, s := range hub.sessions {
			if s != host {
				hub.end(s, ReasonLeft, errLeft)
			}
		}
		if hub.waiting != host.bytes || len(hub.rooms) != 1 || hub.pending != 0 {
			t.Fatalf("%d bytes wait, %d rooms, %d requests are pending", hub.waiting, len(hub.rooms), hub.pending)
		}
	})
}
