package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/parley-rtc/parley/server"
)

func newConfig() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show what is in force, from where, and what is wrong with it",
		Long: "Show the value of each setting, where it was said (flag, environment, file or default), and what is wrong.\n" +
			"It takes the flags of `parley serve`, so that the two can be compared. Secrets are not shown.\n\n" +
			"Exit code 1 means that something is wrong.",
		Example: "  parley config\n" +
			"  parley config --domain call.example\n" +
			"  PARLEY_HTTPS=:9443 parley config --json",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded := server.Load(cmd.Flags(), os.Environ())
			show := loaded.WriteText
			if asJSON {
				show = loaded.WriteJSON
			}
			if err := show(cmd.OutOrStdout()); err != nil {
				return err
			}
			if len(loaded.Problems) > 0 {
				return errFailed
			}
			return nil
		},
	}
	server.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
