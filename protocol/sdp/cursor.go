package sdp

import (
	"strconv"
	"strings"
)

// A cursor reads one value from left to right. After the first error it stands still, so the callers ask once, at the
// end. Columns count from the beginning of the value.
type cursor struct {
	text string
	at   int
	err  error
}

func (c *cursor) rest() string { return c.text[c.at:] }

func (c *cursor) fail(reason string) {
	if c.err == nil {
		c.err = &Error{Column: c.at + 1, Reason: reason}
	}
}

// take reads up to the first byte of stops, or to the end; what is read must not be empty.
func (c *cursor) take(what, stops string) string {
	if c.err != nil {
		return ""
	}
	s := c.rest()
	if i := strings.IndexAny(s, stops); i >= 0 {
		s = s[:i]
	}
	if s == "" {
		c.fail(what + " was expected")
	}
	c.at += len(s)
	return s
}

func (c *cursor) word(what string) string { return c.take(what, " ") }

func (c *cursor) token(what string) string {
	from := c.at
	s := c.take(what, " ")
	if i := strings.IndexFunc(s, func(r rune) bool { return !isToken(r) }); i >= 0 {
		c.at = from + i
		c.fail(what + " is not a token")
		return ""
	}
	return s
}

// number reads digits. A number above the limit is an error.
func (c *cursor) number(what string, limit uint64) uint64 {
	if c.err != nil {
		return 0
	}
	s := c.rest()
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(s[:n], 10, 64)
	switch {
	case n == 0:
		c.fail(what + " was expected, a number")
		return 0
	case err != nil || v > limit:
		c.fail(what + " is above " + strconv.FormatUint(limit, 10))
		return 0
	}
	c.at += n
	return v
}

// space reads one space and what more of them follow.
func (c *cursor) space() {
	if c.err == nil && !c.skip(' ') {
		c.fail("a space was expected")
	}
	for c.skip(' ') {
	}
}

// skip reads b if it comes next.
func (c *cursor) skip(b byte) bool {
	if c.err != nil || c.at == len(c.text) || c.text[c.at] != b {
		return false
	}
	c.at++
	return true
}

// remainder reads all that is left.
func (c *cursor) remainder() string {
	if c.err != nil {
		return ""
	}
	s := c.rest()
	c.at = len(c.text)
	return s
}

// words reads all that is left, separated by spaces.
func (c *cursor) words() []string { return strings.Fields(c.remainder()) }

// end says whether something is left, spaces aside, and returns the first error.
func (c *cursor) end() error {
	if c.err == nil && strings.TrimRight(c.rest(), " ") != "" {
		c.fail("nothing more was expected")
	}
	return c.err
}

// isToken is token-char of RFC 8866 section 9.
func isToken(r rune) bool {
	return r > 0x20 && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]`, r)
}
