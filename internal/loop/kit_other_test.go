//go:build !linux

package loop

import "testing"

// systemPollers is the pollers that only this system has.
func systemPollers(*testing.T) map[string]func() Poller { return nil }
