package loop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// adopted is a stream in a bubble: the tenant's end on a loop, and the peer's.
type adopted struct {
	l      *Loop
	tenant *actor
	name   pkt.Socket
	peer   net.Conn
	heard  []string // frames
	ended  bool
}

// inBubble runs f with a stream over the virtual network.
func inBubble(t *testing.T, framing Framing, f func(t *testing.T, s *adopted)) {
	synctest.Test(t, func(t *testing.T) {
		w := simWorld()
		defer w.network.Close()
		listener, err := w.host.Listen(w.local)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		accepted := make(chan net.Conn)
		go func() {
			c, err := listener.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		peer, err := w.host.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		s := &adopted{l: start(t, w.world), tenant: &actor{}, peer: peer}
		defer s.l.Close()
		s.tenant.datagram = func(_ mono.Time, d *pkt.Datagram) {
			if d.Socket != s.name || d.Remote.String() != peer.LocalAddr().String() || d.Local.String() != peer.RemoteAddr().String() {
				t.Errorf("a frame came on path %v", d.Path)
			}
			s.heard = append(s.heard, string(d.Payload))
		}
		s.tenant.closed = func(name pkt.Socket) {
			if name != s.name || s.ended {
				t.Errorf("stream %d ended", name)
			}
			s.ended = true
		}
		attach(t, s.l, s.tenant)
		conn := <-accepted
		do(t, s.l, func(mono.Time) {
			if s.name, err = s.tenant.lease.Adopt(conn, framing); err != nil {
				t.Error(err)
			}
		})
		f(t, s)
	})
}

// send sends frames from the tenant.
func (s *adopted) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	do(t, s.l, func(mono.Time) {
		for _, f := range frames {
			if !s.tenant.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: s.name}, Payload: f}) {
				t.Error("no room in the batch")
			}
		}
	})
}

// flood sends a frame again and again, in bursts with time between them.
func (s *adopted) flood(t *testing.T, frame []byte, n int) {
	t.Helper()
	for i := range n {
		s.send(t, frame)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// has lets everything under way arrive and calls f on the loop.
func (s *adopted) has(t *testing.T, f func()) {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // of virtual time
	synctest.Wait()
	do(t, s.l, func(mono.Time) { f() })
}

func TestFramesTravelWholeInWhateverPieces(t *testing.T) {
	for name, framing := range map[string]Framing{"RFC4571": RFC4571, "TURN": TURN} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, framing, func(t *testing.T, s *adopted) {
				r := rand.New(rand.NewPCG(1, 2))
				var want []string
				var stream []byte
				for i := range 300 {
					n := []int{0, 1, 5, 1200, 5000}[r.IntN(5)]
					if i == 200 {
						n = 65500 // the read buffer must grow
					}
					f := channelData(0x4000, string(bytes.Repeat([]byte{byte(i)}, n)))
					want = append(want, string(f))
					stream = framing.Append(stream, f)
				}
				for len(stream) > 0 {
					n := min(len(stream), 1+r.IntN([]int{3, 100, 20000}[r.IntN(3)]))
					if _, err := s.peer.Write(stream[:n]); err != nil {
						t.Fatal(err)
					}
					stream = stream[n:]
				}
				s.has(t, func() {
					if len(s.heard) != len(want) {
						t.Fatalf("%d of %d frames came", len(s.heard), len(want))
					}
					for i := range want {
						if s.heard[i] != want[i] {
							t.Fatalf("frame %d has %d bytes, want %d", i, len(s.heard[i]), len(want[i]))
						}
					}
				})
				if c := s.l.Counters(); c.StreamFrames != 300 || c.StreamsBroken != 0 {
					t.Errorf("counters %+v", c)
				}
			})
		})
	}
}

func TestTransmitsLeaveAsFrames(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		s.send(t, stunMessage(0x101, 4), channelData(0x4000, "abc"), channelData(0x4001, ""))
		want := append(append(stunMessage(0x101, 4), append(channelData(0x4000, "abc"), 0)...), channelData(0x4001, "")...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s.peer, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the peer read %x (%v), want %x", got, err, want)
		}
		do(t, s.l, func(mono.Time) {
			s.tenant.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: s.name}, SegmentSize: 4, Payload: channelData(0x4000, "")})
		})
		if _, err := io.ReadFull(s.peer, got[:4]); err != nil || !bytes.Equal(got[:4], channelData(0x4000, "")) {
			t.Errorf("the peer read %x (%v)", got[:4], err)
		}
	})
}

// "half a frame ... for 10 s closes it" - and whole frames with nothing between them do not.
func TestHalfAFrameEndsTheStream(t *testing.T) {
	inBubble(t, RFC4571, func(t *testing.T, s *adopted) {
		whole := RFC4571.Append(nil, []byte("whole"))
		s.peer.Write(whole)
		time.Sleep(time.Minute)
		s.has(t, func() {
			if s.ended {
				t.Fatal("silence ended the stream")
			}
		})
		// A frame and a half, then more of it, one byte at a time, for ever.
		s.peer.Write(append(whole, whole[:3]...))
		time.Sleep(9 * time.Second)
		s.peer.Write(whole[3:])
		s.has(t, func() {
			if s.ended || len(s.heard) != 3 {
				t.Fatalf("after 9 s: ended %v, heard %q", s.ended, s.heard)
			}
		})
		s.peer.Write([]byte{255})
		for range 11 {
			time.Sleep(time.Second)
			s.peer.Write([]byte{255})
		}
		s.has(t, func() {
			if !s.ended || len(s.heard) != 3 {
				t.Errorf("after 11 s: ended %v, heard %q", s.ended, s.heard)
			}
		})
		if c := s.l.Counters(); c.StreamsBroken != 1 || c.Sockets != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestGarbageEndsTheStream(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		s.peer.Write(append(stunMessage(1, 0), 0x80, 96, 0, 1))
		s.has(t, func() {
			if !s.ended || len(s.heard) != 1 {
				t.Errorf("ended %v, heard %q", s.ended, s.heard)
			}
		})
		if c := s.l.Counters(); c.StreamsBroken != 1 {
			t.Errorf("counters %+v", c)
		}
		if _, err := s.peer.Read(make([]byte, 1)); err == nil {
			t.Error("the peer can still read")
		}
	})
}

func TestPeersEndIsTold(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		s.peer.Write(channelData(0x4000, "last"))
		s.peer.Close()
		s.has(t, func() {
			if !s.ended || len(s.heard) != 1 {
				t.Errorf("ended %v, heard %q", s.ended, s.heard)
			}
		})
		s.send(t, channelData(0x4000, "too late"))
		if c := s.l.Counters(); c.StreamsBroken != 0 || c.Stale != 1 || c.Sockets != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

// What is in the queue still leaves, and the tenant is not told of an end that it made itself.
func TestCloseLetsTheQueueLeave(t *testing.T) {
	inBubble(t, RFC4571, func(t *testing.T, s *adopted) {
		do(t, s.l, func(mono.Time) {
			for range 3 {
				s.tenant.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: s.name}, Payload: bytes.Repeat([]byte("x"), 60000)})
			}
		})
		do(t, s.l, func(mono.Time) { s.tenant.lease.Close(s.name) })
		got, err := io.ReadAll(s.peer)
		if err != nil || len(got) != 3*60002 {
			t.Errorf("the peer read %d bytes (%v), want %d", len(got), err, 3*60002)
		}
		s.has(t, func() {
			if s.ended {
				t.Error("the tenant was told of its own close")
			}
		})
	})
}

// A peer that does not read: media is dropped and counted, control is not; in the end the stream ends, at the latest
// when nothing could be written for 10 s.
func TestSlowPeerLosesMediaFirst(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		media, control := channelData(0x4000, string(make([]byte, 1000))), stunMessage(0x101, 1000)
		const frames = 2000 // 2 MB, more than all buffers on the way
		s.flood(t, media, frames)
		c := s.l.Counters()
		if c.StreamDrops == 0 || c.StreamDrops+c.StreamFramesSent != frames || c.StreamsOverflowed != 0 {
			t.Fatalf("counters %+v", c)
		}
		for range 10 {
			s.send(t, control)
		}
		after := s.l.Counters()
		if after.StreamFramesSent != c.StreamFramesSent+10 || after.StreamDrops != c.StreamDrops {
			t.Errorf("control frames were dropped: counters %+v, then %+v", c, after)
		}
		// What did go into the queue arrives whole, once the peer reads.
		want := int(after.StreamFramesSent-10)*len(media) + 10*len(control)
		got := make([]byte, want)
		if n, err := io.ReadFull(s.peer, got); err != nil || !bytes.HasSuffix(got, control) {
			t.Errorf("the peer read %d of %d bytes: %v", n, want, err)
		}
		s.send(t, media)
		if n, err := io.ReadFull(s.peer, got[:len(media)]); err != nil {
			t.Errorf("then it read %d bytes: %v", n, err)
		}
	})
}

func TestPeerThatTakesNothingIsGivenUp(t *testing.T) {
	for name, frame := range map[string][]byte{"by time": channelData(0x4000, string(make([]byte, 1000))), "by control": stunMessage(0x101, 1000)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, TURN, func(t *testing.T, s *adopted) {
				s.flood(t, frame, 2000)
				overflow := name == "by control"
				s.has(t, func() {
					if s.ended != overflow {
						t.Errorf("at first: ended %v", s.ended)
					}
				})
				time.Sleep(11 * time.Second)
				s.has(t, func() {
					if !s.ended {
						t.Error("after 11 s it is still open")
					}
				})
				if c := s.l.Counters(); (c.StreamsOverflowed == 1) != overflow || c.Sockets != 0 {
					t.Errorf("counters %+v", c)
				}
			})
		})
	}
}

// A tenant that closes while the peer takes nothing waits for it no longer than 5 s.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		s.flood(t, channelData(0x4000, string(make([]byte, 1000))), 2000)
		sent := s.l.Counters().StreamFramesSent
		do(t, s.l, func(mono.Time) { s.tenant.lease.Close(s.name) })
		time.Sleep(6 * time.Second)
		// What had left before is still under way; what was queued is not.
		if n, err := io.Copy(io.Discard, s.peer); err != nil || n == 0 || n >= int64(sent*1004) {
			t.Errorf("the peer read %d of %d bytes: %v", n, sent*1004, err)
		}
	})
}

// A tenant may close a stream, or everything, in the middle of what it brought.
func TestFramesAfterCloseAreNotDelivered(t *testing.T) {
	inBubble(t, RFC4571, func(t *testing.T, s *adopted) {
		heard := 0
		do(t, s.l, func(mono.Time) {
			s.tenant.datagram = func(mono.Time, *pkt.Datagram) {
				heard++
				s.tenant.lease.End()
			}
		})
		var stream []byte
		for range 10 {
			stream = RFC4571.Append(stream, []byte("frame"))
		}
		s.peer.Write(stream)
		s.has(t, func() {
			if heard != 1 || s.ended {
				t.Errorf("heard %d frames, told of the end: %v", heard, s.ended)
			}
		})
	})
}

func TestAdoptAfterEnd(t *testing.T) {
	inBubble(t, TURN, func(t *testing.T, s *adopted) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		do(t, s.l, func(mono.Time) {
			s.tenant.lease.End()
			if _, err := s.tenant.lease.Adopt(a, TURN); !errors.Is(err, ErrClosed) {
				t.Errorf("Adopt after End: %v", err)
			}
		})
	})
}

// Over real TCP with TLS: a hundred streams at once, each with its own order.
func TestManyStreamsOverTLS(t *testing.T) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }})
	defer l.Close()
	server := &actor{}
	server.datagram = func(_ mono.Time, d *pkt.Datagram) {
		server.lease.Batch().Append(pkt.Transmit{Path: d.Path, Payload: d.Payload})
	}
	attach(t, l, server)
	const streams, frames = 100, 50
	go func() {
		for range streams {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := conn.(*tls.Conn).HandshakeContext(t.Context()); err != nil {
					t.Error(err)
				}
				server.lease.Post(func(mono.Time) {
					if _, err := server.lease.Adopt(conn, RFC4571); err != nil {
						t.Error(err)
					}
				})
			}()
		}
	}()
	results := make(chan error, streams)
	for i := range streams {
		go func() { results <- echoFrames(listener.Addr().String(), i, frames) }()
	}
	for range streams {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if c := l.Counters(); c.StreamFrames != streams*frames || c.StreamFramesSent != streams*frames {
		t.Errorf("counters %+v", c)
	}
}

func echoFrames(address string, id, frames int) error {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	var want []byte
	for i := range frames {
		want = RFC4571.Append(want, fmt.Appendf(nil, "stream %d frame %d", id, i))
	}
	if _, err := conn.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("stream %d came back otherwise", id)
	}
	return nil
}
