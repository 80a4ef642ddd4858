package main

import (
	"bytes"
	"fmt"
	"strings"
)

// fillTables replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->` in docs/signaling.md.
func fillTables(s *schema, page []byte) ([]byte, error) {
	out := string(page)
	for _, t := range []struct {
		name string
		body string
	}{{"frames", frameTables(s)}, {"objects", objectTables(s)}, {"codes", codeTable(s)}} {
		begin, end := "<!-- begin "+t.name+", generated -->\n", "<!-- end "+t.name+" -->"
		before, rest, ok := strings.Cut(out, begin)
		if !ok {
			return nil, fmt.Errorf("no line %q", strings.TrimSpace(begin))
		}
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			return nil, fmt.Errorf("no line %q", end)
		}
		out = before + begin + "\n" + t.body + "\n" + end + after
	}
	return []byte(out), nil
}

func frameTables(s *schema) string {
	var b bytes.Buffer
	for i, f := range s.frames {
		if i > 0 {
			b.WriteString("\n")
		}
		from := map[string]string{"client": "client to server", "server": "server to client", "both": "both ways"}[f.sender]
		sort := map[string]string{"control": "control frame", "message": "message", "either": "message if it has `ref`, else control frame"}[f.sort]
		fmt.Fprintf(&b, "#### `%s`\n\n%s: %s. %s\n", f.typeName(), upper(from), sort, f.doc)
		writeFields(&b, f.fields)
	}
	return b.String()
}

func objectTables(s *schema) string {
	var b bytes.Buffer
	for i, o := range s.objects {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "#### %s\n\n%s\n", o.name, o.doc)
		writeFields(&b, o.fields)
	}
	for _, e := range s.enums {
		if e.name == "Code" {
			continue
		}
		var values []string
		for _, v := range e.values {
			entry := "`" + v.text + "`"
			if v.doc != "" {
				entry += " (" + v.doc + ")"
			}
			values = append(values, entry)
		}
		fmt.Fprintf(&b, "\n#### %s\n\n%s: %s.\n", e.name, strings.TrimSuffix(unnamed(e.doc, e.name, e.name), "."), strings.Join(values, ", "))
	}
	return b.String()
}

func writeFields(b *bytes.Buffer, fields []field) {
	if len(fields) == 0 {
		return
	}
	b.WriteString("\n| field | kind | |\n|---|---|---|\n")
	for _, f := range fields {
		kind := f.kind
		if f.optional {
			kind += ", optional"
		}
		if f.direction != "" {
			kind += ", from the " + f.direction
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.name, kind, f.doc)
	}
}

func codeTable(s *schema) string {
	var b bytes.Buffer
	b.WriteString("| code | when; what happens |\n|---|---|\n")
	for _, e := range s.enums {
		if e.name == "Code" {
			for _, v := range e.values {
				fmt.Fprintf(&b, "| `%s` | %s |\n", v.text, v.doc)
			}
		}
	}
	return b.String()
}
