package loop

import (
	"runtime"
	"sync"
)

// Jobs is a bounded pool for work that would stall a loop: the public-key operations of handshakes. Its goroutines begin
// with the first work and stay until the loop ends, because such work needs a large stack, which a new goroutine would have
// to grow each time. It is the loop's, but for the goroutines.
type Jobs struct {
	workers int
	running int
	waiting chan func()
	done    sync.WaitGroup
}

// NewJobs returns a pool of so many goroutines at most, and so many jobs that wait at most; both at least 1. It is for one
// loop.
func NewJobs(workers, waiting int) *Jobs {
	return &Jobs{workers: max(workers, 1), waiting: make(chan func(), max(waiting, 1))}
}

// defaultJobs is for a loop that is given no pool. More handshakes than wait here would time out before their turn.
func defaultJobs() *Jobs { return NewJobs(runtime.GOMAXPROCS(0), 1024) }

// submit returns false if too many jobs wait.
func (j *Jobs) submit(job func()) bool {
	select {
	case j.waiting <- job:
	default:
		return false
	}
	if j.running < j.workers {
		j.running++
		j.done.Go(func() {
			for job := range j.waiting {
				job()
			}
		})
	}
	return true
}

// close ends the pool, once the jobs that run have; those that wait never do.
func (j *Jobs) close() {
	close(j.waiting)
	for range j.waiting { // nobody would have the results
	}
	j.done.Wait()
}
