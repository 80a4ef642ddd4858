//go:build !linux

package loop

// NewPoller returns the best poller that this system has.
func NewPoller() (Poller, error) { return NewMailbox(Readers{}), nil }
