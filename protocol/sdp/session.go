package sdp

import (
	"strconv"
	"strings"
)

// An Origin is the o= line (RFC 8866 section 5.2).
type Origin struct {
	Username       string
	ID             string // digits; kept as text, as its range is unbounded
	Version        uint64
	NetType        string
	AddrType       string
	UnicastAddress string
}

// ParseOrigin reads the value of an o= line.
func ParseOrigin(value string) (Origin, error) {
	c := cursor{text: value}
	var o Origin
	o.Username = c.word("the username")
	c.space()
	at := c.at
	if o.ID = c.word("the session id"); strings.Trim(o.ID, "0123456789") != "" {
		c.at = at
		c.fail("the session id is not a number")
	}
	c.space()
	o.Version = c.number("the session version", 1<<64-1)
	c.space()
	o.NetType = c.word("the network type")
	c.space()
	o.AddrType = c.word("the address type")
	c.space()
	o.UnicastAddress = c.word("the address")
	return o, c.end()
}

func (o Origin) String() string {
	return strings.Join([]string{o.Username, o.ID, strconv.FormatUint(o.Version, 10), o.NetType, o.AddrType, o.UnicastAddress}, " ")
}

// A Connection is a c= line (RFC 8866 section 5.7). The address is kept as text: it may be a name, or have a TTL.
type Connection struct {
	NetType, AddrType, Address string
}

// ParseConnection reads the value of a c= line.
func ParseConnection(value string) (Connection, error) {
	c := cursor{text: value}
	var n Connection
	n.NetType = c.word("the network type")
	c.space()
	n.AddrType = c.word("the address type")
	c.space()
	n.Address = c.word("the address")
	return n, c.end()
}

func (c Connection) String() string { return c.NetType + " " + c.AddrType + " " + c.Address }

// Bandwidth is a b= line (RFC 8866 section 5.8): AS and CT in kbit/s, TIAS (RFC 3890), RR and RS (RFC 3556) in bit/s.
type Bandwidth struct {
	Type  string
	Value uint64
}

// ParseBandwidth reads the value of a b= line.
func ParseBandwidth(value string) (Bandwidth, error) {
	c := cursor{text: value}
	b := Bandwidth{Type: c.take("the kind of bandwidth", ":")}
	if !c.skip(':') {
		c.fail("a colon was expected")
	}
	b.Value = c.number("the bandwidth", 1<<63-1)
	return b, c.end()
}

func (b Bandwidth) String() string { return b.Type + ":" + strconv.FormatUint(b.Value, 10) }

// Origin returns the o= line; Parse has checked it.
func (d *Description) Origin() Origin {
	l, _ := d.First('o')
	o, _ := ParseOrigin(l.Value)
	return o
}

// A Group puts media sections together by their mids (RFC 5888).
type Group struct {
	Semantics string // as "BUNDLE" (RFC 9143) or "LS"
	MIDs      []string
}

// ParseGroup reads the value of a=group.
func ParseGroup(value string) (Group, error) {
	c := cursor{text: value}
	g := Group{Semantics: c.token("the semantics")}
	g.MIDs = c.words()
	return g, c.end()
}

func (g Group) String() string {
	return strings.Join(append([]string{g.Semantics}, g.MIDs...), " ")
}

// Groups returns the a=group lines.
func (d *Description) Groups() ([]Group, error) { return all(&d.Section, "group", ParseGroup) }

// all parses every attribute of a name; an error says where it is.
func all[T any](s *Section, name string, parse func(string) (T, error)) ([]T, error) {
	n := 0
	for range s.named(name) {
		n++
	}
	if n == 0 {
		return nil, nil
	}
	values := make([]T, 0, n)
	for l := range s.named(name) {
		_, value := l.Attr()
		v, err := parse(value)
		if err != nil {
			return nil, l.at(len("a=")+len(name)+len(":")+1, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// one parses the first attribute of a name.
func one[T any](s *Section, name string, parse func(string) (T, error)) (v T, ok bool, err error) {
	l, ok := s.Line(name)
	if !ok {
		return v, false, nil
	}
	_, value := l.Attr()
	v, err = parse(value)
	return v, true, l.at(len("a=")+len(name)+len(":")+1, err)
}
