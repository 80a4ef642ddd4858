package sdp

import (
	"strconv"
	"strings"
)

// A Candidate is one transport address of ICE as a=candidate writes it (RFC 8839 section 5.1; tcptype: RFC 6544 section
// 4.5). The grammar only: whether the address is one that may be used is for ICE to judge.
type Candidate struct {
	Foundation     string // 1 to 32 ice-chars
	Component      uint16 // 1 to 256; 1: RTP, 2: RTCP
	Transport      string // "udp" or "tcp", in any case, or what else stands there
	Priority       uint32
	Address        string // an address, or a name such as "….local" (mDNS)
	Port           uint16
	Type           string // "host", "srflx", "prflx", "relay", or what else stands there
	RelatedAddress string // raddr; "" if not given
	RelatedPort    uint16 // rport
	TCPType        string // "active", "passive", "so"; "" if not given
	// Extensions are the other name and value pairs in their order, such as ufrag, generation and network-id.
	Extensions []Extension
}

// An Extension is a name and a value at the end of a candidate.
type Extension struct{ Name, Value string }

// Extension returns the value of the first extension of this name, or "".
func (c *Candidate) Extension(name string) string {
	for _, e := range c.Extensions {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// maxCandidate is how long a candidate may be, in bytes; written again, it must fit a line.
const maxCandidate = MaxLine / 2

// ParseCandidate reads a candidate: the value of an a=candidate line, with or without "candidate:" or "a=candidate:"
// before it. Errors are of type *Error, with a column.
func ParseCandidate(text string) (Candidate, error) {
	c := cursor{text: text}
	if i := strings.IndexAny(text, "\x00\r\n"); i >= 0 || len(text) > maxCandidate {
		return Candidate{}, &Error{Column: max(i, 0) + 1, Reason: "a candidate is one line, and not a long one"}
	}
	for _, prefix := range [...]string{"a=", "candidate:"} {
		if strings.HasPrefix(c.rest(), prefix) {
			c.at += len(prefix)
		}
	}
	var d Candidate
	at := c.at
	d.Foundation = c.word("the foundation")
	if _, err := iceChars("the foundation", d.Foundation, 1); c.err == nil && (err != nil || len(d.Foundation) > 32) {
		c.at = at
		c.fail("the foundation is not of 1 to 32 ice-chars")
	}
	c.space()
	d.Component = uint16(c.number("the component", 256))
	if c.err == nil && d.Component == 0 {
		c.fail("the component is from 1 to 256")
	}
	c.space()
	d.Transport = c.token("the transport")
	c.space()
	d.Priority = uint32(c.number("the priority", 1<<32-1))
	c.space()
	d.Address = c.word("the address")
	c.space()
	d.Port = uint16(c.number("the port", 65535))
	c.space()
	if w := c.word(`"typ"`); c.err == nil && w != "typ" {
		c.at -= len(w)
		c.fail(`"typ" was expected`)
	}
	c.space()
	d.Type = c.token("the type")
	for c.err == nil && strings.TrimSpace(c.rest()) != "" {
		c.space()
		name := c.word("a name")
		if c.err == nil && c.rest() == "" { // a name without a value means nothing
			d.Extensions = append(d.Extensions, Extension{Name: name})
			break
		}
		c.space()
		switch name {
		case "raddr":
			d.RelatedAddress = c.word("the related address")
		case "rport":
			d.RelatedPort = uint16(c.number("the related port", 65535))
		case "tcptype":
			d.TCPType = c.token("the tcptype")
		default:
			value := ""
			if c.err == nil && c.rest() != "" {
				value = c.word("a value")
			}
			d.Extensions = append(d.Extensions, Extension{name, value})
		}
	}
	return d, c.end()
}

// Append appends the candidate without "candidate:".
func (c *Candidate) Append(b []byte) []byte {
	b = append(append(b, c.Foundation...), ' ')
	b = append(strconv.AppendUint(b, uint64(c.Component), 10), ' ')
	b = append(append(b, c.Transport...), ' ')
	b = append(strconv.AppendUint(b, uint64(c.Priority), 10), ' ')
	b = append(append(b, c.Address...), ' ')
	b = strconv.AppendUint(b, uint64(c.Port), 10)
	b = append(append(b, " typ "...), c.Type...)
	if c.RelatedAddress != "" {
		b = append(append(b, " raddr "...), c.RelatedAddress...)
		b = strconv.AppendUint(append(b, " rport "...), uint64(c.RelatedPort), 10)
	}
	if c.TCPType != "" {
		b = append(append(b, " tcptype "...), c.TCPType...)
	}
	for _, e := range c.Extensions {
		b = append(append(b, ' '), e.Name...)
		if e.Value != "" {
			b = append(append(b, ' '), e.Value...)
		}
	}
	return b
}

func (c Candidate) String() string {
	var room [192]byte
	return string(c.Append(room[:0]))
}

// Candidates returns the a=candidate lines.
func (s *Section) Candidates() ([]Candidate, error) { return all(s, "candidate", ParseCandidate) }
