package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

var errGoodbye = errors.New("the server has ended the connection")

// react is called on the loop: it tells, and does not wait.
func (c *client) react(now mono.Time, e *end, ev dtls.Event) {
	switch ev.Kind {
	case dtls.PeerCertificate:
		if dtls.MatchFingerprint(ev.Certificates[0], []dtls.Fingerprint{c.promised}) {
			e.Accept(now)
		} else {
			e.Refuse(now)
		}
	case dtls.Connected, dtls.Data:
		select {
		case c.heard <- string(ev.Data): // nothing, when connected
		default: // more than was asked for
		}
	case dtls.Closed:
		c.ended <- cmp.Or(ev.Err, errGoodbye)
	}
}

// hear waits for the loop to tell something.
func (c *client) hear(ctx context.Context) (string, error) {
	select {
	case text := <-c.heard:
		return text, nil
	case err := <-c.ended:
		return "", err
	case <-time.After(patience + time.Second):
		return "", errors.New("the line did not come back: DTLS does not repeat data that are lost")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
