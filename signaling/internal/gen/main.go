// Command gen writes what other languages and readers need to know of signaling's wire format, from the Go types and their comments:
// the TypeScript types of the browser SDK, and the tables of docs/signaling.md. Run it by `go generate ./signaling`.
package main

import (
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	for _, o := range outputs {
		if err := o.refresh("."); err != nil {
			log.Fatal("gen: ", err)
		}
	}
}

// An output is a generated file. Paths are relative to the folder of package signaling.
type output struct {
	path string
	make func(s *schema, old []byte) ([]byte, error)
}

var outputs = []output{
	{"../web/src/sdk/protocol.gen.ts", func(s *schema, _ []byte) ([]byte, error) { return typescript(s), nil }},
	{"../docs/signaling.md", func(s *schema, old []byte) ([]byte, error) { return fillTables(s, old) }},
}

// content is what the file is and what it should be, with the package in dir.
func (o output) content(dir string) (old, fresh []byte, err error) {
	s, err := readSchema(dir)
	if err != nil {
		return nil, nil, err
	}
	old, err = os.ReadFile(dir + "/" + o.path)
	if err != nil && !os.IsNotExist(err) {
		return nil, nil, err
	}
	fresh, err = o.make(s, old)
	return old, fresh, err
}

func (o output) refresh(dir string) error {
	old, fresh, err := o.content(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	if string(old) == string(fresh) {
		return nil
	}
	return os.WriteFile(dir+"/"+o.path, fresh, 0o644)
}
