package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText writes what is in force, from where, and what is wrong, for a person.
func (l *Loaded) WriteText(w io.Writer) error {
	var b strings.Builder
	name, text := 0, 0
	for _, v := range l.Values {
		name, text = max(name, len(v.Setting.Name)), max(text, min(len(cmp.Or(v.Text, "-")), 48))
	}
	for _, v := range l.Values {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", name, v.Setting.Name, text, cmp.Or(v.Text, "-"), v.Origin)
	}
	fmt.Fprintf(&b, "\nfile: %s\n", cmp.Or(l.File, "none ("+DefaultConfigFile()+" would be read)"))
	if len(l.Problems) == 0 {
		b.WriteString("Nothing is wrong.\n")
	}
	for _, p := range l.Problems {
		kind := "wrong"
		if p.Warning {
			kind = "warning"
		}
		fmt.Fprintf(&b, "%s: %s\n", kind, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the same for a program.
func (l *Loaded) WriteJSON(w io.Writer) error {
	type setting struct {
		Name   string `json:"name"`
		Value  string `json:"value"`
		Origin string `json:"origin"`
	}
	type problem struct {
		Origin  string `json:"origin"`
		Message string `json:"message"`
		Warning bool   `json:"warning,omitempty"`
	}
	out := struct {
		File     string    `json:"file,omitempty"`
		Settings []setting `json:"settings"`
		Problems []problem `json:"problems"`
	}{File: l.File, Problems: []problem{}}
	for _, v := range l.Values {
		out.Settings = append(out.Settings, setting{v.Setting.Name, v.Text, v.Origin})
	}
	for _, p := range l.Problems {
		out.Problems = append(out.Problems, problem(p))
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
