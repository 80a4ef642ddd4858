package main

import (
	"bytes"
	"testing"
)

func TestDial(t *testing.T) {
	var out bytes.Buffer
	if err := dial("1a#", &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "heard 1\nheard A\nheard #\n"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}
