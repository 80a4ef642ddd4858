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
	feedback    simnet.Path   // of the way back; its delay is added to that of the way there
	starts      time.Duration // the connection
	limit       time.Duration // until when the source makes at most limited
	limited     int64         // bits of video a second
	rival       rival
	rivalStarts time.Duration
	further     bool // it has no plot
	whole       bool // it is for whole peers only

	numbers []number
}

// A step is what the link is from a time on.
type step struct {
	at       time.Duration
	path     simnet.Path
	reroutes bool // the connection is told that its path is another one
}

// rival is who else uses the link.
type rival uint8

const (
	none     rival = iota
	second         // connection of the same kind
	opposite       // connection of the same kind, which sends the other way
	cubic          // flow of RFC 9438
	data           // in the connection itself
)

const (
	oneWay = 25 * time.Millisecond
	queue  = 32 << 10
	kbit   = 1_000
	mbit   = 1_000_000
)

// rate is the link that scenarios are about unless they say otherwise.
func rate(bits int64) simnet.Path { return simnet.Path{Delay: oneWay, Rate: bits, Queue: queue} }

func steady(p simnet.Path) []step { return []step{{0, p, false}} }

func (s *scenario) pathAt(at time.Duration) simnet.Path {
	p := s.link[0].path
	for _, step := range s.link {
		if step.at <= at {
			p = step.path
		}
	}
	return p
}

// back is the way back while the link is there.
func (s *scenario) back(there simnet.Path) simnet.Path {
	if s.rival == opposite {
		return there
	}
	p := s.feedback
	p.Delay += there.Delay
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
		link: []step{{0, rate(2 * mbit), false}, {30 * s, rate(500 * kbit), false}, {60 * s, rate(2 * mbit), false}},
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
		id: "loss-2", title: "Random loss of 2 %", lasts: 60 * s, link: steady(lossy(2*mbit, 0.02)),
		text: "On the way of the media, independent of each other.",
		numbers: []number{
			reached("to 85 % of the link from the start", 0, 60*s, 0.85, goal{}),
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "loss-10", title: "Random loss of 10 %", lasts: 60 * s, link: steady(lossy(2*mbit, 0.10)),
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
		id: "deep", further: true, title: "A deep queue", lasts: 60 * s, link: steady(simnet.Path{Delay: oneWay, Rate: 2 * mbit, Queue: 256 << 10}),
		text: "A queue of 256 KB, which holds one second.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, atMost(0.1)),
			old("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "feedback", further: true, title: "Feedback that is lost", lasts: 60 * s, link: steady(rate(2 * mbit)), feedback: simnet.Path{Loss: 0.2, Burst: 3},
		text: "20 % of the packets on the way back are lost, three in a row in the mean.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "bursts", further: true, title: "Losses in bursts", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Loss: 0.03, Burst: 4, Rate: 2 * mbit, Queue: queue}),
		text: "3 % of the packets are lost by chance, four in a row in the mean.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "radio", further: true, title: "A link that is never the same", lasts: 90 * s, link: walk(90*s, s, 1.33, 400*kbit, 3*mbit),
		text: "Each second the rate changes by up to a third up or down, between 400 kbit/s and 3 Mbit/s, as a mobile phone may see it.",
		numbers: []number{
			used("10 to 90 s", 10*s, 90*s, goal{}),
			queued("10 to 90 s", 10*s, 90*s, goal{}),
			old("10 to 90 s", 10*s, 90*s, goal{}),
			lost("10 to 90 s", 10*s, 90*s, goal{}),
		},
	},
	{
		id: "reorder", further: true, title: "Reordering", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Reorder: 0.02, ReorderBy: 20 * time.Millisecond, Rate: 2 * mbit, Queue: queue}),
		text: "2 % of the packets come 20 ms late.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "route", further: true, title: "A round trip that changes", lasts: 90 * s,
		link: []step{{0, rate(2 * mbit), false}, {30 * s, simnet.Path{Delay: 4 * oneWay, Rate: 2 * mbit, Queue: queue}, false}, {60 * s, rate(2 * mbit), false}},
		text: "50 ms, from 30 s on 200 ms, from 60 s on 50 ms again, while the link keeps its rate.",
		numbers: []number{
			used("10 to 30 s", 10*s, 30*s, atLeast(0.85)),
			used("40 to 60 s", 40*s, 60*s, atLeast(0.85)),
			used("70 to 90 s", 70*s, 90*s, atLeast(0.85)),
		},
	},
	{
		id: "marks", further: true, title: "A queue that marks", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Rate: 2 * mbit, Queue: 256 << 10, Mark: 20 * time.Millisecond}),
		text: "The deep queue, which marks packets that wait longer than 20 ms and may be marked (RFC 3168). Parley's are, and its feedback is that of " +
			"RFC 8888, which tells of marks; Pion's are not.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "slow", further: true, title: "100 kbit/s", lasts: 90 * s, link: steady(rate(100 * kbit)),
		text: "The queue holds 2.6 s; the start of 300 kbit/s is three times the link.",
		numbers: []number{
			drained("queueing delay below 200 ms from the start", 0, 90*s, 200*time.Millisecond, goal{}),
			used("30 to 90 s", 30*s, 90*s, atLeast(0.85)),
			heard("30 to 90 s", 30*s, 90*s, atLeast(0.95)),
			queued("30 to 90 s", 30*s, 90*s, goal{}),
		},
	},
	{
		id: "fast", further: true, title: "50 Mbit/s", lasts: 60 * s, link: steady(simnet.Path{Delay: oneWay, Rate: 50 * mbit, Queue: 256 << 10}),
		text: "A queue of 256 KB, which holds 42 ms.",
		numbers: []number{
			reached("to 85 % of the link from the start", 0, 60*s, 0.85, goal{}),
			used("30 to 60 s", 30*s, 60*s, atLeast(0.85)),
			lost("30 to 60 s", 30*s, 60*s, goal{}),
		},
	},
	{
		id: "loss-slow", further: true, title: "Random loss of 5 % at 500 kbit/s", lasts: 60 * s, link: steady(lossy(500*kbit, 0.05)), feedback: simnet.Path{Loss: 0.05},
		text: "In both directions.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "late", further: true, title: "Feedback that comes late", lasts: 60 * s, link: steady(rate(2 * mbit)),
		feedback: simnet.Path{Delay: 300 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.1},
		text:     "The way back takes 300 to 400 ms more than the way there, and loses 10 %.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "cubic-deep", further: true, title: "A call that begins during a download, a deep queue", lasts: 65 * s,
		link: steady(simnet.Path{Delay: oneWay, Rate: 4 * mbit, Queue: 200 << 10}), rival: cubic, starts: 5 * s,
		text: "4 Mbit/s with a queue of 200 KB, which CUBIC keeps 280 to 400 ms long.",
		numbers: []number{
			share("share of the connection, 60 s of call", 5*s, 65*s, atLeast(0.25)),
			share("the last 30 s", 35*s, 65*s, goal{}),
			old("35 to 65 s", 35*s, 65*s, goal{}),
		},
	},
	{
		id: "both", further: true, title: "Both directions", lasts: 60 * s, link: steady(rate(1 * mbit)), rival: opposite,
		text: "1 Mbit/s each way, and a connection each way: the feedback of each waits behind the media of the other.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			usedBack("the other way, 15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "data", further: true, whole: true, title: "A file beside media, in one connection", lasts: 60 * s, link: steady(rate(2 * mbit)), rival: data, rivalStarts: 5 * s,
		text: "A data channel sends without end, from 5 s on.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			ofRival("share of the file, 15 to 60 s", 15*s, 60*s, goal{}),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
			old("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "handover", further: true, title: "Another path", lasts: 60 * s,
		link: []step{{0, rate(4 * mbit), false}, {20 * s, simnet.Path{Delay: 3 * oneWay, Rate: 500 * kbit, Queue: queue}, true}, {40 * s, rate(4 * mbit), true}},
		text: "4 Mbit/s, from 20 s on 500 kbit/s with a round trip of 150 ms, from 40 s on the first again; ICE says so.",
		numbers: []number{
			reached("to 85 % of 500 kbit/s", 20*s, 40*s, 0.85, atMost(5)),
			drained("queueing delay below 100 ms", 20*s, 40*s, 100*time.Millisecond, atMost(3)),
			reached("to 85 % of 4 Mbit/s again", 40*s, 60*s, 0.85, atMost(5)),
		},
	},
	{
		id: "wifi", further: true, title: "Bursts, as Wi-Fi has them", lasts: 60 * s,
		link: steady(simnet.Path{Delay: oneWay, Batch: 20 * time.Millisecond, Rate: 2 * mbit, Queue: queue}),
		text: "What the link lets through arrives each 20 ms, at once.",
		numbers: []number{
			used("15 to 60 s", 15*s, 60*s, atLeast(0.85)),
			queued("15 to 60 s", 15*s, 60*s, goal{}),
		},
	},
	{
		id: "cellular", further: true, title: "A rate that changes each 100 ms", lasts: 60 * s, link: walk(60*s, 100*time.Millisecond, 1.33, mbit, 4*mbit),
		text: "By up to a third up or down, between 1 and 4 Mbit/s.",
		numbers: []number{
			used("10 to 60 s", 10*s, 60*s, goal{}),
			queued("10 to 60 s", 10*s, 60*s, goal{}),
			old("10 to 60 s", 10*s, 60*s, goal{}),
		},
	},
}

func lossy(bits int64, share float64) simnet.Path {
	p := rate(bits)
	p.Loss = share
	return p
}

// walk is a link that changes each so often by up to a factor, always in the same way.
func walk(lasts, every time.Duration, factor, least, most float64) (steps []step) {
	rng := rand.New(rand.NewPCG(1, 1))
	bits := 2.0 * mbit
	for at := time.Duration(0); at < lasts; at += every {
		steps = append(steps, step{at, rate(int64(bits)), false})
		bits = min(max(bits*math.Pow(factor, 2*rng.Float64()-1), least), most)
	}
	return steps
}
