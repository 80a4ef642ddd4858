package server

import (
	"runtime"
	"runtime/debug"
	"time"
)

// Build is which Parley this is.
type Build struct {
	Version  string    `json:"version"`            // of the module, or "devel"
	Revision string    `json:"revision,omitempty"` // of the source, if it was built from a checkout
	Time     time.Time `json:"time,omitzero"`      // of that revision
	Modified bool      `json:"modified,omitempty"` // whether the checkout had other changes
	Go       string    `json:"go"`
	System   string    `json:"system"` // as in linux/amd64
}

// ReadBuild asks the running program.
func ReadBuild() Build {
	b := Build{Version: "devel", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time, _ = time.Parse(time.RFC3339, s.Value) // the toolchain writes it so; anything else is left out
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is one line for a person.
func (b Build) String() string {
	s := "parley " + b.Version
	if b.Revision != "" {
		s += " (" + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			s += ", with changes"
		}
		s += ")"
	}
	return s + " " + b.Go + " " + b.System
}
