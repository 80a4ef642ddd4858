package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/parley-rtc/parley/server"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the app and signaling",
		Long: "Serve the app and signaling: with no flags to this machine (http://localhost:8080) and its local network (https on 8443);\n" +
			"with --domain or --public to the internet, with certificates from an ACME authority.\n\n" +
			"Each flag can also be an environment variable or a line in a file: see `parley config`.",
		Example: "  parley serve\n" +
			"  parley serve --open-browser\n" +
			"  parley serve --domain call.example\n" +
			"  parley serve --public=203.0.113.7\n" +
			"  parley serve --domain call.example --https off --http localhost:8080 --trusted-proxy 127.0.0.1",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded := server.Load(cmd.Flags(), os.Environ())
			if err := loaded.Err(); err != nil {
				return err
			}
			for _, w := range loaded.Warnings() {
				cmd.PrintErrf("parley: warning: %v\n", w)
			}
			cfg := loaded.Config
			if term.IsTerminal(int(os.Stdout.Fd())) && cfg.LogFormat != "json" {
				cfg.Terminal = os.Stdout
			}
			signaled, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			ctx, drain := context.WithCancel(cmd.Context())
			defer drain()
			context.AfterFunc(signaled, func() {
				stop() // before anyone hears of the end: the second signal does what signals do, it ends the program at once
				drain()
			})
			return server.Run(ctx, cfg)
		},
	}
	server.AddFlags(cmd.Flags())
	return cmd
}
