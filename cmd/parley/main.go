// Command parley is Parley: WebRTC calls from one binary. `parley serve` is everything; `parley help` lists the rest.
//
// Exit codes: 0 done, 1 failed, 2 wrong use.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-rtc/parley/server"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const (
	exitDone   = 0
	exitFailed = 1
	exitUse    = 2
)

// errFailed makes the program end with exitFailed when everything has been said already.
var errFailed = errors.New("failed")

func run(args []string, out, complaints io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(complaints)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errFailed) {
		return exitFailed
	}
	fmt.Fprintf(complaints, "parley: %v\n", err)
	if wrong, ok := errors.AsType[*useError](err); ok {
		fmt.Fprintf(complaints, "`%s --help` says more.\n", wrong.command)
		return exitUse
	}
	if _, ok := errors.AsType[*server.ConfigError](err); ok {
		fmt.Fprintln(complaints, "`parley config` with the same flags says what is in force.")
		return exitUse
	}
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
		Version:       server.ReadBuild().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newConfig(), newTURNCredentials(), newVersion())
	wrongUse(root)
	return root
}

// noArguments refuses what stands behind a command's flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%q is more than this command takes; if it belongs to a flag that can stand alone, write =, as in --public=203.0.113.7", args[0])
}

// wrongUse makes cobra's complaints about flags and arguments useErrors, in a command and those below it.
func wrongUse(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			err = fmt.Errorf("there is no flag --%s%s", unknown.GetSpecifiedName(), server.NearestSetting(unknown.GetSpecifiedName()))
		}
		return &useError{err, c.CommandPath()}
	})
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &useError{err, c.CommandPath()}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrongUse(sub)
	}
}
