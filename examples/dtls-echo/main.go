// Command dtls-echo sends lines to a server over UDP, protected by DTLS, and prints them when they come back.
//
//	go run ./examples/dtls-echo server
//
// prints the command that starts a client in another terminal, which is of this form; the client reads lines until its
// standard input ends:
//
//	go run ./examples/dtls-echo client 127.0.0.1:4433 sha-256 7B:34:...
//
// The words after the address are the fingerprint of the server's certificate: the client speaks to nobody else. The server
// takes an address to listen on, if 127.0.0.1:4433 is not the right one.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/dtls"
)

func main() {
	args := usage.Words(1, 4, "dtls-echo server [ADDRESS]", "dtls-echo client ADDRESS ALGORITHM FINGERPRINT, as a server prints it")
	if n := len(args); !(args[0] == "server" && n <= 2 || args[0] == "client" && n == 4) {
		usage.Wrong()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, args, os.Stdin, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	cert, err := dtls.GenerateCertificate(rand.Reader, time.Now().Add(-time.Hour), time.Now().AddDate(0, 1, 0))
	if err != nil {
		return err
	}
	config := &dtls.Config{Entropy: rand.Reader, Certificate: cert, HandshakeTimeout: patience}
	l, err := loop.New(loop.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	if len(args) == 1 {
		args = append(args, "127.0.0.1:4433")
	}
	if args[0] == "server" {
		return serve(ctx, l, config, args[1], out)
	}
	return call(ctx, l, config, args[1], dtls.Fingerprint{Algorithm: args[2], Value: args[3]}, in, out)
}
