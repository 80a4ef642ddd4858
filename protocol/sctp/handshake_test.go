package sctp

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
)

func TestHandshake(t *testing.T) {
	path := simnet.Path{Delay: 20 * time.Millisecond}
	t.Run("one begins", func(t *testing.T) {
		d := newDuo(t, path)
		d.a.Connect(d.a.now())
		d.a.driver.Poll()
		start := d.net.Now()
		d.until("established", func() bool { return d.a.state == stateEstablished && d.b.state == stateEstablished })
		if took := d.net.Now().Sub(start); took != 80*time.Millisecond {
			t.Errorf("it took %v, want two round trips", took)
		}
		if d.a.kinds() != "Established" || d.b.kinds() != "Established" {
			t.Errorf("events: %s; %s", d.a.kinds(), d.b.kinds())
		}
	})
	t.Run("what waited at the one that did not begin", func(t *testing.T) {
		d := newDuo(t, path)
		id := d.b.opens(ChannelConfig{})
		d.b.sends(id, "patience")
		d.a.Connect(d.a.now())
		d.a.driver.Poll()
		d.until("delivered", func() bool { return len(d.a.got[id]) == 1 })
	})
	t.Run("both begin", func(t *testing.T) {
		d := newDuo(t, path).connect()
		d.net.Run(time.Second)
		if d.a.kinds() != "Established" || d.b.kinds() != "Established" {
			t.Errorf("events: %s; %s", d.a.kinds(), d.b.kinds())
		}
	})
}

func TestFirstMessage(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 20 * time.Millisecond})
	id := d.a.opens(ChannelConfig{Label: "chat", Protocol: "p"})
	d.a.sends(id, "hello")
	d.connect()
	d.until("delivered", func() bool { return len(d.b.got[id]) == 1 })
	if got := d.b.kinds(); got != "Established ChannelOpen:0" {
		t.Errorf("events: %s", got)
	}
	d.b.sends(id, "you too")
	d.until("delivered", func() bool { return len(d.a.got[id]) == 1 })
	d.a.closes(id)
	d.until("closed", func() bool { return len(d.a.channels) == 0 && len(d.b.channels) == 0 })
	d.a.Shutdown(d.a.now())
	d.a.driver.Poll()
	d.until("over", func() bool { return d.a.state == stateDone && d.b.state == stateDone })
	t.Log(d.a.kinds(), "|", d.b.kinds())
}
