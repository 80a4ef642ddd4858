package usage

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// This test binary, started again, is a program with one word.
func TestMain(m *testing.M) {
	if os.Getenv("PARLEY_TEST_USAGE") != "" {
		os.Args = append(os.Args[:1], strings.Fields(os.Getenv("PARLEY_TEST_USAGE"))...)
		println(Words(1, 1, "program WORD", "program OTHER")[0])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExitCodes(t *testing.T) {
	const help = "usage: program WORD\n       program OTHER\n"
	for line, want := range map[string]struct {
		code int
		said string
	}{
		"word":      {0, "word\n"},
		"-h":        {0, help},
		"two words": {2, help},
		"-x word":   {2, "flag provided but not defined: -x\n" + help},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PARLEY_TEST_USAGE="+line)
		out, err := cmd.CombinedOutput()
		code := 0
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		said := string(out)
		if i := strings.Index(said, help); i >= 0 { // the flags of the test binary follow
			said = said[:i+len(help)]
		}
		if code != want.code || said != want.said {
			t.Errorf("%q ends with %d and %q, want %d and %q", line, code, said, want.code, want.said)
		}
	}
}
