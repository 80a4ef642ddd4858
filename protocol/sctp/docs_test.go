package sctp

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -run ^TestConformanceTable$ -update

var update = flag.Bool("update", false, "write docs/sctp-conformance.md")

// requirement is a sentence of an RFC that says what must be.
type requirement struct {
	rfc, section, sentence string
	tests                  []string // whose comments quote it
	reason                 string   // why there is none
}

// requirements reads testdata/musts.txt.
func requirements(t *testing.T) (all []requirement) {
	t.Helper()
	b, err := os.ReadFile("testdata/musts.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if reason, ok := strings.CutPrefix(line, "= "); ok {
			all[len(all)-1].reason = reason
			continue
		}
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 {
			t.Fatalf("the line %q is no requirement", line)
		}
		all = append(all, requirement{rfc: f[0], section: f[1], sentence: f[2]})
	}
	return all
}

// letters returns the letters and digits of s: comments are broken into lines and quote with other quotation marks.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

// The table of what the RFCs demand and of the tests that show it: each sentence is quoted by a test, or there is a reason.
func TestConformanceTable(t *testing.T) {
	all := requirements(t)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Doc == nil || !strings.HasPrefix(fn.Name.Name, "Test") {
				continue
			}
			comment := letters(fn.Doc.Text())
			for i := range all {
				r := &all[i]
				if r.reason == "" && strings.Contains(comment, "rfc"+r.rfc) && strings.Contains(comment, letters(r.sentence)) {
					r.tests = append(r.tests, fn.Name.Name)
				}
			}
		}
	}
	var b bytes.Buffer
	shown := 0
	for _, r := range all {
		if len(r.tests) > 0 {
			shown++
		} else if r.reason == "" {
			t.Errorf("no test quotes RFC %s section %s: %q", r.rfc, r.section, r.sentence)
		}
	}
	fmt.Fprintf(&b, `# SCTP: what the RFCs demand, and what shows it

Generated from the comments of the tests in protocol/sctp and from its testdata/musts.txt; run `+"`go generate ./protocol/sctp`"+`.
It lists every sentence with MUST (or REQUIRED, SHALL) of RFC 9260 sections 5 to 9, RFC 3758 section 3, RFC 6525 sections
4 and 5, and RFC 8260 sections 2 and 3: %d, of which %d are shown by a test. For the others it says why there is none.
`, len(all), shown)
	rfc := ""
	for _, r := range all {
		if r.rfc != rfc {
			rfc = r.rfc
			fmt.Fprintf(&b, "\n## RFC %s\n\n| section | sentence | test |\n|---|---|---|\n", rfc)
		}
		slices.SortFunc(r.tests, cmp.Compare[string])
		what := strings.Join(r.tests, ", ")
		if what == "" {
			what = "none: " + r.reason
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.section, strings.NewReplacer("|", "\\|", "*", "\\*").Replace(r.sentence), what)
	}
	const page = "../../docs/sctp-conformance.md"
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(page); err != nil || !bytes.Equal(old, b.Bytes()) {
		t.Errorf("%s is stale (%v): run go generate ./protocol/sctp", page, err)
	}
}
