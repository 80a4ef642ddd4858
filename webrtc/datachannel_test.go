package webrtc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// createDataChannel: the attributes of a channel that nobody has asked anything of.
func TestDataChannelDefaults(t *testing.T) {
	pc := fresh(t, Configuration{})
	ch, err := pc.CreateDataChannel("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if ch.Label() != "" || !ch.Ordered() || ch.MaxPacketLifeTime() != nil || ch.MaxRetransmits() != nil || ch.Protocol() != "" || ch.Negotiated() ||
		ch.ID() != nil || ch.ReadyState() != "connecting" || ch.BufferedAmount() != 0 || ch.BufferedAmountLowThreshold() != 0 || ch.Priority() != "low" {
		t.Errorf("the channel is %+v", ch)
	}
	ch, err = pc.CreateDataChannel("label", &DataChannelInit{Ordered: new(false), MaxRetransmits: new(uint16(7)), Protocol: "chat", ID: new(uint16(3)), Priority: "high"})
	if err != nil {
		t.Fatal(err)
	}
	if ch.Label() != "label" || ch.Ordered() || *ch.MaxRetransmits() != 7 || ch.MaxPacketLifeTime() != nil || ch.Protocol() != "chat" || ch.Priority() != "high" {
		t.Errorf("the channel is %+v", ch)
	}
	if ch.ID() != nil {
		t.Error("the id is not ignored though the channel is not negotiated")
	}
	ch, err = pc.CreateDataChannel("", &DataChannelInit{MaxPacketLifeTime: new(uint16(0)), Negotiated: true, ID: new(uint16(65534))})
	if err != nil {
		t.Fatal(err)
	}
	if *ch.MaxPacketLifeTime() != 0 || !ch.Negotiated() || *ch.ID() != 65534 {
		t.Errorf("the channel is %+v", ch)
	}
	// USVString: what is no Unicode is replaced.
	if ch, err = pc.CreateDataChannel("a\xffb", nil); err != nil || ch.Label() != "a\uFFFDb" {
		t.Errorf("the label is %q: %v", ch.Label(), err)
	}
}

// createDataChannel: the exceptions.
func TestCreateDataChannelErrors(t *testing.T) {
	pc := fresh(t, Configuration{})
	long, longest := strings.Repeat("l", 65536), strings.Repeat("l", 65535)
	for _, c := range []struct {
		what, label string
		init        DataChannelInit
		name        ErrorName
	}{
		{"a label of 65536 bytes", long, DataChannelInit{}, TypeError},
		{"a label of 65536 bytes in fewer characters", strings.Repeat("\u00b5", 32768), DataChannelInit{}, TypeError},
		{"a label of 65535 bytes", longest, DataChannelInit{}, ""},
		{"a protocol of 65536 bytes", "", DataChannelInit{Protocol: long}, TypeError},
		{"a protocol of 65535 bytes", "", DataChannelInit{Protocol: longest}, ""},
		{"both limits", "", DataChannelInit{MaxPacketLifeTime: new(uint16(0)), MaxRetransmits: new(uint16(0))}, TypeError},
		{"negotiated without an id", "", DataChannelInit{Negotiated: true}, TypeError},
		{"the id 65535", "", DataChannelInit{Negotiated: true, ID: new(uint16(65535))}, TypeError},
		{"the id 65535 that is not negotiated", "", DataChannelInit{ID: new(uint16(65535))}, ""},
		{"the id 42", "", DataChannelInit{Negotiated: true, ID: new(uint16(42))}, ""},
		{"the id 42 again", "", DataChannelInit{Negotiated: true, ID: new(uint16(42))}, OperationError},
		{"a priority that there is not", "", DataChannelInit{Priority: "urgent"}, TypeError},
	} {
		ch, err := pc.CreateDataChannel(c.label, &c.init)
		if c.name != "" {
			is(t, "CreateDataChannel with "+c.what, err, c.name)
		} else if err != nil || ch.ReadyState() != DataChannelStateConnecting {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	pc.Close()
	_, err := pc.CreateDataChannel(long, nil)
	is(t, "CreateDataChannel of a closed connection", err, InvalidStateError)
}

// "If the DTLS role of the SCTP transport has been negotiated": ids are given at once, the client's even and the server's
// odd (RFC 8832 section 6), and one that is taken is an OperationError.
func TestDataChannelIDs(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		if x.ID() == nil || y.ID() == nil || *x.ID() != *y.ID() || *x.ID()%2 != 1 { // the answerer is the client
			t.Errorf("the ids are %v and %v", x.ID(), y.ID())
		}
		second, err := a.CreateDataChannel("second", nil)
		w.check(err)
		if second.ID() == nil || *second.ID() != *x.ID()+2 {
			t.Errorf("the second id is %v", second.ID())
		}
		_, err = a.CreateDataChannel("taken", &DataChannelInit{Negotiated: true, ID: x.ID()})
		is(t, "CreateDataChannel with an id in use", err, OperationError)
		if m := a.SCTP().MaxChannels(); m == nil || *m != 65535 {
			t.Errorf("MaxChannels is %v", m)
		}
		other, err := b.CreateDataChannel("other", nil)
		w.check(err)
		if *other.ID()%2 != 0 {
			t.Errorf("the client's id is %d", *other.ID())
		}
	})
}

// "maxChannels ... will be null until the SCTP transport goes into the "connected" state", then "the minimum of the negotiated
// amount of incoming and outgoing SCTP streams" (webrtc-pc section 6.1.1).
func TestMaxChannels(t *testing.T) {
	for _, streams := range [][2]uint16{{300, 100}, {100, 300}} { // the peer's, outgoing and incoming
		inWorld(t, func(w *world) {
			a, b := w.pair(Configuration{})
			x, err := a.CreateDataChannel("x", nil)
			w.check(err)
			open := make(chan struct{})
			x.OnOpen(func() { close(open) })
			w.check(a.SetLocalDescription(nil))
			w.check(b.SetRemoteDescription(*a.LocalDescription()))
			w.check(b.SetLocalDescription(nil))
			answer := *b.LocalDescription()
			const attribute = "a=sctp-init:"
			before, rest, _ := strings.Cut(answer.SDP, attribute)
			value, after, ok := strings.Cut(rest, "\r\n")
			init, err := base64.StdEncoding.DecodeString(value)
			if w.check(err); !ok || len(init) < 20 {
				t.Fatalf("no INIT chunk in %q", answer.SDP)
			}
			binary.BigEndian.PutUint16(init[12:], streams[0])
			binary.BigEndian.PutUint16(init[14:], streams[1])
			answer.SDP = before + attribute + base64.StdEncoding.EncodeToString(init) + "\r\n" + after
			w.check(a.SetRemoteDescription(answer))
			if m := a.SCTP().MaxChannels(); m != nil {
				t.Errorf("MaxChannels is %d before the transport is connected", *m)
			}
			w.trickle(a, b)
			await(w, open, "the channel opening")
			if m := a.SCTP().MaxChannels(); m == nil || *m != 100 {
				t.Errorf("MaxChannels is %v, want 100", m)
			}
		})
	}
}

// There may be 2048 channels at a time, whoever opens them; places that become free are taken again.
func TestTooManyChannels(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, _ := w.connect(Configuration{}, nil)
		b.OnDataChannel(nil)
		for range 2047 {
			_, err := a.CreateDataChannel("", nil)
			w.check(err)
		}
		_, err := a.CreateDataChannel("", nil)
		is(t, "one channel more", err, OperationError)
		closed := make(chan struct{})
		x.OnClose(func() { close(closed) })
		w.check(x.Close())
		await(w, closed, "a channel's close")
		_, err = a.CreateDataChannel("", nil)
		w.check(err)
	})
}

// The peer sees the channel with all that it was made with.
func TestDataChannelAtThePeer(t *testing.T) {
	for _, init := range []*DataChannelInit{
		nil,
		{Ordered: new(false), Protocol: "p"},
		{MaxRetransmits: new(uint16(3)), Priority: PriorityHigh},
		{Ordered: new(false), MaxPacketLifeTime: new(uint16(500)), Priority: PriorityVeryLow},
	} {
		inWorld(t, func(w *world) {
			_, _, x, y := w.connect(Configuration{}, init)
			if y.Label() != x.Label() || y.Ordered() != x.Ordered() || y.Protocol() != x.Protocol() || y.Priority() != x.Priority() || y.Negotiated() ||
				!same(y.MaxRetransmits(), x.MaxRetransmits()) || !same(y.MaxPacketLifeTime(), x.MaxPacketLifeTime()) {
				t.Errorf("%+v is %+v at the peer", x, y)
			}
		})
	}
}

func same(a, b *uint16) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// datachannel comes before the channel's own events, also if handlers are set late; the state is open when it comes.
func TestEventDataChannel(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x, err := a.CreateDataChannel("first", nil)
		w.check(err)
		x.OnOpen(func() {
			w.check(x.SendText("one"))
			w.check(x.Send([]byte{2}))
			w.check(x.Close())
		})
		w.negotiate(a, b)
		time.Sleep(time.Second)
		var events []string
		done := make(chan struct{})
		b.OnDataChannel(func(ch *DataChannel) {
			// What the peer has sent and said meanwhile waits behind this event.
			events = append(events, "datachannel "+ch.Label())
			ch.OnOpen(func() { events = append(events, "open") })
			ch.OnMessage(func(m Message) { events = append(events, fmt.Sprint(m.IsText, m.Data)) })
			ch.OnClosing(func() { events = append(events, "closing") })
			ch.OnClose(func() { events = append(events, "close"); close(done) })
			ch.OnError(func(e *Error) { events = append(events, "error") })
		})
		await(w, done, "the channel's end")
		want := []string{"datachannel first", "open", "true [111 110 101]", "false [2]", "closing", "close"}
		if !slices.Equal(events, want) {
			t.Errorf("the events were %q, not %q", events, want)
		}
	})
}

// A peer may open and close channels for as long as a handler takes: what waits to be told is bounded, and channels beyond it are
// closed.
func TestChannelsThatNobodyHearsOf(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, _, _ := w.connect(Configuration{}, nil)
		names := make(chan string, 2)
		b.OnDataChannel(func(ch *DataChannel) { names <- ch.Label() })
		handled := make(chan struct{})
		b.events.do(func() { <-handled })
		for range maxBehind + 1 {
			b.events.do(func() {})
		}
		open := func(label string) *DataChannel {
			ch, err := a.CreateDataChannel(label, nil)
			w.check(err)
			return ch
		}
		closed := make(chan struct{})
		open("too many").OnClose(func() { close(closed) })
		await(w, closed, "the close of a channel too many")
		close(handled)
		synctest.Wait()
		open("one more")
		if got := await(w, names, "the next channel"); got != "one more" {
			t.Errorf("the channel %q was announced", got)
		}
	})
}

// A negotiated channel opens on both sides without the event datachannel.
func TestNegotiatedDataChannel(t *testing.T) {
	inWorld(t, func(w *world) {
		_, b, x, y := w.connect(Configuration{}, &DataChannelInit{Negotiated: true, ID: new(uint16(7))})
		b.OnDataChannel(func(*DataChannel) { t.Error("it was announced") })
		w.check(x.SendText("to y"))
		w.check(y.SendText("to x"))
		for ch, want := range map[*DataChannel]string{x: "to x", y: "to y"} {
			if m, err := ch.Receive(context.Background()); err != nil || m.Text() != want {
				t.Errorf("%q came, not %q: %v", m.Text(), want, err)
			}
		}
	})
}

// send: "If channel.[[ReadyState]] is not "open", throw an InvalidStateError"; a message over maxMessageSize is a TypeError.
func TestSendErrors(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _, x, _ := w.connect(Configuration{}, nil)
		connecting, err := w.connection(w.a, Configuration{}).CreateDataChannel("", nil)
		w.check(err)
		is(t, "Send while connecting", connecting.Send(nil), InvalidStateError)
		is(t, "SendText while connecting", connecting.SendText(""), InvalidStateError)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := connecting.SendContext(ctx, nil); err != context.DeadlineExceeded {
			t.Errorf("SendContext while connecting returned %v", err)
		}
		limit := a.SCTP().MaxMessageSize()
		if limit != maxReceived {
			t.Errorf("MaxMessageSize is %d", limit)
		}
		is(t, "Send of too much", x.Send(make([]byte, limit+1)), TypeError)
		w.check(x.Send(make([]byte, limit)))
		w.check(x.Close())
		is(t, "Send while closing", x.Send(nil), InvalidStateError)
	})
}

// Messages of every size and kind come as they were sent.
func TestMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, x, y := w.connect(Configuration{}, nil)
		sizes := []int{0, 1, 511, 512, 513, 1200, 65536, maxReceived}
		data := make([]byte, maxReceived)
		rand.Read(data)
		go func() {
			for _, n := range sizes {
				w.check(x.SendContext(context.Background(), data[:n]))
				w.check(x.SendTextContext(context.Background(), strings.Repeat("\u00e4", n/2)))
			}
			w.check(x.SendText("\xff is no UTF-8"))
			w.check(x.Close())
		}()
		var got []Message
		for m, err := range y.Messages(context.Background()) {
			w.check(err)
			got = append(got, m)
		}
		if len(got) != 2*len(sizes)+1 {
			t.Fatalf("%d messages came", len(got))
		}
		for i, n := range sizes {
			if b, s := got[2*i], got[2*i+1]; b.IsText || !bytes.Equal(b.Data, data[:n]) || !s.IsText || s.Text() != strings.Repeat("\u00e4", n/2) {
				t.Errorf("%d bytes did not come as they were sent", n)
			}
		}
		if s := got[2*len(sizes)].Text(); s != "\uFFFD is no UTF-8" {
			t.Errorf("the string came as %q", s)
		}
		if _, err := y.Receive(context.Background()); err != io.EOF {
			t.Errorf("after the end Receive returned %v", err)
		}
	})
}

// bufferedAmount grows with send, falls as data leave, fires bufferedamountlow once below the threshold, and is not reset
// when the channel closes.
func TestBufferedAmount(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _, x, y := w.connect(Configuration{}, nil)
		x.SetBufferedAmountLowThreshold(100_000)
		if x.BufferedAmountLowThreshold() != 100_000 {
			t.Errorf("the threshold is %d", x.BufferedAmountLowThreshold())
		}
		low := make(chan uint64, 100)
		x.OnBufferedAmountLow(func() { low <- x.BufferedAmount() })
		message := make([]byte, 50_000)
		for i := range 10 {
			w.check(x.Send(message))
			if n := x.BufferedAmount(); n == 0 || n > uint64(50_000*(i+1)) {
				t.Errorf("after %d messages %d bytes are buffered", i+1, n)
			}
		}
		if n := await(w, low, "bufferedamountlow"); n > 100_000 {
			t.Errorf("bufferedamountlow came with %d bytes", n)
		}
		for range 10 {
			if _, err := y.Receive(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := x.BufferedAmount(); n != 0 || len(low) != 0 {
			t.Errorf("%d bytes are buffered in the end, and %d events came", n, len(low))
		}
		w.check(x.Send(message))
		w.check(x.Send(message))
		before := x.BufferedAmount()
		w.check(a.Close())
		if after := x.BufferedAmount(); after == 0 || after > before {
			t.Errorf("closing made %d of %d", after, before)
		}
	})
}

// Send never waits: at 16 MiB it returns ErrBufferFull, an OperationError. SendContext waits for room, and until ctx is done.
func TestBackPressure(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, x, y := w.connect(Configuration{}, nil)
		message := make([]byte, 64<<10)
		n := 0
		for ; ; n++ {
			err := x.Send(message)
			if err == nil {
				continue
			}
			is(t, "Send into a full buffer", err, OperationError)
			if !errors.Is(err, ErrBufferFull) {
				t.Errorf("%v is not ErrBufferFull", err)
			}
			break
		}
		if n < maxBuffered/len(message)-1 {
			t.Errorf("the buffer was full after %d messages", n)
		}
		// Nobody reads, so the window closes: after that and 16 MiB buffered nothing moves.
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			for x.Send(message) == nil {
				n++
			}
		}
		if total := n * len(message); total > 2*maxBuffered+2<<20 {
			t.Errorf("%d bytes were taken though nobody reads", total)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := x.SendContext(ctx, message); err != context.DeadlineExceeded {
			t.Errorf("SendContext returned %v", err)
		}
		cancel()
		go func() {
			w.check(x.SendContext(context.Background(), []byte("last")))
			w.check(x.Close())
		}()
		count := 0
		for m, err := range y.Messages(context.Background()) {
			w.check(err)
			if count++; string(m.Data) == "last" {
				break
			}
		}
		if count != n+1 {
			t.Errorf("%d of %d messages came", count, n+1)
		}
	})
}

// close: what was sent is delivered, "closing" and "close" come at the peer, and "close" here.
func TestCloseDataChannel(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, nil)
		here, there := make(chan struct{}), make(chan struct{})
		x.OnClose(func() { close(here) })
		x.OnClosing(func() { t.Error("closing came to who has closed") })
		y.OnClosing(func() {
			if s := y.ReadyState(); s != DataChannelStateClosing && s != DataChannelStateClosed {
				t.Errorf("the state is %s", s)
			}
		})
		y.OnClose(func() { close(there) })
		data := make([]byte, 200<<10)
		for range 20 {
			w.check(x.Send(data))
		}
		w.check(x.Close())
		w.check(x.Close())
		if x.ReadyState() != DataChannelStateClosing {
			t.Errorf("the state is %s", x.ReadyState())
		}
		n := 0
		for m, err := range y.Messages(context.Background()) {
			w.check(err)
			n += len(m.Data)
		}
		if n != 20*len(data) {
			t.Errorf("%d bytes came", n)
		}
		await(w, here, "close")
		await(w, there, "close at the peer")
		if x.ReadyState() != DataChannelStateClosed || y.ReadyState() != DataChannelStateClosed {
			t.Errorf("the states are %s and %s", x.ReadyState(), y.ReadyState())
		}
		if a.ConnectionState() != PeerConnectionStateConnected || b.ConnectionState() != PeerConnectionStateConnected {
			t.Error("the connection did not outlive the channel")
		}
		// The id is free again.
		again, err := a.CreateDataChannel("again", nil)
		w.check(err)
		if *again.ID() != *x.ID() {
			t.Errorf("the next id is %d", *again.ID())
		}
	})
}

// A channel that is closed before anybody knows of it is closed at once, with the event close.
func TestCloseBeforeOpen(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x, err := a.CreateDataChannel("never", nil)
		w.check(err)
		gone := make(chan struct{})
		x.OnClose(func() { close(gone) })
		x.OnOpen(func() { t.Error("it was opened") })
		w.check(x.Close())
		await(w, gone, "close")
		b.OnDataChannel(func(ch *DataChannel) { t.Error("the peer has learned of it") })
		w.negotiate(a, b)
		time.Sleep(time.Second)
	})
}

// A channel is a stream of bytes for io.Copy.
func TestReadWriteCloser(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, x, y := w.connect(Configuration{}, nil)
		data := make([]byte, 10<<20)
		rand.Read(data)
		written := make(chan struct{})
		go func() {
			defer close(written)
			rw := x.ReadWriteCloser()
			if n, err := io.Copy(rw, bytes.NewReader(data)); err != nil || n != int64(len(data)) {
				t.Errorf("%d bytes were written: %v", n, err)
			}
			w.check(rw.Close())
		}()
		sum := sha256.New()
		n, err := io.Copy(sum, y.ReadWriteCloser())
		if err != nil || n != int64(len(data)) || [32]byte(sum.Sum(nil)) != sha256.Sum256(data) {
			t.Errorf("%d bytes were read: %v", n, err)
		}
		await(w, written, "the end of Close")
	})
}

// A handler and Receive may take turns, and neither loses anything.
func TestHandlerThenReceive(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, x, y := w.connect(Configuration{}, nil)
		got := make(chan string, 10)
		y.OnMessage(func(m Message) {
			got <- m.Text()
			y.OnMessage(nil)
		})
		for i := range 3 {
			w.check(x.SendText(fmt.Sprint(i)))
		}
		first := await(w, got, "a message")
		for i := 1; i < 3; i++ {
			m, err := y.Receive(context.Background())
			w.check(err)
			first += m.Text()
		}
		if first != "012" {
			t.Errorf("the messages came as %q", first)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := y.Receive(ctx); err != context.Canceled {
			t.Errorf("Receive returned %v", err)
		}
	})
}

// "announce the data channel as open", 1: "If ... channel.[[ReadyState]] is "closing" or "closed", abort these steps": after the event
// datachannel, whose handler closes the channel, there is no open. What the peer does comes after it.
func TestCloseInTheEventDataChannel(t *testing.T) {
	for _, closes := range []string{"here", "there"} {
		inWorld(t, func(w *world) {
			a, b := w.pair(Configuration{})
			x, err := a.CreateDataChannel("x", nil)
			w.check(err)
			var events []string
			note := func(s string) func() { return func() { events = append(events, s) } }
			closed := make(chan struct{})
			b.OnDataChannel(func(ch *DataChannel) {
				ch.OnOpen(note("open"))
				ch.OnClosing(note("closing"))
				ch.OnClose(func() { note("close")(); close(closed) })
				if closes == "here" {
					w.check(ch.Close())
				} else {
					w.check(x.Close())
					time.Sleep(time.Second)
				}
			})
			w.negotiate(a, b)
			await(w, closed, "close")
			want := map[string][]string{"here": {"close"}, "there": {"open", "closing", "close"}}[closes]
			if !slices.Equal(events, want) {
				t.Errorf("closed %s: the events were %q, not %q", closes, events, want)
			}
		})
	}
}

// createDataChannel, 24: "Return channel and continue the following steps in parallel": a channel is connecting when it is returned, on an
// association that stands, too.
func TestAChannelIsConnectingAtFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _, _, _ := w.connect(Configuration{}, nil)
		for _, init := range []*DataChannelInit{nil, {Negotiated: true, ID: new(uint16(7))}} {
			ch, err := a.CreateDataChannel("", init)
			w.check(err)
			if s := ch.ReadyState(); s != DataChannelStateConnecting {
				t.Errorf("it is %s", s)
			}
			is(t, "Send", ch.Send(nil), InvalidStateError)
			open := make(chan DataChannelState)
			ch.OnOpen(func() { open <- ch.ReadyState() })
			if s := await(w, open, "open"); s != DataChannelStateOpen {
				t.Errorf("in the handler of open it is %s", s)
			}
		}
	})
}

// "When a RTCDataChannel object's underlying data transport has been closed, the user agent MUST queue a task" to set the state to closed:
// whenever the handler of closing gets its turn, the channel is closing.
func TestStateInTheEventClosing(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, x, y := w.connect(Configuration{}, nil)
		var states []DataChannelState
		note := func() { states = append(states, y.ReadyState()) }
		closed := make(chan struct{})
		y.OnMessage(func(Message) { time.Sleep(10 * time.Second); note() }) // meanwhile x closes
		y.OnClosing(note)
		y.OnClose(func() { note(); close(closed) })
		w.check(x.SendText("wait"))
		time.Sleep(time.Second)
		w.check(x.Close())
		await(w, closed, "close")
		if !slices.Equal(states, []DataChannelState{DataChannelStateClosing, DataChannelStateClosing, DataChannelStateClosed}) {
			t.Errorf("the states were %q", states)
		}
	})
}

// rejectsData makes a description reject its only section, that of data.
func rejectsData(d SessionDescription) SessionDescription {
	head, section, _ := strings.Cut(d.SDP, "m=application ")
	_, section, _ = strings.Cut(section, " ")
	return SessionDescription{d.Type, strings.Replace(head, "a=group:BUNDLE 0", "a=group:BUNDLE", 1) + "m=application 0 " + section}
}

// RFC 8841 section 10.4: "If the "m=" line in the answer contains a zero port value, the offerer MUST NOT initiate the establishment of a TCP
// connection, a DTLS association, or an SCTP association": the channels that wait for one are closed, and no other offer is asked for,
// which would be rejected alike, until another channel is made.
func TestDataRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		var events []string
		a.OnNegotiationNeeded(func() { events = append(events, "negotiationneeded") })
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		x.OnError(func(e *Error) { events = append(events, string(e.Name+" "+ErrorName(e.Detail))) })
		x.OnClose(func() { events = append(events, "close "+string(x.ReadyState())) })
		synctest.Wait()
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(rejectsData(*b.LocalDescription())))
		synctest.Wait()
		if want := []string{"negotiationneeded", "OperationError data-channel-failure", "close closed"}; !slices.Equal(events, want) || a.SCTP() != nil {
			t.Errorf("the events were %q, not %q", events, want)
		}
		events = nil
		_, err = a.CreateDataChannel("y", nil)
		w.check(err)
		synctest.Wait()
		offer, err := a.CreateOffer(nil)
		w.check(err)
		if !slices.Equal(events, []string{"negotiationneeded"}) || strings.Contains(offer.SDP, "m=application 0 ") {
			t.Errorf("after another channel: %q, and\n%s", events, offer.SDP)
		}
		// One that stands is rejected by an offer of the peer's.
		c, d, x, y := w.connect(Configuration{}, nil)
		closed := make(chan struct{}, 2)
		for _, ch := range []*DataChannel{x, y} {
			ch.OnClose(func() { closed <- struct{}{} })
			ch.OnError(func(e *Error) { t.Error(e) })
		}
		c.OnNegotiationNeeded(func() { t.Error("an offer is asked for") })
		w.check(d.SetLocalDescription(nil))
		w.check(c.SetRemoteDescription(rejectsData(*d.LocalDescription())))
		w.check(c.SetLocalDescription(nil))
		w.check(d.SetRemoteDescription(*c.LocalDescription()))
		await(w, closed, "close")
		await(w, closed, "close")
		if s := c.SCTP().State(); s != SCTPTransportStateClosed {
			t.Errorf("the SCTPTransport is %s", s)
		}
	})
}

// "If the SDP "sctp-port" attribute in the answer contains an attribute value of zero, the offerer MUST NOT establish an SCTP association.
// If, in addition, an SCTP association exists, the offerer MUST close it" (RFC 8841 section 10.4), and "later, a new SCTP association can be
// established" (section 9.3), with the ports of before.
func TestDataWithoutAssociation(t *testing.T) {
	for _, established := range []bool{false, true} {
		inWorld(t, func(w *world) {
			var a, b *PeerConnection
			var x *DataChannel
			if established {
				a, b, x, _ = w.connect(Configuration{}, nil)
			} else {
				var err error
				a, b = w.pair(Configuration{})
				x, err = a.CreateDataChannel("x", nil)
				w.check(err)
			}
			closed, failed := make(chan struct{}), make(chan *Error, 1)
			x.OnError(func(e *Error) { failed <- e })
			x.OnClose(func() { close(closed) })
			without := func(d SessionDescription) SessionDescription {
				return SessionDescription{d.Type, strings.Replace(d.SDP, "a=sctp-port:5000", "a=sctp-port:0", 1)}
			}
			w.check(a.SetLocalDescription(nil))
			w.check(b.SetRemoteDescription(without(*a.LocalDescription())))
			w.check(b.SetLocalDescription(nil))
			if !strings.Contains(b.LocalDescription().SDP, "a=sctp-port:0\r\n") {
				t.Errorf("the answer is\n%s", b.LocalDescription().SDP)
			}
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			await(w, closed, "close")
			if established != (len(failed) == 0) {
				t.Errorf("established %v, and there were %d errors", established, len(failed))
			} else if !established {
				if e := <-failed; e.Detail != DataChannelFailure || !strings.Contains(e.Message, "a=sctp-port:0") {
					t.Errorf("failed with %v", e)
				}
			}
			came := make(chan *DataChannel, 1)
			b.OnDataChannel(func(ch *DataChannel) { came <- ch })
			y, err := a.CreateDataChannel("y", nil)
			w.check(err)
			w.negotiate(a, b)
			ch := await(w, came, "the second channel")
			w.check(ch.SendText("hello"))
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if m, err := y.Receive(ctx); err != nil || m.Text() != "hello" {
				t.Errorf("there came %q, %v", m.Text(), err)
			}
		})
	}
}
