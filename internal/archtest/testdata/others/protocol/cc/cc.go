package cc

import (
	"example.org/elsewhere"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"net/http"
	"net/netip"
	"sync"
	clock "time"
)

var c chan int

func f(netip.Addr) clock.Duration {
	_ = elsewhere.X
	select {
	case <-c:
	case <-clock.After(clock.Second):
	}
	_, _, _ = ice.X, simnet.X, http.DefaultClient
	return clock.Millisecond
}

var mu sync.Mutex
