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
	"github.com/parley-rtc/parley/internal/wire"
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
	cfg  ChannelConfig
	size func(i int) int
	left int
	next int
	sent [][32]byte
	at   []mono.Time
}

func (f *feed) pump(e *end, now mono.Time) {
	for f.left > 0 {
		data := noise(uint64(f.id)<<32|uint64(f.next), f.size(f.next))
		switch err := e.Send(now, f.id, false, data); {
		case errors.Is(err, ErrBufferFull):
			return
		case err != nil:
			e.t.Fatal(err)
		}
		f.sent = append(f.sent, sha256.Sum256(data))
		f.at = append(f.at, now)
		f.next++
		f.left--
	}
}

// check looks at what has come of f and returns how much that is. Nothing comes twice, nor out of order if that was promised,
// and what is reliable comes. What has a life of its own is not late: within it, and the time that a packet needs.
func (f *feed) check(e *end, packet time.Duration) int {
	e.t.Helper()
	got := e.hashed[f.id]
	next, known := 0, map[[32]byte]int{}
	for i, h := range f.sent {
		known[h] = i
	}
	for n, h := range got {
		i, ok := known[h]
		switch {
		case !ok:
			e.t.Errorf("channel %d: message %d of those that came was never sent, or came before", f.id, n)
			return n
		case i < next && !f.cfg.Unordered:
			e.t.Errorf("channel %d: message %d came after %d", f.id, i, next-1)
		}
		next = i + 1
		delete(known, h)
		if f.cfg.Reliability == MaxLifetime && f.cfg.Unordered {
			limit := time.Duration(f.cfg.Limit)*time.Millisecond + packet
			if took := e.at[string(h[:])].Sub(f.at[i]); took > limit {
				e.t.Errorf("channel %d: message %d took %v", f.id, i, took)
			}
		}
	}
	if f.cfg.Reliability == Reliable && len(got) != len(f.sent) {
		e.t.Errorf("channel %d: %d messages came, %d were sent", f.id, len(got), len(f.sent))
	}
	return len(got)
}

// repeats counts how often each chunk of data leaves an end; none of a channel may leave more often than its promise says.
func repeats(e *end, feeds []*feed) {
	times := map[uint32]uint32{}
	e.mangle = func(p []byte) []byte {
		r := wire.NewReader(p[headerSize:])
		for c, ok := nextChunk(&r); ok; c, ok = nextChunk(&r) {
			if c.kind != typeData && c.kind != typeIData {
				continue
			}
			d, _ := parseData(c)
			times[d.tsn]++
			for _, f := range feeds {
				if f.id == d.stream && f.cfg.Reliability == MaxRetransmits && d.number > 0 && times[d.tsn] > f.cfg.Limit+1 {
					e.t.Errorf("channel %d: a chunk was sent %d times", f.id, times[d.tsn])
				}
			}
		}
		return p
	}
}

// kinds of channels that a scenario has in both directions.
var promises = []ChannelConfig{
	{},
	{Unordered: true},
	{Reliability: MaxRetransmits},
	{Unordered: true, Reliability: MaxRetransmits, Limit: 2},
	{Unordered: true, Reliability: MaxLifetime, Limit: 300},
}

// exchange has both ends send on channels of all kinds and checks that every promise is kept. packet is the longest time that
// a packet is on its way.
func exchange(t *testing.T, d *duo, messages int, size func(i int) int, packet time.Duration) {
	t.Helper()
	var feeds [2][]*feed
	for i, e := range []*end{d.a, d.b} {
		e.hash = true
		for k, cfg := range promises {
			cfg.Label = fmt.Sprint("channel ", k)
			feeds[i] = append(feeds[i], &feed{id: e.opens(cfg), cfg: cfg, size: size, left: messages})
		}
		repeats(e, feeds[i])
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
	for i, e := range []*end{d.a, d.b} {
		other := []*end{d.b, d.a}[i]
		d.until("sent", func() bool {
			for _, f := range feeds[i] {
				if f.left > 0 || f.cfg.Reliability == Reliable && len(other.hashed[f.id]) < messages {
					return false
				}
			}
			return e.send.empty()
		})
	}
	d.net.Run(time.Second)
	for i, e := range []*end{d.a, d.b} {
		other := []*end{d.b, d.a}[i]
		partly, came := 0, 0
		for _, f := range feeds[i] {
			n := f.check(other, packet)
			if f.cfg.Reliability != Reliable {
				partly, came = partly+messages, came+n
			}
		}
		if abandoned := int(e.Stats().MessagesAbandoned); came+abandoned < partly {
			t.Errorf("%d of %d messages came that may be given up, and %d were", came, partly, abandoned)
		}
		if other.receive.held != 0 || other.inconsistency(0) != "" {
			t.Errorf("%d bytes are held; %s", other.receive.held, other.inconsistency(0))
		}
		e.hash, e.mangle, e.onEvent = false, nil, nil
	}
}

// sizes returns sizes of messages, most of them small, the largest 64 KiB.
func sizes() func(i int) int {
	chance := rand.New(rand.NewPCG(1, 2))
	var drawn []int
	return func(i int) int {
		for len(drawn) <= i {
			drawn = append(drawn, 16+chance.IntN(1<<chance.IntN(17))) // no two are the same
		}
		return drawn[i]
	}
}

func TestScenarios(t *testing.T) {
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
			t.Parallel()
			d := newDuo(t, p, func(cfg *Config) { cfg.SendBuffer = 256 << 10 }).connect()
			exchange(t, d, 40, sizes(), longest(p))
			over(t, d)
		})
	}
}

// longest returns how long a packet is on its way at most.
func longest(p simnet.Path) time.Duration {
	took := p.Delay + p.Jitter + p.ReorderBy
	if p.Rate > 0 {
		took += time.Duration(float64(p.Queue+1500) * 8 / float64(p.Rate) * float64(time.Second))
	}
	return took
}

// The path changes while both ends send, for good or not; every packet that comes has gone one of the two ways.
func TestScenariosOfChange(t *testing.T) {
	const ms = time.Millisecond
	usual := simnet.Path{Delay: 25 * ms, Rate: 5e6, Queue: 60_000, MTU: 1500, Fragments: true}
	with := func(change func(p *simnet.Path)) simnet.Path {
		p := usual
		change(&p)
		return p
	}
	dark := with(func(p *simnet.Path) { p.Loss = 1 })
	for name, c := range map[string]struct {
		up, down simnet.Path   // instead of the usual
		lasts    time.Duration // 0: for good
	}{
		"one way is dark":  {dark, usual, 5 * time.Second},
		"other way dark":   {usual, dark, 5 * time.Second},
		"both ways dark":   {dark, dark, 5 * time.Second},
		"slower":           {with(func(p *simnet.Path) { p.Rate = 500e3 }), with(func(p *simnet.Path) { p.Rate = 500e3 }), 0},
		"slower one way":   {with(func(p *simnet.Path) { p.Rate = 300e3 }), usual, 3 * time.Second},
		"faster":           {with(func(p *simnet.Path) { p.Rate = 100e6 }), with(func(p *simnet.Path) { p.Rate = 100e6 }), 0},
		"farther":          {with(func(p *simnet.Path) { p.Delay = 200 * ms }), with(func(p *simnet.Path) { p.Delay = 200 * ms }), 0},
		"nearer":           {with(func(p *simnet.Path) { p.Delay = ms }), with(func(p *simnet.Path) { p.Delay = ms }), 0},
		"lesser MTU":       {with(func(p *simnet.Path) { p.MTU = 1280 }), with(func(p *simnet.Path) { p.MTU = 1280 }), 0},
		"least MTU":        {with(func(p *simnet.Path) { p.MTU = 576 }), with(func(p *simnet.Path) { p.MTU = 576 }), 0},
		"lesser MTU, once": {with(func(p *simnet.Path) { p.MTU = 1280 }), usual, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDuo(t, usual, func(cfg *Config) { cfg.SendBuffer = 256 << 10 }).connect()
			d.net.After(500*ms, func(mono.Time) {
				d.link.SetUp(c.up)
				d.link.SetDown(c.down)
			})
			if c.lasts > 0 {
				d.net.After(500*ms+c.lasts, func(mono.Time) { d.link.Set(usual) })
			}
			began := d.net.Now()
			exchange(t, d, 60, sizes(), max(longest(usual), longest(c.up), longest(c.down)))
			if took := d.net.Now().Sub(began); took < 2*time.Second {
				t.Errorf("all was over before the change, after %v", took)
			}
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

// A thousand channels that both ends have opened carry messages in order, while the path loses some and becomes slow.
func TestThousandChannels(t *testing.T) {
	t.Parallel()
	path := simnet.Path{Delay: 10 * time.Millisecond, Rate: 20e6, Loss: 0.01}
	d := newDuo(t, path).connect()
	const channels = 1000
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprint("message ", i), strings.Repeat("x", 200*i+1))
	}
	for i := range channels {
		e := []*end{d.a, d.b}[i%2]
		id := e.opens(ChannelConfig{Label: fmt.Sprint(i)})
		for _, m := range want {
			e.sends(id, m)
		}
	}
	d.net.After(50*time.Millisecond, func(mono.Time) {
		path.Delay, path.Rate = 40*time.Millisecond, 2e6
		d.link.Set(path)
	})
	for _, e := range []*end{d.a, d.b} {
		d.until("delivered", func() bool {
			for _, got := range e.got {
				if len(got) < len(want) {
					return false
				}
			}
			return len(e.got) == channels/2
		})
		for id, got := range e.got {
			if !slices.Equal(got, want) {
				t.Errorf("channel %d got %q", id, got)
			}
			e.Close(e.now(), id)
		}
		e.driver.Poll()
	}
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
	exchange(t, d, 5, sizes(), 25*time.Millisecond)
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
	if held < window-20_000 || held > window+8*d.b.cfg.MaxPacket { // what fills gaps is let in
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
