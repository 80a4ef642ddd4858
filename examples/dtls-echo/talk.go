package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

// call connects to the server at address that has the promised fingerprint, and talks with it.
func call(ctx context.Context, l *loop.Loop, config *dtls.Config, address string, promised dtls.Fingerprint, in io.Reader, out io.Writer) error {
	c, err := dial(l, config, address, promised)
	if err != nil {
		return err
	}
	return c.talk(ctx, in, out)
}

// talk sends the lines of in, one after the other, and prints what comes back.
func (c *client) talk(ctx context.Context, in io.Reader, out io.Writer) error {
	defer c.hangUp()
	if _, err := c.hear(ctx); err != nil { // that it is connected
		return err
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			c.lease.Post(func(mono.Time) { c.end.say([]byte(line + "\n")) })
			answer, err := c.hear(ctx)
			if err != nil {
				return err
			}
			fmt.Fprint(out, answer)
		case err := <-c.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
