package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-rtc/parley/server"
)

var update = flag.Bool("update", false, "write the generated documentation instead of comparing it")

//go:generate go test -run ^TestCommandDocs$ -update

// TestCommandDocs keeps docs/cli.md, which is made from the commands, fresh.
func TestCommandDocs(t *testing.T) {
	const file = "../../docs/cli.md"
	want := commandDocs()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run `go generate ./cmd/parley`", file)
	}
}

func commandDocs() string {
	var b strings.Builder
	b.WriteString("# The command\n\nGenerated from the commands by `go generate ./cmd/parley`; do not edit.\n\n" +
		"Exit codes: 0 done, 1 failed, 2 wrong use. The settings that `serve` and `config` take are in docs/configuration.md.\n")
	settings := pflag.NewFlagSet("", pflag.ContinueOnError)
	server.AddFlags(settings)
	var describe func(cmd *cobra.Command)
	describe = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd.HasParent() {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n", cmd.CommandPath())
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		b.WriteString(text + "\n")
		if cmd.Runnable() && cmd.HasParent() {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", cmd.UseLine())
		}
		if cmd.Example != "" {
			fmt.Fprintf(&b, "\nExamples:\n\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
		}
		rows := ""
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			value, usage := pflag.UnquoteUsage(f)
			isSetting := settings.Lookup(f.Name) != nil && cmd.Name() != "serve"
			if f.Name != "help" && !isSetting {
				rows += fmt.Sprintf("| `%s` | %s |\n", strings.TrimSpace("--"+f.Name+" "+value), usage)
			}
		})
		if rows != "" {
			b.WriteString("\n| flag | |\n|---|---|\n" + rows)
		}
		for _, sub := range cmd.Commands() {
			describe(sub)
		}
	}
	describe(newRoot())
	return b.String()
}
