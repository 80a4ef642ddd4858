package sdp

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what Parse accepts.
const (
	// MaxLen is the longest description, in bytes: MaxMedia sections of the 4 KiB that ours and browsers' have in the middle.
	MaxLen = 4 << 20
	// MaxLine is the longest line, in bytes without its end. The longest known lines are certificates and identity
	// assertions of a few KiB.
	MaxLine = 16 << 10
	// MaxMedia is the largest number of media sections. A description is compared section by section with the one before,
	// and transceivers, mids and transports hang on each, so a small text must not make thousands of them. Calls of some
	// hundred people in one peer connection stay below.
	MaxMedia = 1024
)

// An Error says what is wrong with a description, and where.
type Error struct {
	Line   int // from 1; 0 if the text did not come from Parse
	Column int // in bytes, from 1; 0 if the whole line is meant
	Reason string
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0 && e.Column == 0:
		return "sdp: " + e.Reason
	case e.Line == 0:
		return fmt.Sprintf("sdp: column %d: %s", e.Column, e.Reason)
	case e.Column == 0:
		return fmt.Sprintf("sdp: line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("sdp: line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// A Line is one line: its type, and what follows the equals sign.
type Line struct {
	Value  string
	Number int32 // where it stood in the text that was parsed, from 1; 0 for a line that was made
	Type   byte
}

// Attr splits the value of an a= line into name and value; both are empty for lines of other types. Blanks at the end are none of it:
// Pion, mediasoup and who edits descriptions leave some.
func (l Line) Attr() (name, value string) {
	if l.Type != 'a' {
		return "", ""
	}
	name, value, _ = strings.Cut(strings.TrimRight(l.Value, " "), ":")
	return name, value
}

// at places an error of a value's parser in the line whose value begins at the given column.
func (l Line) at(column int, err error) error {
	e, ok := err.(*Error)
	if !ok {
		return err
	}
	e.Line = int(l.Number)
	if e.Column > 0 {
		e.Column += column - 1
	}
	return e
}

// A Section is the lines of one level: those before the first m= line, or those of one media section. The m= line itself
// is not among them.
type Section struct {
	Lines []Line
}

// Attr returns the value of the first attribute of this name; ok says whether there is one. A flag such as a=rtcp-mux
// has the value "".
func (s *Section) Attr(name string) (value string, ok bool) {
	l, ok := s.Line(name)
	_, value = l.Attr()
	return value, ok
}

// Line returns the first line with an attribute of this name.
func (s *Section) Line(name string) (Line, bool) {
	for l := range s.named(name) {
		return l, true
	}
	return Line{}, false
}

// Has reports whether there is an attribute of this name.
func (s *Section) Has(name string) bool { _, ok := s.Line(name); return ok }

// Attrs yields the values of all attributes of this name, in order.
func (s *Section) Attrs(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for l := range s.named(name) {
			if _, value := l.Attr(); !yield(value) {
				return
			}
		}
	}
}

func (s *Section) named(name string) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for _, l := range s.Lines {
			if l.Type != 'a' || !strings.HasPrefix(l.Value, name) || len(l.Value) > len(name) && l.Value[len(name)] != ':' && strings.Trim(l.Value[len(name):], " ") != "" {
				continue
			}
			if !yield(l) {
				return
			}
		}
	}
}

// First returns the first line of a type.
func (s *Section) First(t byte) (Line, bool) {
	for _, l := range s.Lines {
		if l.Type == t {
			return l, true
		}
	}
	return Line{}, false
}

// AddLine appends a line.
func (s *Section) AddLine(t byte, value string) {
	s.Lines = append(s.Lines, Line{Type: t, Value: value})
}

// Add appends an attribute. With an empty value it is a flag.
func (s *Section) Add(name, value string) {
	if value != "" {
		name += ":" + value
	}
	s.AddLine('a', name)
}

// Set gives the first attribute of this name a new value in its place, or appends it.
func (s *Section) Set(name, value string) {
	for i, l := range s.Lines {
		if n, _ := l.Attr(); l.Type == 'a' && n == name {
			s.Lines[i].Value = name + ":" + value
			return
		}
	}
	s.Add(name, value)
}

// Remove deletes all attributes of this name.
func (s *Section) Remove(name string) {
	s.Lines = slices.DeleteFunc(s.Lines, func(l Line) bool {
		n, _ := l.Attr()
		return l.Type == 'a' && n == name
	})
}

// Media is a media section: what its m= line says, and the lines below.
type Media struct {
	Kind    string // "audio", "video", "application", or what else stands there
	Port    int    // 0 to 65535; 0: rejected, or bundle-only
	Ports   int    // the number of ports, where the line has one ("49170/2"); else 0
	Proto   string // as "UDP/TLS/RTP/SAVPF"
	Formats []string
	Number  int32 // of the m= line
	Section
}

// A Description is a whole session description.
type Description struct {
	Section // the lines before the first m= line
	Media   []*Media
	// LF says that lines end in LF alone; the zero value writes CRLF, as RFC 8866 section 5 wants.
	LF bool
}

// Parse reads a description. It checks the form of every line and the order of v=, o=, s= and t=; the values of
// attributes are checked by whoever asks for them. Errors are of type *Error.
func Parse(text string) (*Description, error) {
	if len(text) > MaxLen {
		return nil, &Error{Reason: fmt.Sprintf("the description is longer than %d bytes", MaxLen)}
	}
	d := &Description{}
	section, number := &d.Section, 0
	room := make([]Line, 0, min(strings.Count(text, "\n")+1, 128)) // for the lines of all sections, one after the other
	for len(text) > 0 {
		number++
		line, rest, found := strings.Cut(text, "\n")
		text = rest
		line, cr := strings.CutSuffix(line, "\r")
		if number == 1 {
			d.LF = found && !cr
		}
		if line == "" && strings.Trim(text, "\r\n") == "" {
			break // empty lines at the end, as left by copying and pasting
		}
		l, err := parseLine(line, number)
		if err != nil {
			return nil, err
		}
		if err := checkOrder(d, section, l); err != nil {
			return nil, err
		}
		if l.Type == 'm' {
			m, err := parseMedia(l)
			if err != nil {
				return nil, err
			}
			if len(d.Media) == MaxMedia {
				return nil, &Error{number, 0, fmt.Sprintf("more than %d media sections", MaxMedia)}
			}
			d.Media = append(d.Media, m)
			section, room = &m.Section, room[len(room):]
			continue
		}
		room = append(room, l)
		section.Lines = room[:len(room):len(room)]
	}
	if _, ok := d.First('t'); !ok {
		return nil, &Error{max(number, 1), 0, "the description ends before its t= line"}
	}
	return d, nil
}

func parseLine(line string, number int) (Line, error) {
	if len(line) > MaxLine {
		return Line{}, &Error{number, MaxLine, fmt.Sprintf("the line is longer than %d bytes", MaxLine)}
	}
	// RFC 8866 section 5: <type>=<value>, no whitespace on either side of the "="
	if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
		return Line{}, &Error{number, 1, "not of the form <type>=<value>"}
	}
	l := Line{line[2:], int32(number), line[0]}
	if i := strings.IndexAny(l.Value, "\x00\r"); i >= 0 {
		return Line{}, &Error{number, 3 + i, "a control character"}
	}
	c := cursor{text: l.Value}
	var err error
	switch l.Type {
	case 'v':
		if l.Value != "0" {
			err = &Error{Column: 1, Reason: "the version of SDP is not 0, or the ends of lines are lost"}
		}
	case 'o':
		_, err = ParseOrigin(l.Value)
	case 'c':
		_, err = ParseConnection(l.Value)
	case 'b':
		_, err = ParseBandwidth(l.Value)
	case 't':
		c.number("the start time", 1<<63-1)
		c.space()
		c.number("the stop time", 1<<63-1)
		err = c.end()
	case 'a':
		name, _ := l.Attr()
		if i := strings.IndexFunc(name, func(r rune) bool { return !isToken(r) }); name == "" || i >= 0 {
			err = &Error{Column: max(i, 0) + 1, Reason: "an attribute's name is a token"}
		}
	case 's', 'i', 'u', 'e', 'p', 'r', 'z', 'k', 'm':
	default:
		// RFC 8866 section 5: a parser MUST completely ignore or reject a description with an unknown type letter.
		return Line{}, &Error{number, 1, fmt.Sprintf("lines of type %q do not exist", l.Type)}
	}
	return l, l.at(3, err)
}

// checkOrder holds v=, o=, s= in their places at the top and t= before the first m= line (RFC 8866 section 5).
func checkOrder(d *Description, s *Section, l Line) error {
	if s == &d.Section {
		if at := len(s.Lines); at < 3 && l.Type != "vos"[at] {
			return &Error{int(l.Number), 1, fmt.Sprintf("a %c= line was expected", "vos"[at])}
		}
		if _, timed := s.First('t'); l.Type == 'm' && !timed {
			return &Error{int(l.Number), 1, "a t= line was expected before the first m= line"}
		}
		if len(s.Lines) < 3 {
			return nil
		}
	}
	if strings.IndexByte("vos", l.Type) >= 0 || len(d.Media) > 0 && l.Type == 't' {
		return &Error{int(l.Number), 1, fmt.Sprintf("a %c= line has no place here", l.Type)}
	}
	return nil
}

// parseMedia reads m=<media> <port>[/<number>] <proto> <fmt> ... (RFC 8866 section 5.14).
func parseMedia(l Line) (*Media, error) {
	m := &Media{Number: l.Number}
	c := cursor{text: l.Value}
	m.Kind = c.token("the media type")
	c.space()
	m.Port = int(c.number("the port", 65535))
	if c.skip('/') {
		m.Ports = int(c.number("the number of ports", 65535))
	}
	c.space()
	m.Proto = c.word("the protocol")
	for c.err == nil && c.rest() != "" {
		c.space()
		if f := c.word("a format"); c.err == nil {
			m.Formats = append(m.Formats, f)
		}
	}
	if c.err == nil && len(m.Formats) == 0 {
		c.fail("a format was expected")
	}
	return m, l.at(3, c.end())
}

// Append appends the text of the description to b.
func (d *Description) Append(b []byte) []byte {
	eol := "\r\n"
	if d.LF {
		eol = "\n"
	}
	b = appendLines(b, d.Lines, eol)
	for _, m := range d.Media {
		b = append(b, "m="...)
		b = append(append(b, m.Kind...), ' ')
		b = strconv.AppendInt(b, int64(m.Port), 10)
		if m.Ports > 0 {
			b = strconv.AppendInt(append(b, '/'), int64(m.Ports), 10)
		}
		b = append(append(b, ' '), m.Proto...)
		for _, f := range m.Formats {
			b = append(append(b, ' '), f...)
		}
		b = append(b, eol...)
		b = appendLines(b, m.Lines, eol)
	}
	return b
}

func (d *Description) String() string {
	size := lengthOf(d.Lines)
	for _, m := range d.Media {
		size += 64 + 4*len(m.Formats) + lengthOf(m.Lines) // or a little more, where formats are numbers
	}
	return string(d.Append(make([]byte, 0, size)))
}

func lengthOf(lines []Line) (n int) {
	for _, l := range lines {
		n += len("a=\r\n") + len(l.Value)
	}
	return n
}

func appendLines(b []byte, lines []Line, eol string) []byte {
	for _, l := range lines {
		b = append(b, l.Type, '=')
		b = append(b, l.Value...)
		b = append(b, eol...)
	}
	return b
}

// Clone returns a copy that shares nothing that can be changed.
func (d *Description) Clone() *Description {
	c := &Description{Section: Section{slices.Clone(d.Lines)}, LF: d.LF}
	for _, m := range d.Media {
		n := *m
		n.Formats, n.Lines = slices.Clone(m.Formats), slices.Clone(m.Lines)
		c.Media = append(c.Media, &n)
	}
	return c
}
