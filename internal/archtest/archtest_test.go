package archtest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheHouseKeepsToItsMap(t *testing.T) {
	found, err := Check(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// Each fixture is a small tree that leaves the map; what must be reported is all that is reported.
func TestViolationsAreReported(t *testing.T) {
	for fixture, want := range map[string][]string{
		"three": { // one upward import, one clock, one goroutine
			`protocol/ice/ice.go:6: protocol/ice (level 2) imports internal/loop (level 4): arrows point down`,
			`protocol/ice/ice.go:10: protocol/ice is an engine: it uses time.Now, but is told the time and never asks`,
			`protocol/ice/ice.go:11: protocol/ice is an engine: it starts a goroutine`,
		},
		"others": {
			`internal/nowhere/a.go:1: the folder internal/nowhere is not on the map: give it a level in internal/archtest and in docs/architecture.md`,
			`protocol/cc/cc.go:4: protocol/cc (level 2) imports example.org/elsewhere: levels 0 to 5 take the standard library and golang.org/x only`,
			`protocol/cc/cc.go:5: protocol/cc imports internal/simnet, which is for tests only`,
			`protocol/cc/cc.go:6: protocol/cc imports protocol/ice, a room of its own level (2)`,
			`protocol/cc/cc.go:7: protocol/cc is an engine (level 2) and imports net/http: engines are told the time and handed their bytes`,
			`protocol/cc/cc.go:9: protocol/cc is an engine (level 2) and imports sync: engines are told the time and handed their bytes`,
			`protocol/cc/cc.go:13: protocol/cc is an engine: it has a channel`,
			`protocol/cc/cc.go:17: protocol/cc is an engine: it has a select`,
			`protocol/cc/cc.go:19: protocol/cc is an engine: it uses time.After, but is told the time and never asks`,
		},
	} {
		t.Run(fixture, func(t *testing.T) {
			found, err := Check(filepath.Join("testdata", fixture))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range found {
				got = append(got, v.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("reported:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}
