package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-rtc/parley/server"
)

// maxCredentialLife bounds what a forgotten credential can do.
const maxCredentialLife = 366 * 24 * time.Hour

func newTURNCredentials() *cobra.Command {
	var name string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "turn-credentials",
		Short: "Print an iceServers block for another WebRTC program",
		Long: "Print an iceServers block, with a credential for this server's relay, to paste into any WebRTC program: JSON, as\n" +
			"RTCPeerConnection's configuration takes it. It takes the flags of `parley serve`, to know addresses and the state folder;\n" +
			"the server may run or not. If the server said that a port was taken, say the one it got, as --turn :3480.\n\n" +
			"A program can ask a running server for the same: GET /api/turn, from elsewhere than its own machine with the host's\n" +
			"passphrase as bearer token.",
		Example: "  parley turn-credentials\n" +
			"  parley turn-credentials --domain call.example --for 720h\n" +
			"  curl -H \"Authorization: Bearer $PASSPHRASE\" https://call.example/api/turn",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if life <= 0 || life > maxCredentialLife {
				return &useError{fmt.Errorf("--for %v: say more than 0 and at most %v", life, maxCredentialLife), cmd.CommandPath()}
			}
			loaded := server.Load(cmd.Flags(), os.Environ())
			if err := loaded.Err(); err != nil {
				return err
			}
			block, err := server.TURNCredentials(loaded.Config, name, time.Now().Add(life))
			if err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			return out.Encode(map[string]any{"iceServers": block})
		},
	}
	server.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&name, "as", "program", "the `name` of the account: all credentials of one name share its limits")
	cmd.Flags().DurationVar(&life, "for", 24*time.Hour, "how `long` the credential is good")
	return cmd
}
