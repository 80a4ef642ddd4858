package loop

import (
	"testing"

	"github.com/parley-rtc/parley/internal/udp"
)

// systemPollers is the pollers that only this system has.
func systemPollers(t *testing.T) map[string]func() Poller {
	return map[string]func() Poller{"epoll": func() Poller {
		p, err := NewEpoll(udp.Probe())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}}
}
