package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// A schema is what the Go source says about the wire format, in the order of the source.
type schema struct {
	frames  []*frame
	objects []*object
	enums   []*enum
}

type object struct {
	name, doc string
	fields    []field
}

type frame struct {
	object
	sender string // client, server or both
	sort   string // control, message or either
}

type field struct {
	name, doc string
	typ       string // in TypeScript
	kind      string // in the tables
	optional  bool
	direction string // client, server, or empty: both
}

type enum struct {
	name, doc string
	values    []value
}

type value struct{ text, doc string }

// typeName is the `type` on the wire.
func (f *frame) typeName() string { return typeName(f.name) }

// typeName is a Go name as the wire has it: its first word in small letters, a whole initialism if it begins with one.
func typeName(name string) string {
	word := 1
	for word+1 < len(name) && unicode.IsUpper(rune(name[word])) && unicode.IsUpper(rune(name[word+1])) {
		word++
	}
	return strings.ToLower(name[:word]) + name[word:]
}

// readSchema parses the package in dir.
func readSchema(dir string) (*schema, error) {
	s := &schema{}
	for _, name := range []string{"message.go", "code.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			if err := s.read(g); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return s, nil
}

func (s *schema) read(g *ast.GenDecl) error {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if err := s.readType(spec, g.Doc); err != nil {
				return fmt.Errorf("%s: %w", spec.Name.Name, err)
			}
		case *ast.ValueSpec:
			s.readValue(spec)
		}
	}
	return nil
}

func (s *schema) readType(spec *ast.TypeSpec, doc *ast.CommentGroup) error {
	o := object{name: spec.Name.Name, doc: text(doc)}
	switch t := spec.Type.(type) {
	case *ast.Ident:
		if t.Name == "string" {
			s.enums = append(s.enums, &enum{name: o.name, doc: o.doc})
		}
	case *ast.StructType:
		words := directive(doc)
		if len(words) == 0 {
			return nil
		}
		for _, f := range t.Fields.List {
			fd, err := readField(f)
			if err != nil {
				return err
			}
			o.fields = append(o.fields, fd)
		}
		switch {
		case words[0] == "object":
			o.doc = unnamed(o.doc, o.name, o.name)
			s.objects = append(s.objects, &o)
		case words[0] == "frame" && len(words) == 3:
			f := &frame{o, words[1], words[2]}
			f.doc = unnamed(f.doc, f.name, f.typeName())
			s.frames = append(s.frames, f)
		default:
			return fmt.Errorf("unknown directive wire:%s", strings.Join(words, " "))
		}
	}
	return nil
}

func (s *schema) readValue(spec *ast.ValueSpec) {
	ident, ok := spec.Type.(*ast.Ident)
	if !ok || len(spec.Values) != 1 {
		return
	}
	lit, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	for _, e := range s.enums {
		if e.name == ident.Name {
			v, _ := strconv.Unquote(lit.Value)
			doc := text(spec.Doc)
			if doc == "" {
				doc = text(spec.Comment)
			}
			_, after, found := strings.Cut(doc, spec.Names[0].Name+": ")
			if found {
				doc = after
			}
			e.values = append(e.values, value{v, doc})
		}
	}
}

func readField(f *ast.Field) (field, error) {
	if len(f.Names) != 1 || f.Tag == nil {
		return field{}, fmt.Errorf("a field needs one name and a json tag")
	}
	unquoted, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return field{}, err
	}
	tag := reflect.StructTag(unquoted)
	name, options, _ := strings.Cut(tag.Get("json"), ",")
	out := field{name: name, doc: unnamed(text(f.Doc), f.Names[0].Name, name), direction: tag.Get("wire"), optional: options == "omitempty"}
	if out.direction != "" {
		out.optional = false // omitted in the other direction only
	}
	out.typ, out.kind, err = typeOf(f.Type)
	if t := tag.Get("ts"); t != "" {
		out.typ, out.kind = t, t
	}
	if out.kind == "Record<string, unknown>" {
		out.kind = "object"
	}
	if err == nil && (name == "" || out.doc == "") {
		err = fmt.Errorf("field %s needs a json name and a comment", f.Names[0].Name)
	}
	return out, err
}

// typeOf is the TypeScript of a Go type, and its name for the tables.
func typeOf(t ast.Expr) (ts, table string, err error) {
	switch t := t.(type) {
	case *ast.Ident:
		switch t.Name {
		case "string", "bool":
			name := map[string]string{"string": "string", "bool": "boolean"}[t.Name]
			return name, name, nil
		case "int", "uint16", "uint64":
			return "number", "integer", nil
		}
		return t.Name, t.Name, nil
	case *ast.StarExpr:
		ts, table, err = typeOf(t.X)
		return ts + " | null", table + " or null", err
	case *ast.ArrayType:
		ts, table, err = typeOf(t.Elt)
		return ts + "[]", "array of " + table, err
	case *ast.SelectorExpr:
		return "unknown", "any", nil // json.RawMessage; the ts tag says more
	}
	return "", "", fmt.Errorf("no TypeScript for %T", t)
}

// unnamed is a comment without the Go name that it begins with: "Room is the name" becomes "The name", "Wait says" becomes "`wait` says".
func unnamed(doc, goName, wireName string) string {
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(doc, goName+verb); ok {
			return upper(rest)
		}
	}
	if rest, ok := strings.CutPrefix(doc, goName+" "); ok {
		return "`" + wireName + "` " + rest
	}
	return doc
}

// text is a comment on one line.
func text(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(strings.NewReplacer("*[", "", "[", "", "]", "").Replace(doc.Text())), " ")
}

func directive(doc *ast.CommentGroup) []string {
	if doc == nil {
		return nil
	}
	for _, c := range doc.List {
		if d, ok := strings.CutPrefix(c.Text, "//wire:"); ok {
			return strings.Fields(d)
		}
	}
	return nil
}
