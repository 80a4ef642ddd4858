//go:build !linux

package udp

// probeSystem: the batched form is Linux's.
func probeSystem() Features { return Features{} }
