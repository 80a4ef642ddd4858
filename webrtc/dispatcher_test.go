package webrtc

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func newDispatcher() *dispatcher {
	d := new(dispatcher)
	d.init(nil)
	return d
}

func TestEventsWaitForTheirFirstHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDispatcher(), &hook[int]{}
		for i := range maxKept + 10 {
			emit(d, nil, h, i, nil)
		}
		synctest.Wait()
		if d.running {
			t.Error("the goroutine runs though there is nothing to do")
		}
		var got []int
		on(d, h, func(i int) { got = append(got, i) })
		emit(d, nil, h, 1000, nil)
		synctest.Wait()
		if len(got) != maxKept+1 || !slices.IsSorted(got) || got[maxKept] != 1000 {
			t.Errorf("%d events in the order %v: %d and one more were to come in order", len(got), got, maxKept)
		}
		on(d, h, nil)
		emit(d, nil, h, 1, nil)
		synctest.Wait()
		if len(got) != maxKept+1 {
			t.Error("an event was kept though its handler was taken away")
		}
	})
}

func TestKeptEventsComeBeforeThoseThatWereQueuedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDispatcher(), &hook[string]{}
		emit(d, nil, h, "first", nil)
		synctest.Wait()
		var got []string
		block := make(chan struct{})
		d.do(func() { <-block })
		emit(d, nil, h, "second", nil)
		on(d, h, func(s string) { got = append(got, s) })
		close(block)
		synctest.Wait()
		if !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("the events came as %q", got)
		}
	})
}

func TestAnObjectsEventsWaitForItsIntroduction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher()
		var introduced hook[string]
		var open hook[string]
		g := new(gate)
		var got []string
		emit(d, nil, &introduced, "channel", g)
		emit(d, g, &open, "open", nil)
		on(d, &open, func(s string) { got = append(got, s) })
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("%q came before the object was introduced", got)
		}
		on(d, &introduced, func(s string) { got = append(got, s) })
		synctest.Wait()
		if !slices.Equal(got, []string{"channel", "open"}) {
			t.Errorf("the events came as %q", got)
		}
		if d.kept != 0 {
			t.Errorf("%d events are still counted as kept", d.kept)
		}
	})
}

func TestClosingDropsWhatWasNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := newDispatcher(), &hook[int]{}
		inside, block := false, make(chan struct{})
		on(d, h, func(i int) {
			inside = inCallback()
			<-block
			if i > 0 {
				t.Error("an event came after the end")
			}
		})
		emit(d, nil, h, 0, nil)
		emit(d, nil, h, 1, nil)
		synctest.Wait()
		d.close()
		close(block)
		d.wait()
		emit(d, nil, h, 2, nil)
		synctest.Wait()
		if !inside || inCallback() {
			t.Errorf("in a handler it was told %v, outside %v", inside, inCallback())
		}
	})
	buf := make([]byte, 1<<20)
	if s := string(buf[:runtime.Stack(buf, true)]); strings.Contains(s, "dispatcher).run") {
		t.Errorf("a goroutine is left:\n%s", s)
	}
}
