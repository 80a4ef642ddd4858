package webrtc

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
	"time"
)

// Close of a stream returns when the peer has everything: closing the connection right afterwards, as programs do, takes nothing
// back, and the peer reads to the end in good order. What is written before the channel is open waits for it.
func TestStreamThenClose(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 3 {
			a, b := w.pair(Configuration{})
			x, err := a.CreateDataChannel("file", nil)
			w.check(err)
			data := make([]byte, 3<<20)
			rand.Read(data)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				rw := x.ReadWriteCloser()
				_, err := io.Copy(rw, bytes.NewReader(data)) // before there is a connection
				w.check(err)
				w.check(rw.Close())
				w.check(rw.Close())
				w.check(a.Close())
			}()
			got := make(chan []byte, 1)
			b.OnDataChannel(func(ch *DataChannel) {
				go func() {
					time.Sleep(time.Second) // longer than all of it takes to arrive
					all, err := io.ReadAll(ch.ReadWriteCloser())
					w.check(err)
					got <- all
				}()
			})
			w.negotiate(a, b)
			if all := await(w, got, "the end of the stream"); !bytes.Equal(all, data) {
				t.Errorf("%d bytes came", len(all))
			}
			await(w, sent, "the sender's end")
			w.check(b.Close())
		}
	})
}

// Close of a stream does not outlast the connection, and says that the peer may not have everything.
func TestStreamCloseOfALostConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		for name, end := range map[string]func(a, b *PeerConnection) error{
			"ours":   func(a, _ *PeerConnection) error { return a.Close() },
			"peer's": func(_, b *PeerConnection) error { return b.Close() },
		} {
			a, b, x, _ := w.connect(Configuration{}, nil) // nobody reads at the peer
			_, err := x.ReadWriteCloser().Write(make([]byte, 900_000))
			w.check(err)
			done := make(chan error, 1)
			go func() { done <- x.ReadWriteCloser().Close() }()
			time.Sleep(10 * time.Millisecond)
			w.check(end(a, b))
			if err := await(w, done, "Close"); err == nil {
				t.Errorf("%s: Close returned nothing", name)
			}
		}
		a, _ := w.pair(Configuration{})
		x, err := a.CreateDataChannel("never opened", nil)
		w.check(err)
		w.check(x.ReadWriteCloser().Close())
	})
}
