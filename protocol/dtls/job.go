package dtls

import "github.com/parley-rtc/parley/protocol/mono"

// A Job is public-key work of a handshake: tens to hundreds of microseconds, for which a loop need not stand still. Run
// touches nothing but the job, so it may be called on any goroutine; then the job goes back to [Conn.JobDone].
type Job struct {
	work func() error
	then func(now mono.Time, err error) error
	err  error
	ran  bool
}

// Run does the work. It must be called once, before JobDone.
func (j *Job) Run() {
	j.err = j.work()
	j.work, j.ran = nil, true
}

// NextJob returns work that the handshake waits for. It hands out each job once; there is never more than one under way.
func (c *Conn) NextJob() (*Job, bool) {
	if c.job == nil || c.jobOut {
		return nil, false
	}
	c.jobOut = true
	return c.job, true
}

// JobDone takes a job back that has run, and lets the handshake go on. A job of a connection that has closed meanwhile,
// one that has not run and one that is not this connection's are ignored.
func (c *Conn) JobDone(now mono.Time, j *Job) {
	if j == nil || j != c.job || !j.ran {
		return
	}
	c.job, c.jobOut = nil, false
	c.check(now, j.then(now, j.err))
	c.advance(now)
}

// RunJobs runs all jobs in place, for callers that have nothing better to do. To be called after each HandleDatagram, and
// once after New for a client.
func (c *Conn) RunJobs(now mono.Time) {
	for {
		j, ok := c.NextJob()
		if !ok {
			return
		}
		j.Run()
		c.JobDone(now, j)
	}
}

// start makes work the handshake's next job. When it comes back, then goes on, in the engine again.
func (h *handshake) start(work func() error, then func(now mono.Time, err error) error) error {
	h.c.job = &Job{work: work, then: then}
	return nil
}
