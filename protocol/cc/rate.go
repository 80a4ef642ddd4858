package cc

import "time"

// Rate is bits a second, as they are on the wire: with the headers of IP and UDP, and what SRTP or TURN add.
type Rate int64

const (
	kbit Rate = 1000
	mbit Rate = 1000 * kbit
)

// Bytes returns how many bytes a rate brings in a time.
func (r Rate) Bytes(d time.Duration) int { return int(r.bytes(d)) }

func (r Rate) bytes(d time.Duration) float64 { return float64(r) * d.Seconds() / 8 }

// Time returns how long so many bytes take.
func (r Rate) Time(bytes int) time.Duration {
	if r <= 0 {
		return time.Hour
	}
	return time.Duration(float64(bytes) * 8 / float64(r) * float64(time.Second))
}

// rateOf returns the rate of so many bytes in a time.
func rateOf(bytes int, d time.Duration) Rate {
	if d <= 0 {
		return 0
	}
	return Rate(float64(bytes) * 8 / d.Seconds())
}

func (r Rate) times(f float64) Rate { return Rate(float64(r) * f) }
