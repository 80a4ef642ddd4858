package main

import (
	"strings"
	"testing"
)

// What is generated and committed must be what the source says.
func TestFresh(t *testing.T) {
	for _, o := range outputs {
		old, fresh, err := o.content("../..")
		if err != nil {
			t.Fatal(err)
		}
		if string(old) != string(fresh) {
			t.Errorf("%s is stale: run go generate ./signaling", o.path)
		}
	}
}

// A page that lost a marker is refused, not mangled.
func TestMarkers(t *testing.T) {
	s, err := readSchema("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.frames) < 10 || len(s.objects) < 5 || len(s.enums) < 3 {
		t.Fatalf("the schema has %d frames, %d objects, %d enums", len(s.frames), len(s.objects), len(s.enums))
	}
	if _, err := fillTables(s, []byte("no markers")); err == nil || !strings.Contains(err.Error(), "begin frames") {
		t.Errorf("a page without markers: %v", err)
	}
}

func TestTypeName(t *testing.T) {
	for name, want := range map[string]string{"Join": "join", "ICEServers": "iceServers", "SessionUnknown": "sessionUnknown"} {
		if got := typeName(name); got != want {
			t.Errorf("%s is %q on the wire, want %q", name, got, want)
		}
	}
}
