package ice

import (
	"time"

	"github.com/parley-rtc/parley/internal/loop"
)

func New() time.Time {
	now := time.Now()
	go loop.Run(time.Second)
	return now
}
