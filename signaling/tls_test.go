package signaling

import (
	"net/http/httptest"
	"testing"
)

// As browsers meet it: TLS, where long-poll travels on HTTP/2 and a WebSocket on HTTP/1.1.
func TestOverTLS(t *testing.T) {
	hub, err := NewHub(Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(hub)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer hub.Close()
	var rooms []*Room
	for _, c := range []Carrier{WebSocketOnly, LongPollOnly} {
		r, err := Dial(t.Context(), server.URL+"/r/kitchen", Options{Carrier: c, HTTPClient: server.Client()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rooms = append(rooms, r)
	}
	if s := hub.Stats(); s.WebSockets != 1 || s.LongPolls != 1 {
		t.Errorf("the carriers are %+v", s)
	}
	unaffected(t, rooms[0], rooms[1])
}
