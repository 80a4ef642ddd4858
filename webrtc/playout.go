package webrtc

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A playout makes samples of a track's packets.
type playout struct {
	buffer  *jitter.Buffer
	clock   uint32
	section *mediaSection // that the buffer's formats are of
	reports uint64        // how many sender reports it was told of
	sync    *lipSync
	member  int
	packet  unread
	level   rtp.AudioLevel

	mu         sync.Mutex
	statistics jitter.Statistics
	played     played
}

// played is what ReadSample has handed out.
type played struct {
	samples  uint64 // of audio, in units of its clock
	duration time.Duration
	energy   float64
	captured rtp.NTP // of the last one that has it; 0: none
	at       mono.Time
}

// A lipSync keeps the tracks of one sender's clock together.
type lipSync struct {
	mu   sync.Mutex
	sync jitter.Sync
}

// clockReport is the newest sender report of a track.
type clockReport struct {
	ntp       rtp.NTP
	timestamp uint32
	count     uint64
}

// ReadSample waits until the next frame is due and returns it: what came is put in order and joined, and kept for as long as
// evenness asks for, or [RTPReceiver.SetJitterBufferTarget]. What is lost of audio is reported; of video what cannot be decoded is
// left out, and a key frame asked for. Tracks of one peer are kept in step. Tones are for [RemoteTrack.OnToneChange]. The sample's
// data are good until the next call. The error is that of ctx, or io.EOF when the track has ended. ReadSample and ReadRTP take from
// the same packets.
func (t *RemoteTrack) ReadSample(ctx context.Context) (Sample, error) {
	if t.playout.Load() == nil {
		t.playout.Store(&playout{})
	}
	p, pc := t.playout.Load(), t.receiver.pc
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		ended := p.fill(t)
		next := mono.Never
		if p.buffer != nil {
			now := pc.loop.Now()
			p.tune(t, now)
			f, ok := p.buffer.Pop(now)
			if p.buffer.KeyFrameWanted(now) {
				t.RequestKeyFrame()
			}
			if ok {
				s := p.sample(&f)
				p.keep(now, &f, &s)
				return s, nil
			}
			p.keep(now, nil, nil)
			next = p.buffer.NextTimeout()
		}
		if ended && (next == mono.Never || p.buffer == nil) {
			t.wake() // for whoever reads next
			p.leave()
			return Sample{}, io.EOF
		}
		var due <-chan time.Time
		if next != mono.Never {
			wait := max(next.Sub(pc.loop.Now()), 0)
			if timer == nil {
				timer = time.NewTimer(wait)
			} else {
				timer.Reset(wait)
			}
			due = timer.C
		}
		ready := t.ready
		if ended {
			ready = nil // it is known
		}
		select {
		case <-ready:
		case <-due:
		case <-ctx.Done():
			return Sample{}, ctx.Err()
		}
	}
}

// fill hands the buffer what has come.
func (p *playout) fill(t *RemoteTrack) (ended bool) {
	for {
		ok, ended := t.take(&p.packet)
		if !ok {
			return ended
		}
		section := t.receiver.section.Load()
		if section == nil {
			continue
		}
		c := section.codec(p.packet.packet.PayloadType)
		if c == nil {
			continue
		}
		if p.buffer == nil || c.Media() && c.Clock != p.clock {
			p.begin(section, c)
		} else if p.section != section {
			p.formats(section)
		}
		if p.buffer != nil {
			p.buffer.Push(p.packet.arrival, &p.packet.packet)
		}
	}
}

// begin makes a buffer for the clock of a codec.
func (p *playout) begin(s *mediaSection, c *jsep.Codec) {
	b, err := jitter.New(jitter.Config{
		Audio: s.Kind == "audio", ClockRate: c.Clock,
		AbsCaptureTime: s.id(rtp.URIAbsCaptureTime), PlayoutDelay: s.id(rtp.URIPlayoutDelay), Dependency: s.id(rtp.URIDependency),
	})
	if err != nil {
		return // a clock rate that no codec has
	}
	p.buffer, p.clock, p.reports = b, c.Clock, 0
	p.formats(s)
}

// formats tells the buffer what payload types mean.
func (p *playout) formats(s *mediaSection) {
	p.section = s
	for i := range s.Receive {
		c := &s.Receive[i]
		if f, ok := payload.For(c.Name, c.FMTP); ok && c.Clock == p.clock {
			p.buffer.SetFormat(rtp.PayloadType(c.Payload), f)
		} else if s.Kind == "audio" && c.Name == "red" {
			p.buffer.SetRED(rtp.PayloadType(c.Payload))
		}
	}
}

// tune tells the buffer what has changed around it.
func (p *playout) tune(t *RemoteTrack, now mono.Time) {
	r := t.receiver
	target := r.JitterBufferTarget()
	if target == nil {
		target = new(time.Duration)
	}
	p.buffer.SetTarget(*target)
	p.buffer.SetRTT(time.Duration(r.pc.media.Load().rtt.Load()))
	if report := t.report.Load(); report != nil && report.count != p.reports {
		p.reports = report.count
		p.buffer.HandleReport(report.ntp, report.timestamp)
	}
	if p.sync == nil {
		p.sync = &r.pc.media.Load().lips
		p.sync.mu.Lock()
		p.member = p.sync.sync.Join()
		p.sync.mu.Unlock()
	}
	if offset, ok := p.buffer.Offset(); ok {
		p.sync.mu.Lock()
		delay := p.sync.sync.Update(now, p.member, offset)
		p.sync.mu.Unlock()
		p.buffer.SetSyncDelay(delay)
	}
}

func (p *playout) leave() {
	if p.sync != nil {
		p.sync.mu.Lock()
		p.sync.sync.Leave(p.member)
		p.sync.mu.Unlock()
		p.sync = nil
	}
}

// keep has the statistics read by others, with what is handed out now.
func (p *playout) keep(now mono.Time, f *jitter.Frame, s *Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statistics = p.buffer.Statistics()
	if f == nil {
		return
	}
	if f.Captured != 0 {
		p.played.captured, p.played.at = f.Captured, now
	}
	if f.Duration > 0 {
		p.played.samples += uint64(f.Duration)
		p.played.duration += s.Duration
		if s.AudioLevel != nil {
			p.played.energy += energy(s.AudioLevel.Level, s.Duration)
		}
	}
}

func (p *playout) sample(f *jitter.Frame) Sample {
	s := Sample{Data: f.Data, Timestamp: f.Timestamp, KeyFrame: f.KeyFrame, Lost: f.Lost, Missing: f.Missing}
	if f.Lost {
		s.Data = f.Next
	}
	s.Duration = time.Duration(f.Duration) * time.Second / time.Duration(p.clock)
	if f.Captured != 0 {
		s.Captured = f.Captured.Time()
	}
	if id := p.section.level; id != 0 {
		if v, ok := f.Extensions.Get(id); ok {
			if p.level, ok = rtp.ParseAudioLevel(v); ok {
				s.AudioLevel = &p.level
			}
		}
	}
	if c := p.section.codec(f.PayloadType); c != nil {
		s.Codec = codecOf(p.section.Kind, c)
	}
	return s
}
