package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/parley-rtc/parley/server"
)

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print which Parley this is",
		Example: "  parley version\n  parley version --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			build := server.ReadBuild()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(build)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), build)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
