package loop

import (
	"runtime"
	"sync"
)

// Jobs is a bounded pool for work that would stall a loop: the public-key operations of handshakes. Its goroutines exist
// only while there is work.
type Jobs struct {
	workers int
	limit   int

	mu      sync.Mutex
	waiting []func()
	running int
}

// NewJobs returns a pool of so many goroutines at most, and so many jobs that wait at most; both at least 1.
func NewJobs(workers, waiting int) *Jobs {
	return &Jobs{workers: max(workers, 1), limit: max(waiting, 1)}
}

// sharedJobs is for loops that are given no pool. More handshakes than wait here would time out before their turn.
var sharedJobs = sync.OnceValue(func() *Jobs { return NewJobs(runtime.GOMAXPROCS(0), 1024) })

// submit returns false if too many jobs wait.
func (j *Jobs) submit(job func()) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.waiting) >= j.limit {
		return false
	}
	j.waiting = append(j.waiting, job)
	if j.running < j.workers {
		j.running++
		go j.work()
	}
	return true
}

// work runs jobs, the oldest first, until none is left.
func (j *Jobs) work() {
	for {
		j.mu.Lock()
		if len(j.waiting) == 0 {
			j.running--
			j.waiting = nil
			j.mu.Unlock()
			return
		}
		job := j.waiting[0]
		j.waiting[0] = nil
		j.waiting = j.waiting[1:]
		j.mu.Unlock()
		job()
	}
}
