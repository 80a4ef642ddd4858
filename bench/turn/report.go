//go:build linux

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// report is what a run found.
type report struct {
	Relayed   []relayed   `json:"relayed"`
	Allocated []allocated `json:"allocated"`
}

// relayed is one server under one load.
type relayed struct {
	Server string  `json:"server"`
	Up     bool    `json:"up"`
	Size   int     `json:"size"`
	Burst  int     `json:"burst"`
	Rate   float64 `json:"packets_per_second"`
	Lost   float64 `json:"lost"` // 0 to 1
	CPU    float64 `json:"cpu_us_per_packet"`
	P50    float64 `json:"delay_p50_us"`
	P99    float64 `json:"delay_p99_us"`
}

// allocated is what an allocation costs a server.
type allocated struct {
	Server     string  `json:"server"`
	Count      int     `json:"count"`
	Resent     int     `json:"resent"`
	CPU        float64 `json:"cpu_us_each"`
	Resident   float64 `json:"resident_kib_each"`
	Kernel     float64 `json:"kernel_kib_each"`
	Threads    int     `json:"threads"`
	Goroutines int     `json:"goroutines"` // 0 for a server that has none
}

// histogram counts delays by the microsecond.
type histogram struct {
	counts [20_000]int // the last one has all that are longer
	total  int
}

func (h *histogram) add(d time.Duration) {
	h.counts[min(max(d/time.Microsecond, 0), time.Duration(len(h.counts)-1))]++
	h.total++
}

// quantile returns microseconds.
func (h *histogram) quantile(q float64) float64 {
	left := int(q * float64(h.total))
	for us, n := range h.counts {
		if left -= n; left < 0 {
			return float64(us)
		}
	}
	return float64(len(h.counts))
}

// print writes tables; × is the ratio to coturn's CPU time.
func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "load\tserver\tCPU us/packet\tx coturn\tp50 us\tp99 us\tpackets/s\tlost %\t")
	for i := range r.Relayed {
		m := &r.Relayed[i]
		base := 0.0
		for _, c := range r.Relayed {
			if c.Server == "coturn" && c.Up == m.Up && c.Size == m.Size && c.Burst == m.Burst {
				base = c.CPU
			}
		}
		fmt.Fprintf(w, "%v\t%s\t%.2f\t%s\t%.0f\t%.0f\t%.0f\t%.2f\t\n", load{up: m.Up, size: m.Size, burst: m.Burst},
			m.Server, m.CPU, ratio(m.CPU, base), m.P50, m.P99, m.Rate, 100*m.Lost)
	}
	w.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(w, "allocations\tserver\tCPU us each\tx coturn\tresident KiB each\tkernel KiB each\tthreads\tgoroutines\tresent\t")
	for i := range r.Allocated {
		m := &r.Allocated[i]
		base := 0.0
		for _, c := range r.Allocated {
			if c.Server == "coturn" {
				base = c.CPU
			}
		}
		fmt.Fprintf(w, "%d\t%s\t%.1f\t%s\t%.2f\t%.2f\t%d\t%d\t%d\t\n", m.Count, m.Server, m.CPU, ratio(m.CPU, base),
			m.Resident, m.Kernel, m.Threads, m.Goroutines, m.Resent)
	}
	w.Flush()
}

func ratio(a, base float64) string {
	if base == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/base)
}
