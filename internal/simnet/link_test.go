package simnet_test

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// arrival is a packet as a flow's receiver saw it.
type arrival struct {
	number int
	sent   mono.Time
	at     mono.Time
}

// flow sends count packets of 1000 bytes on the wire over one link, evenly spaced, and returns how they came.
func flow(t *testing.T, p simnet.Path, count int, every time.Duration) ([]arrival, *simnet.Link) {
	t.Helper()
	n := simnet.New(7)
	a := n.Internet().Host("a", p, "192.0.2.1")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2")
	var got []arrival
	sent := make([]mono.Time, count)
	to := bind(t, b, "192.0.2.2:9", func(now mono.Time, d *pkt.Datagram) {
		number := int(d.Payload[0])<<16 | int(d.Payload[1])<<8 | int(d.Payload[2])
		got = append(got, arrival{number, sent[number], now})
	})
	from := bind(t, a, "192.0.2.1:9", func(mono.Time, *pkt.Datagram) {})
	for i := range count {
		n.After(time.Duration(i)*every, func(now mono.Time) {
			sent[i] = now
			payload := make([]byte, 1000-28)
			payload[0], payload[1], payload[2] = byte(i>>16), byte(i>>8), byte(i)
			from.Send(to.Local(), payload)
		})
	}
	n.Run(time.Duration(count)*every + 10*time.Second)
	return got, a.Link()
}

func bind(t testing.TB, h *simnet.Host, local string, handle func(mono.Time, *pkt.Datagram)) *simnet.Socket {
	t.Helper()
	s, err := h.Bind(netip.MustParseAddrPort(local), handle)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s is %v, want %v +- %v", what, got, want, tolerance)
	}
}

func TestDelayIsExact(t *testing.T) {
	got, _ := flow(t, simnet.Path{Delay: 20 * time.Millisecond}, 100, time.Millisecond)
	if len(got) != 100 {
		t.Fatalf("%d of 100 came", len(got))
	}
	for i, a := range got {
		if a.number != i || a.at.Sub(a.sent) != 20*time.Millisecond {
			t.Fatalf("packet %d took %v, in place %d", a.number, a.at.Sub(a.sent), i)
		}
	}
}

func TestJitterSpreadsAndKeepsOrder(t *testing.T) {
	got, _ := flow(t, simnet.Path{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}, 10_000, 50*time.Millisecond)
	var sum time.Duration
	least, most := time.Hour, time.Duration(0)
	for _, a := range got {
		took := a.at.Sub(a.sent)
		sum += took
		least, most = min(least, took), max(most, took)
	}
	within(t, "the mean delay in ms", (sum/time.Duration(len(got))).Seconds()*1000, 25, 0.2)
	if least < 20*time.Millisecond || least > 20100*time.Microsecond || most > 30*time.Millisecond || most < 29900*time.Microsecond {
		t.Errorf("delays from %v to %v, want 20 to 30 ms", least, most)
	}
	got, _ = flow(t, simnet.Path{Jitter: 50 * time.Millisecond}, 10_000, time.Millisecond)
	for i, a := range got {
		if a.number != i {
			t.Fatalf("packet %d came in place %d", a.number, i)
		}
	}
}

func TestBatchesComeAtOnce(t *testing.T) {
	const each = 20 * time.Millisecond
	got, _ := flow(t, simnet.Path{Delay: 25 * time.Millisecond, Batch: each}, 1000, time.Millisecond)
	if len(got) != 1000 {
		t.Fatalf("%d of 1000 came", len(got))
	}
	times := map[mono.Time]int{}
	for i, a := range got {
		if took := a.at.Sub(a.sent); a.number != i || took < 25*time.Millisecond || took >= 25*time.Millisecond+each {
			t.Fatalf("packet %d took %v, in place %d", a.number, took, i)
		}
		times[a.at]++
	}
	if len(times) < 50 || len(times) > 51 {
		t.Errorf("they came at %d times, want 20 at each", len(times))
	}
}

func TestLossAndItsBursts(t *testing.T) {
	for _, c := range []struct{ loss, burst, wantRun float64 }{
		{0.01, 0, 1.01}, {0.2, 0, 1.25}, {0.05, 4, 4}, {0.3, 10, 10}, {1, 0, 0}, {1, 5, 0},
	} {
		const count = 20_000
		got, link := flow(t, simnet.Path{Loss: c.loss, Burst: c.burst}, count, time.Microsecond)
		sigma := math.Sqrt(c.loss * (1 - c.loss) * 2 * max(c.burst, 0.5) / count)
		within(t, fmt.Sprintf("the loss of %+v", c), 1-float64(len(got))/count, c.loss, 4*sigma)
		if s := link.Up(); s.Sent != count || s.Lost != count-uint64(len(got)) || s.Delivered != uint64(len(got)) {
			t.Errorf("%+v: the link counted %+v", c, s)
		}
		runs, lost, next := 0.0, 0.0, 0
		for _, a := range got {
			if a.number > next {
				runs++
				lost += float64(a.number - next)
			}
			next = a.number + 1
		}
		if runs > 0 {
			within(t, fmt.Sprintf("the mean run of losses of %+v", c), lost/runs, c.wantRun, 0.1*c.wantRun)
		}
	}
}

func TestRateQueueAndOverflow(t *testing.T) {
	// 1000 packets of 1000 bytes at 1 ms each are 8 Mbit/s.
	const count = 1000
	got, _ := flow(t, simnet.Path{Rate: 8e6}, count, time.Millisecond)
	for _, a := range got {
		if took := a.at.Sub(a.sent); took != time.Millisecond {
			t.Fatalf("packet %d took %v on a link that it just fills", a.number, took)
		}
	}
	got, link := flow(t, simnet.Path{Rate: 4e6, Queue: 10_000, Delay: 5 * time.Millisecond}, count, time.Millisecond)
	if s := link.Up(); s.Overflowed != uint64(count-len(got)) || s.Overflowed == 0 {
		t.Errorf("%d of %d came, and the link counted %+v", len(got), count, s)
	}
	span := got[len(got)-1].at.Sub(got[0].at)
	within(t, "the rate in bit/s", float64(len(got)-1)*8000/span.Seconds(), 4e6, 4e3)
	for _, a := range got[len(got)/2:] {
		// A full queue of 10 packets is 20 ms.
		within(t, "the delay in ms behind a full queue", a.at.Sub(a.sent).Seconds()*1000, 5+19.5, 1.5)
	}
}

// Only packets with an ECT codepoint may be marked (RFC 3168 section 5).
func TestMarksWhatWaits(t *testing.T) {
	n := simnet.New(1)
	p := simnet.Path{Rate: 8_000_000, Mark: 5 * time.Millisecond} // a packet takes 1 ms
	a := n.Internet().Host("a", p, "192.0.2.1")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2")
	var got []pkt.ECN
	to := bind(t, b, "192.0.2.2:9", func(_ mono.Time, d *pkt.Datagram) { got = append(got, d.ECN) })
	from := bind(t, a, "192.0.2.1:9", nil)
	for i := range 20 {
		from.Transmit(pkt.Transmit{Path: pkt.Path{Remote: to.Local()}, ECN: pkt.ECN(i%2) * pkt.ECT0, Payload: make([]byte, 1000-28)})
	}
	if up, down := a.Link().Backlog(); up != 20*time.Millisecond || down != 0 {
		t.Errorf("the backlog is %v up and %v down, want 20ms and 0", up, down)
	}
	n.Run(time.Second)
	if len(got) != 20 || a.Link().Up().Marked != 7 {
		t.Fatalf("%d packets came, %d were marked", len(got), a.Link().Up().Marked)
	}
	for i, ecn := range got {
		want := pkt.ECN(i%2) * pkt.ECT0
		if want == pkt.ECT0 && i > 5 {
			want = pkt.CE
		}
		if ecn != want {
			t.Errorf("packet %d came with %v, want %v", i, ecn, want)
		}
	}
}

func TestRateThatChangesKeepsTheQueue(t *testing.T) {
	n := simnet.New(1)
	a := n.Internet().Host("a", simnet.Path{Rate: 8e6, Queue: 1 << 20}, "192.0.2.1")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2")
	var last mono.Time
	to := bind(t, b, "192.0.2.2:9", func(now mono.Time, d *pkt.Datagram) { last = now })
	from := bind(t, a, "192.0.2.1:9", nil)
	start := n.Now()
	for range 100 {
		from.Send(to.Local(), make([]byte, 972)) // 100 ms at this rate
	}
	n.Run(50 * time.Millisecond)
	a.Link().Set(simnet.Path{Rate: 80e6, Queue: 1 << 20}) // what waits is 50000 bytes: 5 ms more
	from.Send(to.Local(), make([]byte, 972))
	n.Run(time.Second)
	// The 100 were on their way when the rate changed, and a link keeps its order.
	if got := last.Sub(start); got != 100*time.Millisecond {
		t.Errorf("the last packet came after %v, want 100 ms", got)
	}
	from.Send(to.Local(), make([]byte, 972))
	before := n.Now()
	n.Run(time.Second)
	if got := last.Sub(before); got != 100*time.Microsecond {
		t.Errorf("a packet takes %v at 80 Mbit/s, want 100 us", got)
	}
}

func TestReorderAndDuplicate(t *testing.T) {
	const count = 10_000
	got, link := flow(t, simnet.Path{Reorder: 0.1, ReorderBy: 2500 * time.Microsecond, Duplicate: 0.05}, count, time.Millisecond)
	overtaken, twice, highest := 0, 0, -1
	seen := map[int]bool{}
	for _, a := range got {
		if seen[a.number] {
			twice++
			continue
		}
		seen[a.number] = true
		if a.number < highest {
			overtaken++
		}
		highest = max(highest, a.number)
	}
	within(t, "the share overtaken", float64(overtaken)/count, 0.1, 0.01)
	within(t, "the share that came twice", float64(twice)/count, 0.05, 0.005)
	if len(seen) != count {
		t.Errorf("%d of %d came", len(seen), count)
	}
	if s := link.Up(); s.Duplicated != uint64(twice) || s.Delivered != uint64(count+twice) || s.Reordered == 0 {
		t.Errorf("the link counted %+v", s)
	}
}

func TestMTU(t *testing.T) {
	for size, want := range map[int]int{1000: 3, 999: 0} { // the packets of flow have 1000
		got, link := flow(t, simnet.Path{MTU: size}, 3, time.Millisecond)
		if len(got) != want || link.Up().TooBig != uint64(3-want) {
			t.Errorf("MTU %d: %d of 3 came, %+v", size, len(got), link.Up())
		}
	}
	n := simnet.New(1)
	six := n.Internet().Host("six", simnet.Path{MTU: 1280}, "2001:db8::1")
	other := n.Internet().Host("other", simnet.Path{}, "2001:db8::2")
	count := 0
	to := bind(t, other, "[2001:db8::2]:9", func(mono.Time, *pkt.Datagram) { count++ })
	from := bind(t, six, "[::]:9", nil)
	from.Send(to.Local(), make([]byte, 1280-48))
	from.Send(to.Local(), make([]byte, 1280-47))
	n.Run(time.Second)
	if count != 1 {
		t.Errorf("%d packets passed, want the one of 1280 bytes with the IPv6 header", count)
	}
}

func TestFragments(t *testing.T) {
	n := simnet.New(1)
	a := n.Internet().Host("a", simnet.Path{MTU: 600, Fragments: true, Rate: 8000}, "192.0.2.1", "2001:db8::1")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2", "2001:db8::2")
	var came []int
	var at mono.Time
	four := bind(t, b, "192.0.2.2:9", func(now mono.Time, d *pkt.Datagram) { came, at = append(came, len(d.Payload)), now })
	six := bind(t, b, "[2001:db8::2]:9", func(_ mono.Time, d *pkt.Datagram) { came = append(came, len(d.Payload)) })
	began := n.Now()
	bind(t, a, "192.0.2.1:9", nil).Send(four.Local(), make([]byte, 1172)) // 1200 bytes: 20 of them and 576, 576, 28
	bind(t, a, "192.0.2.1:10", nil).Transmit(pkt.Transmit{Path: pkt.Path{Remote: four.Local()}, Unfragmented: true, Payload: make([]byte, 573)})
	bind(t, a, "[2001:db8::1]:9", nil).Send(six.Local(), make([]byte, 553))
	n.Run(time.Minute)
	if fmt.Sprint(came) != "[1172]" || a.Link().Up().TooBig != 2 {
		t.Errorf("%v came, %+v", came, a.Link().Up())
	}
	if took := at.Sub(began); took != 1240*time.Millisecond {
		t.Errorf("three fragments take %v, want the time of 1240 bytes", took)
	}
}

func TestUpAndDownDiffer(t *testing.T) {
	n := simnet.New(1)
	a := n.Internet().Host("a", simnet.Path{}, "192.0.2.1")
	a.Link().SetUp(simnet.Path{Delay: 30 * time.Millisecond})
	a.Link().SetDown(simnet.Path{Delay: 10 * time.Millisecond})
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2")
	var there, back mono.Time
	var echo *simnet.Socket
	echo = bind(t, b, "192.0.2.2:9", func(now mono.Time, d *pkt.Datagram) {
		there = now
		echo.Send(d.Remote, d.Payload)
	})
	from := bind(t, a, "192.0.2.1:9", func(now mono.Time, d *pkt.Datagram) { back = now })
	start := n.Now()
	from.Send(echo.Local(), []byte("x"))
	n.Run(time.Second)
	if there.Sub(start) != 30*time.Millisecond || back.Sub(there) != 10*time.Millisecond {
		t.Errorf("there %v, back %v", there.Sub(start), back.Sub(there))
	}
}
