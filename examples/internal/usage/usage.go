// Package usage is how the examples read their command lines: flags first, then words. All answer -h, and end with 2 where they
// are not used as they say.
package usage

import (
	"flag"
	"fmt"
	"os"
)

// Words parses the command line, whose flags are defined already, and returns the words after them: at least and at most so
// many. Lines are the forms of the command.
func Words(least, most int, lines ...string) []string {
	flag.Usage = func() {
		for i, line := range lines {
			fmt.Fprintf(flag.CommandLine.Output(), "%6s %s\n", []string{"usage:", ""}[min(i, 1)], line)
		}
		flag.PrintDefaults()
	}
	flag.Parse()
	if n := flag.NArg(); n < least || n > most {
		Wrong()
	}
	return flag.Args()
}

// Wrong ends a program that was not used as it says.
func Wrong() {
	flag.Usage()
	os.Exit(2)
}
