// Command parley is Parley: WebRTC calls from one binary. `parley serve` is everything; `parley help` lists the rest.
//
// Exit codes: 0 done, 1 failed, 2 wrong use.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/parley-rtc/parley/server"
)

func main() { os.Exit(run(os.Args[1:])) }

const (
	exitDone   = 0
	exitFailed = 1
	exitUse    = 2
)

// errFailed makes the program end with exitFailed when everything has been said already.
var errFailed = errors.New("failed")

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	switch wrongUse, wrongConfig := (*useError)(nil), (*server.ConfigError)(nil); {
	case err == nil:
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &wrongUse):
		fmt.Fprintf(os.Stderr, "parley: %v\nparley help %s says more.\n", err, wrongUse.command)
		return exitUse
	case errors.As(err, &wrongConfig):
		fmt.Fprintf(os.Stderr, "parley: %v\n`parley config`, with the same flags, says what is in force.\n", err)
		return exitUse
	}
	fmt.Fprintf(os.Stderr, "parley: %v\n", err)
	return exitFailed
}

// useError says that a command was not understood.
type useError struct {
	error
	command string
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "parley",
		Short: "Video calls from your own machine",
		Long: "Parley is WebRTC, whole: web app, signaling and everything that calls need, in one program.\n\n" +
			"`parley serve` with no flags serves this machine and its local network.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newConfig(), newVersion())
	wrongUse(root)
	return root
}

// wrongUse makes cobra's complaints about flags and arguments useErrors, in a command and those below it.
func wrongUse(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &useError{err, c.Name()} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &useError{err, c.Name()}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrongUse(sub)
	}
}
