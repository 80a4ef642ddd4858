package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
)

// A scenario is a link, what changes in it, and what is asked of a contender on it.
type scenario struct {
	id, title, text string

	lasts       time.Duration
	link        []step        // in the order of time, the first at 0
	feedback    simnet.Path   // of the way back; its delay is that of the way there
	starts      time.Duration // the connection
	limit       time.Duration // until when the source makes at most limited
	limited     int64         // bits of video a second
	rival       rival
	rivalStarts time.Duration

	numbers []number
}

// A step is what the link is from a time on.
type step struct {
	at   time.Duration
	path simnet.Path
}

// rival is who else uses the link.
type rival uint8

const (
	none   rival = iota
	second       // connection of the same kind
	cubic        // flow of RFC 9438
)

const (
	oneWay = 25 * time.Millisecond
	queue  = 32 << 10
	kbit   = 1_000
	mbit   = 1_000_000
)

// rate is the link that scenarios are about unless they say otherwise.
func rate(bits int64) simnet.Path { return simnet.Path{Delay: oneWay, Rate: bits, Queue: queue} }

func steady(p simnet.Path) []step { return []step{{0, p}} }

func (s *scenario) pathAt(at time.Duration) simnet.Path {
	p := s.link[0].path
	for _, step := range s.link {
		if step.at <= at {
			p = step.path
		}
	}
	return p
}

func (s *scenario) back() simnet.Path {
	p := s.feedback
	p.Delay = s.link[0].path.Delay
	return p
}

// most is what the source makes of the picture if it may: without end, or little.
func (s *scenario) most(at time.Duration) int64 {
	if at < s.limit {
		return s.limited
	}
	return 1000 * mbit
}

const s = time.Second

var scenarios = []*scenario{
	{
		id: "steps", title: "2 Mbit/s, 500 kbit/s, 2 Mbit/s", lasts: 90 * s,
		link: []step{{0, rate(2 * mbit)}, {30 * s, rate(500 * kbit)}, {60 * s, rate(2 * mbit)}},
		text: "30 s each. At 500 kbit/s the queue of 32 KB holds 524 ms.",
		numbers: []number{
			reached("to 85 % of the link from the start", 0, 30*s, 0.85, goal{}),
			used("10 to 30 s", 10*s, 30*s, atLeast(0.85)),
			sent("sending in the second that begins 1 s after the drop, share of the link", 31*s, 32*s, atMost(1)),
			drained("queueing delay below 100 ms after the drop", 30*s, 60*s, 100*time.Millisecond, atMost(3)),
			used("40 to 60 s", 40*s, 60*s, atLeast(0.85)),
			reached("to 85 % of 2 Mbit/s again", 60*s, 90*s, 0.85, atMost(10)),
			used("70 to 90 s", 70*s, 90*s, atLeast(0.85)),
			queued("33 to 60 s", 33*s, 60*s, goal{}),
			queued("70 to 90 s", 70*s, 90*s, goal{}),
			old("33 to 60 s", 33*s, 60*s, goal{}),
		},
	},
	{
		id: "loss-2", title: "Random loss of 2 %", lasts: 60 * s, link: steady(lossy(0.02)),
		text: "On the way of the media, independent of each other.",
		numbers: []number{
			reached("to 85 % of the link from the start", 0, 60*s, 0.85, goal{}),
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "loss-10", title: "Random loss of 10 %", lasts: 60 * s, link: steady(lossy(0.10)),
		text: "On the way of the media, independent of each other. What is asked is not to halve the rate.",
		numbers: []number{
			sent("sending, 15 to 60 s, share of the link", 15*s, 60*s, atLeast(0.5)),
			used("15 to 60 s", 15*s, 60*s, goal{}),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "jitter", title: "Delay jitter of 30 ms", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Jitter: 30 * time.Millisecond, Rate: 2 * mbit, Queue: queue}),
		text: "Each packet takes up to 30 ms more, evenly spread; order is kept.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
			lost("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "cubic", title: "A CUBIC flow on 4 Mbit/s", lasts: 65 * s, link: steady(rate(4 * mbit)), rival: cubic, rivalStarts: 5 * s,
		text: "A download begins 5 s after the call. It is Parley's SCTP, with CUBIC by RFC 9438 and HyStart++, sending without end.",
		numbers: []number{
			share("share of the connection, 60 s of download", 5*s, 65*s, atLeast(0.25)),
			share("the last 30 s", 35*s, 65*s, goal{}),
			came("received", 5*s, 65*s, goal{}),
		},
	},
	{
		id: "cubic-first", title: "A call that begins during a download", lasts: 65 * s, link: steady(rate(4 * mbit)), rival: cubic, starts: 5 * s,
		text: "The same with the CUBIC flow first: the call begins 5 s after it, with the link full.",
		numbers: []number{
			share("share of the connection, 60 s of call", 5*s, 65*s, atLeast(0.25)),
			share("the last 30 s", 35*s, 65*s, goal{}),
			came("received", 5*s, 65*s, goal{}),
		},
	},
	{
		id: "second", title: "A second connection", lasts: 120 * s, link: steady(rate(2 * mbit)), rival: second, rivalStarts: 10 * s,
		text: "Another connection of the same kind begins 10 s after the first.",
		numbers: []number{
			larger("share of the larger one, 60 to 120 s", 60*s, 120*s, atMost(0.6)),
			used("both, 60 to 120 s", 60*s, 120*s, atLeast(0.85)),
			queued("60 to 120 s", 60*s, 120*s, goal{}),
		},
	},
	{
		id: "limited", title: "A source that makes little for a minute", lasts: 90 * s, link: steady(rate(2 * mbit)), limit: 60 * s, limited: 300 * kbit,
		text: "Video of at most 300 kbit/s for 60 s, then as much as it may.",
		numbers: []number{
			estimated("smallest estimate, 10 to 60 s", 10*s, 60*s, atLeast(300*kbit)),
			estimated("largest estimate, 10 to 60 s", 10*s, 60*s, atMost(2.5*mbit)),
			reached("to 85 % of the link from then on", 60*s, 90*s, 0.85, atMost(10)),
			lost("60 to 70 s", 60*s, 70*s, atMost(0.05)),
			used("70 to 90 s", 70*s, 90*s, atLeast(0.85)),
		},
	},
	{
		id: "deep", title: "A deep queue", lasts: 60 * s, link: steady(simnet.Path{Delay: oneWay, Rate: 2 * mbit, Queue: 256 << 10}),
		text: "A queue of 256 KB, which holds one second.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, atMost(0.1)),
			old("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "feedback", title: "Feedback that is lost", lasts: 60 * s, link: steady(rate(2 * mbit)), feedback: simnet.Path{Loss: 0.2, Burst: 3},
		text: "20 % of the packets on the way back are lost, three in a row in the mean.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "bursts", title: "Losses in bursts", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Loss: 0.03, Burst: 4, Rate: 2 * mbit, Queue: queue}),
		text: "3 % of the packets are lost by chance, four in a row in the mean.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "radio", title: "A link that is never the same", lasts: 90 * s, link: walk(90, 400*kbit, 3*mbit),
		text: "Each second the rate changes by up to a third up or down, between 400 kbit/s and 3 Mbit/s, as a mobile phone may see it.",
		numbers: []number{
			used("10 to 90 s", 10*s, 90*s, goal{}),
			queued("10 to 90 s", 10*s, 90*s, goal{}),
			old("10 to 90 s", 10*s, 90*s, goal{}),
			lost("10 to 90 s", 10*s, 90*s, goal{}),
		},
	},
	{
		id: "reorder", title: "Reordering", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Reorder: 0.02, ReorderBy: 20 * time.Millisecond, Rate: 2 * mbit, Queue: queue}),
		text: "2 % of the packets come 20 ms late.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "route", title: "A round trip that changes", lasts: 90 * s,
		link: []step{{0, rate(2 * mbit)}, {30 * s, simnet.Path{Delay: 4 * oneWay, Rate: 2 * mbit, Queue: queue}}, {60 * s, rate(2 * mbit)}},
		text: "50 ms, from 30 s on 200 ms, from 60 s on 50 ms again, while the link keeps its rate.",
		numbers: []number{
			used("10 to 30 s", 10*s, 30*s, atLeast(0.85)),
			used("40 to 60 s", 40*s, 60*s, atLeast(0.85)),
			used("70 to 90 s", 70*s, 90*s, atLeast(0.85)),
		},
	},
	{
		id: "marks", title: "A queue that marks", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Rate: 2 * mbit, Queue: 256 << 10, Mark: 20 * time.Millisecond}),
		text: "The deep queue, which marks packets that wait longer than 20 ms and may be marked (RFC 3168). Parley's are, and its feedback is that of " +
			"RFC 8888, which tells of marks; Pion's are not.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "slow", title: "100 kbit/s", lasts: 90 * s, link: steady(rate(100 * kbit)),
		text: "The queue holds 2.6 s; the start of 300 kbit/s is three times the link.",
		numbers: []number{
			drained("queueing delay below 200 ms from the start", 0, 90*s, 200*time.Millisecond, goal{}),
			used("30 to 90 s", 30*s, 90*s, atLeast(0.85)),
			queued("30 to 90 s", 30*s, 90*s, goal{}),
		},
	},
	{
		id: "fast", title: "50 Mbit/s", lasts: 60 * s, link: steady(simnet.Path{Delay: oneWay, Rate: 50 * mbit, Queue: 256 << 10}),
		text: "A queue of 256 KB, which holds 42 ms.",
		numbers: []number{
			reached("to 85 % of the link from the start", 0, 60*s, 0.85, goal{}),
			used("30 to 60 s", 30*s, 60*s, atLeast(0.85)),
			lost("30 to 60 s", 30*s, 60*s, goal{}),
		},
	},
}

func lossy(share float64) simnet.Path {
	p := rate(2 * mbit)
	p.Loss = share
	return p
}

// walk is a link that changes each second, always in the same way.
func walk(seconds int, least, most float64) (steps []step) {
	rng := rand.New(rand.NewPCG(1, 1))
	bits := 2.0 * mbit
	for i := range seconds {
		steps = append(steps, step{time.Duration(i) * time.Second, rate(int64(bits))})
		bits = min(max(bits*math.Pow(1.33, 2*rng.Float64()-1), least), most)
	}
	return steps
}
