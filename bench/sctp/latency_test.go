package sctp_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// loaded is the link on which latency is measured while one channel sends as much as it can; the queue holds 25 ms.
var loaded = cell{Mbit: 10, RTT: 50 * ms, buffer: 31_000}

const (
	bulkSize   = 16 << 10
	smallSize  = 100
	smallCount = 1500
)

// pause is how long after a small message the next one is sent.
func pause(i int) time.Duration { return 20*ms + time.Duration(i%7)*ms }

// latencies is how long small messages take from the call of Send to their delivery.
type latencies struct {
	mu      sync.Mutex      // Pion's readers and writer are several
	sent    []time.Duration // when
	taken   []time.Duration
	running bool
	bulk    int // bytes of the bulk while it is measured
	over    time.Duration
}

// begin begins to count what the bulk carries.
func (l *latencies) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = true
}

// end ends it.
func (l *latencies) end(over time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running, l.over = false, over
}

// next returns the next small message, which is sent now.
func (l *latencies) next(now time.Duration) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, now)
	return binary.BigEndian.AppendUint32(make([]byte, smallSize-4), uint32(len(l.sent)-1))
}

// took notes that a message has come.
func (l *latencies) took(now time.Duration, message []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(message) == smallSize:
		l.taken = append(l.taken, now-l.sent[binary.BigEndian.Uint32(message[smallSize-4:])])
	case l.running:
		l.bulk += len(message)
	}
}

// row is a line of the table.
func (l *latencies) row(t *testing.T, who string) string {
	if len(l.taken) != smallCount {
		t.Errorf("%s: %d of %d small messages have come", who, len(l.taken), smallCount)
		return ""
	}
	slices.Sort(l.taken)
	at := func(i int) string { return fmt.Sprintf("%.0f ms", float64(l.taken[i])/float64(ms)) }
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", who, at(smallCount/2), at(smallCount*99/100), at(smallCount-1),
		share(float64(l.bulk)*8/l.over.Seconds(), float64(loaded.rate())))
}

// The small messages all come; the numbers come with -table, as part of its page.
func TestLatency(t *testing.T) {
	if *table == "" {
		t.Log(latencyTable(t))
	}
}

// latencyTable measures all and returns the section of the page.
func latencyTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`
## Latency under load

How long messages of 100 bytes take from Send to their delivery, while another channel of the same association sends
messages of 16 KiB as fast as it can: 10 Mbit/s, a round trip of 50 ms, a drop-tail queue of 31 KB (25 ms); 1500 small messages,
one every 20 to 26 ms. With Parley the channel of the small ones has the priority 1024, the other 256. Pion knows no priorities, but weights where messages are interleaved: 4 and 1.

| | median | 99 % within | last | the bulk's share of the link |
|---|---:|---:|---:|---:|
`)
	for _, who := range []struct {
		name string
		run  func(*testing.T) *latencies
	}{
		{"Parley, interleaved (I-DATA)", func(t *testing.T) *latencies { return parleyLatency(t, true) }},
		{"Parley", func(t *testing.T) *latencies { return parleyLatency(t, false) }},
		{"Pion, interleaved (I-DATA)", func(t *testing.T) *latencies { return pionLatency(t, true) }},
		{"Pion", func(t *testing.T) *latencies { return pionLatency(t, false) }},
	} {
		l := who.run(t)
		b.WriteString(l.row(t, who.name))
	}
	return b.String()
}
