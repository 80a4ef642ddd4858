//go:build !linux

package webrtc

import "testing"

// cpu reports nothing where there is nothing to be had.
func cpu(*testing.B) func() { return func() {} }
