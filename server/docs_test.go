package server

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated documentation instead of comparing it")

//go:generate go test -run ^TestConfigurationDocs$ -update

// TestConfigurationDocs keeps docs/configuration.md, which is made from the table of settings, fresh.
func TestConfigurationDocs(t *testing.T) {
	const file = "../docs/configuration.md"
	want := configurationDocs()
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
		t.Errorf("%s is stale: run `go generate ./server`", file)
	}
}

func configurationDocs() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Generated from the table of settings by ` + "`go generate ./server`" + `; do not edit.

Nothing needs to be configured: ` + "`parley serve`" + ` serves its machine and the local network. What can be said can be said in three ways,
which mean the same:

| | for example |
|---|---|
| a flag | ` + "`--trusted-proxy 10.0.0.2`" + ` |
| an environment variable | ` + "`PARLEY_TRUSTED_PROXY=10.0.0.2`" + ` (lists: with commas) |
| a line of the configuration file | ` + "`trusted-proxy: 10.0.0.2`" + ` (lists: YAML's) |

A flag goes before the environment, the environment before the file, the file before the default. An empty variable says nothing.

The file is the one that ` + "`--config`" + ` (or PARLEY_CONFIG) names, else parley.yaml in the configuration folder, if there is one: systemd's
$CONFIGURATION_DIRECTORY, or the user's (on Linux ~/.config/parley).

` + "`parley config`" + ` prints what is in force, from where, and what is wrong with it.
`)
	group := ""
	for _, s := range Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n| setting | variable | default | |\n|---|---|---|---|\n", group)
		}
		value := s.Value
		switch {
		case s.isSwitch():
			value = "true or false"
		case s.Bare != "":
			value += ", or `" + s.Bare + "`"
		}
		fmt.Fprintf(&b, "| `%s` (%s) | `%s` | %s | %s |\n", s.Name, value, s.Variable(), s.defaultDocs(), s.Help)
	}
	b.WriteString(`
## An example

` + "```yaml" + `
# /etc/parley/parley.yaml
domain: call.example
acme-email: ops@call.example
drain: 10m
log-level: warn
` + "```" + `
`)
	return b.String()
}

// defaultDocs is the default in words that hold on every machine.
func (s *Setting) defaultDocs() string {
	switch s.Name {
	case "http":
		return "`:8080`; on the internet `:80`"
	case "https":
		return "`:8443`; on the internet `:443`"
	case "state-dir":
		return "$STATE_DIRECTORY, else the system's place: `~/.local/state/parley` on Linux"
	}
	switch {
	case s.isSwitch():
		return "`false`"
	case s.inForce == nil:
		return "none"
	case s.Secret:
		return s.inForce(new(Config))
	}
	return "`" + s.inForce(new(Config)) + "`"
}
