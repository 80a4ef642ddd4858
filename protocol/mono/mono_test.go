package mono_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

func TestAddNeverOverflowsIntoThePast(t *testing.T) {
	for _, c := range []struct {
		from mono.Time
		d    time.Duration
		want mono.Time
	}{
		{10, 5, 15},
		{10, -5, 5},
		{mono.Never, time.Second, mono.Never},
		{mono.Never, -time.Second, mono.Never},
		{mono.Never - 1, time.Second, mono.Never},
	} {
		if got := c.from.Add(c.d); got != c.want {
			t.Errorf("Time(%d).Add(%d) = %d, want %d", c.from, c.d, got, c.want)
		}
	}
}
