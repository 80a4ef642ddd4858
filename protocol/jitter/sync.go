package jitter

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	// maxSkew is how far apart streams may be and still belong together: further, a clock of theirs is wrong.
	maxSkew = 10 * time.Second
	// minSkew is what nobody sees or hears (EBU R37 allows 40 ms): a delay is left as it is for less.
	minSkew = 10 * time.Millisecond
	// A member that has not been heard of for so long is not waited for.
	maxSilence = 5 * time.Second
)

// A Sync makes the streams of one sender (of one CNAME) play together: those that would play early are delayed to the latest.
// It holds what [Buffer.Offset] says of each and answers with what [Buffer.SetSyncDelay] is to be told; the Buffers themselves
// come nearer to that slowly. Like a Buffer it knows no lock.
type Sync struct{ members []member }

type member struct {
	offset time.Duration
	delay  time.Duration
	seen   mono.Time
	joined bool
	known  bool
}

// Join adds a stream, and returns the number by which it goes.
func (s *Sync) Join() int {
	for i := range s.members {
		if !s.members[i].joined {
			s.members[i] = member{joined: true}
			return i
		}
	}
	s.members = append(s.members, member{joined: true})
	return len(s.members) - 1
}

// Leave takes a stream out. Its number may be given to another.
func (s *Sync) Leave(id int) { s.members[id] = member{} }

// Update tells the offset of a stream, and returns by how much it is to be delayed, 0 to 10 s.
func (s *Sync) Update(now mono.Time, id int, offset time.Duration) (delay time.Duration) {
	m := &s.members[id]
	m.offset, m.seen, m.known = offset, now, true
	latest := offset
	for i := range s.members {
		if o := &s.members[i]; o.known && now.Sub(o.seen) < maxSilence && o.offset-offset <= maxSkew {
			latest = max(latest, o.offset)
		}
	}
	if d := latest - offset - m.delay; d >= minSkew || d <= -minSkew || latest == offset {
		m.delay = latest - offset
	}
	return m.delay
}
