package sctp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// noise returns a message of n bytes that no other seed gives.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := entropy(seed)
	r.Read(b)
	return b
}

// feed sends messages as the buffer takes them.
type feed struct {
	id   StreamID
	text bool
	size func(i int) int
	left int
	next int
	sent [][32]byte
}

func (f *feed) pump(e *end, now mono.Time) {
	for f.left > 0 {
		data := noise(uint64(f.id)<<32|uint64(f.next), f.size(f.next))
		switch err := e.Send(now, f.id, f.text, data); {
		case errors.Is(err, ErrBufferFull):
			return
		case err != nil:
			e.t.Fatal(err)
		}
		f.sent = append(f.sent, sha256.Sum256(data))
		f.next++
		f.left--
	}
}

// exchange has both ends send and checks that all comes, once, and in order where that was promised.
func exchange(t *testing.T, d *duo, messages int, size func(i int) int) {
	t.Helper()
	var feeds [2][]*feed
	for i, e := range []*end{d.a, d.b} {
		e.hash = true
		for k := range 2 {
			id := e.opens(ChannelConfig{Label: fmt.Sprint("channel ", k), Unordered: k == 1})
			feeds[i] = append(feeds[i], &feed{id: id, size: size, left: messages})
		}
		e.onEvent = func(now mono.Time, ev Event) {
			if ev.Kind == BufferedAmountLow {
				for _, f := range feeds[i] {
					f.pump(e, now)
				}
			}
		}
		for _, f := range feeds[i] {
			f.pump(e, e.now())
		}
		e.driver.Poll()
	}
	for i, other := range []*end{d.b, d.a} {
		for k, f := range feeds[i] {
			d.until("delivered", func() bool { return len(other.hashed[f.id]) >= messages })
			got := other.hashed[f.id]
			if k == 1 { // order was not promised
				byHash := func(a, b [32]byte) int { return strings.Compare(string(a[:]), string(b[:])) }
				slices.SortFunc(got, byHash)
				slices.SortFunc(f.sent, byHash)
			}
			if !slices.Equal(got, f.sent) {
				t.Errorf("what came on channel %d is not what was sent", f.id)
			}
		}
	}
	d.a.hash, d.b.hash = false, false
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, p := range map[string]simnet.Path{
		"1 ms":           {Delay: ms / 2},
		"50 ms":          {Delay: 25 * ms},
		"100 ms":         {Delay: 50 * ms},
		"300 ms":         {Delay: 150 * ms},
		"1 % loss":       {Delay: 25 * ms, Loss: 0.01},
		"5 % loss":       {Delay: 25 * ms, Loss: 0.05},
		"20 % loss":      {Delay: 25 * ms, Loss: 0.2},
		"bursts of loss": {Delay: 25 * ms, Loss: 0.05, Burst: 8},
		"reordering":     {Delay: 25 * ms, Reorder: 0.2, ReorderBy: 15 * ms},
		"duplicates":     {Delay: 25 * ms, Duplicate: 0.2},
		"all of it":      {Delay: 25 * ms, Jitter: 10 * ms, Loss: 0.05, Reorder: 0.1, ReorderBy: 30 * ms, Duplicate: 0.1},
		"a narrow link":  {Delay: 25 * ms, Rate: 2e6, Queue: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDuo(t, p, func(cfg *Config) { cfg.SendBuffer = 256 << 10 }).connect()
			sizes := rand.New(rand.NewPCG(1, 2))
			var drawn []int
			exchange(t, d, 60, func(i int) int {
				for len(drawn) <= i {
					drawn = append(drawn, sizes.IntN(1<<sizes.IntN(17)))
				}
				return drawn[i]
			})
			over(t, d)
		})
	}
}

// over shuts the association down and checks that both ends end well and hold nothing.
func over(t *testing.T, d *duo) {
	t.Helper()
	d.a.Shutdown(d.a.now())
	d.a.driver.Poll()
	d.until("shut down", func() bool { return d.a.state == stateDone && d.b.state == stateDone })
	for _, e := range []*end{d.a, d.b} {
		if last := e.events[len(e.events)-1]; last.Kind != Closed || last.Err != nil {
			t.Errorf("the last event is %+v", last)
		}
	}
}

func TestBlackOut(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond}).connect()
		id := d.a.opens(ChannelConfig{})
		dark := simnet.Path{Delay: 25 * time.Millisecond, Loss: 1}
		d.net.After(time.Second, func(mono.Time) {
			if both {
				d.link.SetDown(dark)
			}
			d.link.SetUp(dark)
		})
		d.net.After(6*time.Second, func(mono.Time) { d.link.Set(simnet.Path{Delay: 25 * time.Millisecond}) })
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint("message ", i))
			d.a.sends(id, want[i])
			d.net.Run(100 * time.Millisecond)
		}
		d.until("delivered", func() bool { return len(d.b.got[id]) == len(want) })
		if !slices.Equal(d.b.got[id], want) {
			t.Errorf("both %v: got %q", both, d.b.got[id])
		}
		// Back from the dark, it does not take long: the timer has been backed off a few times.
		if last := d.b.at["message 59"]; last.Sub(mono.Time(0)) == 0 || last.Sub(d.a.lastSent) > time.Minute {
			t.Errorf("message 59 came at %v", last)
		}
	}
}

func TestRateChangeAndThousandChannels(t *testing.T) {
	t.Parallel()
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Rate: 20e6}).connect()
	const channels = 1000
	for i := range channels {
		id := d.a.opens(ChannelConfig{Label: fmt.Sprint(i)})
		d.a.sends(id, fmt.Sprint("to ", id))
	}
	d.net.After(50*time.Millisecond, func(mono.Time) { d.link.Set(simnet.Path{Delay: 40 * time.Millisecond, Rate: 500e3}) })
	d.until("delivered", func() bool { return len(d.b.got) == channels })
	for id, got := range d.b.got {
		if len(got) != 1 || got[0] != fmt.Sprint("to ", id) {
			t.Errorf("channel %d got %q", id, got)
		}
	}
	for id := range d.b.got {
		d.b.Close(d.b.now(), id)
	}
	d.b.driver.Poll()
	d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 })
	over(t, d)
}

func TestHugeMessage(t *testing.T) {
	t.Parallel()
	size := 8 << 20
	if os.Getenv("PARLEY_LONG") != "" {
		size = 64 << 20
	}
	d := newDuo(t, simnet.Path{Delay: 5 * time.Millisecond, Rate: 1e9, Queue: 1 << 20}, func(cfg *Config) {
		cfg.MaxMessageSize, cfg.SendBuffer = size, 2*size
	}).connect()
	d.b.hash = true
	id := d.a.opens(ChannelConfig{})
	data := noise(1, size)
	if err := d.a.Send(d.a.now(), id, false, data); err != nil {
		t.Fatal(err)
	}
	d.a.driver.Poll()
	d.until("delivered", func() bool { return len(d.b.hashed[id]) == 1 })
	if d.b.hashed[id][0] != sha256.Sum256(data) {
		t.Error("the message is not the one that was sent")
	}
	if err := d.a.Send(d.a.now(), id, false, make([]byte, 2*size+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a message larger than the buffer: %v", err)
	}
	if held := d.b.receive.held; held != 0 {
		t.Errorf("b still holds %d bytes", held)
	}
}

// The peer has lost its memory and begins again, by itself; the one that has not is told.
func TestRestartOfThePeer(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond}).connect()
	id := d.a.opens(ChannelConfig{})
	d.a.sends(id, "before")
	d.until("delivered", func() bool { return len(d.b.got[id]) == 1 })
	again, err := New(Config{Rand: entropy(99), Server: true})
	if err != nil {
		t.Fatal(err)
	}
	d.b.Association, d.b.events = again, nil
	d.b.Connect(d.b.now())
	d.b.driver.Poll()
	d.until("restarted", func() bool { return d.b.state == stateEstablished && strings.Contains(d.a.kinds(), "Restarted") })
	if got := d.a.kinds(); got != "Established ChannelOpen:0 BufferedAmountLow:0 ChannelClosed:0 Restarted" {
		t.Errorf("events: %s", got)
	}
	if err := d.a.Send(d.a.now(), id, false, nil); !errors.Is(err, ErrNoChannel) {
		t.Errorf("the channel of before is there: %v", err)
	}
	exchange(t, d, 5, func(i int) int { return 1000 * i })
	over(t, d)
}

func TestPeerVanishes(t *testing.T) {
	for _, busy := range []bool{true, false} {
		d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond}).connect()
		id := d.a.opens(ChannelConfig{})
		d.a.sends(id, "hello")
		d.net.Run(time.Second)
		d.link.Set(simnet.Path{Loss: 1})
		if busy {
			d.a.sends(id, "anybody there?")
		}
		if !d.net.RunUntil(func() bool { return d.a.state == stateDone }, time.Hour) {
			t.Fatal("a never notices")
		}
		last := d.a.events[len(d.a.events)-1]
		var e *Error
		if last.Kind != Closed || !errors.As(last.Err, &e) || e.Remote {
			t.Errorf("the last event is %+v", last)
		}
	}
}

// A receiver that does not read stops the sender, which goes on where it was when there is room again.
func TestAReaderThatDoesNotReadClosesTheWindow(t *testing.T) {
	t.Parallel()
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Loss: 0.02}, func(cfg *Config) {
		cfg.MaxMessageSize, cfg.SendBuffer = 64<<10, 8<<20
	}).connect()
	const window = initialWindow
	d.b.unread, d.b.hash = true, true
	id := d.a.opens(ChannelConfig{})
	f := &feed{id: id, size: func(int) int { return 10_000 }, left: 400}
	f.pump(d.a, d.a.now())
	d.a.driver.Poll()
	d.net.Run(5 * time.Minute)
	held := d.b.receive.held
	if held < window-20_000 || held > window+2*d.b.cfg.MaxPacket {
		t.Errorf("b holds %d bytes, its window is %d", held, window)
	}
	if d.b.space() != window {
		t.Errorf("the window has grown to %d, though nobody reads", d.b.space())
	}
	if d.a.state != stateEstablished {
		t.Fatal("the association died of a reader that is slow")
	}
	read := len(d.b.hashed[id])
	d.b.unread = false
	for range read {
		d.b.Consume(10_000)
	}
	d.b.driver.Poll()
	d.until("delivered", func() bool { return len(d.b.hashed[id]) == 400 })
	if !slices.Equal(d.b.hashed[id], f.sent) {
		t.Error("what came is not what was sent")
	}
}
