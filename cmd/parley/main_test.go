package main

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	t.Setenv("CONFIGURATION_DIRECTORY", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // where the state folder would be; there may be none
	state := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct {
		args       string
		code       int
		out        string
		complaints string
	}{
		{"", exitDone, "Available Commands", ""},
		{"help serve", exitDone, "parley serve --domain call.example", ""},
		{"version", exitDone, "parley ", ""},
		{"config", exitDone, "Nothing is wrong.", ""},
		{"config --json --https :1", exitDone, `"origin": "flag --https"`, ""},
		{"config --http nowhere", exitFailed, `wrong: flag --http: http "nowhere" is not a place`, ""},
		{"frobnicate", exitUse, "", "frobnicate"},
		{"version now", exitUse, "", "`parley version --help` says more"},
		{"serve --public 203.0.113.7", exitUse, "", "as in --public=203.0.113.7"},
		{"serve --htps :1", exitUse, "", "there is no flag --htps: did you mean https?"},
		{"serve --drain soon", exitUse, "", "soon"},
		{"serve --https nowhere", exitUse, "", "flag --https"},
		{"serve --http " + busy.Addr().String() + " --https off --state-dir STATE", exitFailed, "", "--http " + busy.Addr().String() + ": another program listens there already"},
	} {
		var out, complaints bytes.Buffer
		args := strings.Fields(c.args)
		if at := slices.Index(args, "STATE"); at >= 0 {
			args[at] = state // which may have spaces
		}
		code := run(args, &out, &complaints)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(complaints.String(), c.complaints) {
			t.Errorf("parley %s: code %d, want %d\nout: %s\ncomplaints: %s", c.args, code, c.code, out.String(), complaints.String())
		}
		if c.complaints == "" && complaints.Len() > 0 {
			t.Errorf("parley %s complains: %s", c.args, complaints.String())
		}
	}
}

func TestVersionJSON(t *testing.T) {
	var out, complaints bytes.Buffer
	if code := run([]string{"version", "--json"}, &out, &complaints); code != exitDone {
		t.Fatal(complaints.String())
	}
	var build struct{ Version, Go, System string }
	if err := json.Unmarshal(out.Bytes(), &build); err != nil {
		t.Fatal(err)
	}
	if build.Version == "" || build.Go == "" || build.System == "" {
		t.Errorf("got %s", out.String())
	}
}

// Every command says what it does and shows how it is used.
func TestEveryCommandHasExamples(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" && c.Name() != "completion" && (c.Short == "" || c.Example == "") {
			t.Errorf("%s has no description or no example", c.Name())
		}
	}
}
