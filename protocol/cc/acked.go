package cc

import "time"

const (
	firstWindow = 500 * time.Millisecond // of the first estimate: what comes first is a burst
	ackedWindow = 150 * time.Millisecond

	sampleScale   = 10 // how unsure a sample is that differs
	sampleLeast   = 25 // kbit/s: of less than that, differences mean little
	varianceFirst = 50
	varianceGrows = 5 // with each sample, so that the estimate follows
)

// acked is the rate that arrives, by the receiver's clock: a Bayesian average of samples, in which one that differs much from the
// estimate counts less.
type acked struct {
	estimate, variance float64 // kbit/s
	sum                int     // bytes of the sample that is not complete
	began              time.Duration
	last               time.Duration
	started            bool
}

// rate returns the estimate, 0 if there is none yet.
func (a *acked) rate() Rate { return Rate(a.estimate * 1000) }

// add takes bytes that arrived, in the order of arrival.
func (a *acked) add(arrived time.Duration, size int) {
	if !a.started || arrived-a.last > 2*firstWindow || arrived < a.last-firstWindow {
		// A pause says nothing of the path: the sample begins anew.
		a.started, a.began, a.last, a.sum = true, arrived, arrived, size
		return
	}
	span := ackedWindow
	if a.estimate == 0 {
		span = firstWindow
	}
	a.last = max(a.last, arrived)
	if d := arrived - a.began; d >= span {
		a.sample(float64(a.sum) * 8 / ms(d))
		a.began, a.sum = arrived, 0
	}
	a.sum += size
}

func (a *acked) sample(kbps float64) {
	if a.estimate == 0 {
		a.estimate, a.variance = kbps, varianceFirst
		return
	}
	off := sampleScale * max(a.estimate-kbps, kbps-a.estimate) / max(a.estimate, kbps, sampleLeast)
	unsure := off * off
	prior := a.variance + varianceGrows
	a.estimate = max((unsure*a.estimate+prior*kbps)/(unsure+prior), 0)
	a.variance = unsure * prior / (unsure + prior)
}

// expectSurprise says that the rate is known to have changed: what comes counts fully, and the sample begun does not.
func (a *acked) expectSurprise() {
	a.variance += 200
	a.began, a.sum = a.last, 0
}
