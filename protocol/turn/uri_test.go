package turn_test

import (
	"errors"
	"testing"

	"github.com/parley-rtc/parley/protocol/turn"
)

// RFC 7064 appendix A and RFC 7065 appendix A: the tables of examples, and what browsers are given.
func TestParseURI(t *testing.T) {
	for s, want := range map[string]turn.URI{
		"stun:example.org":                    {"stun", "example.org", 3478, "udp"},
		"stuns:example.org":                   {"stuns", "example.org", 5349, "tcp"},
		"stun:example.org:8000":               {"stun", "example.org", 8000, "udp"},
		"turn:example.org":                    {"turn", "example.org", 3478, "udp"},
		"turns:example.org":                   {"turns", "example.org", 5349, "tcp"},
		"turn:example.org:8000":               {"turn", "example.org", 8000, "udp"},
		"turn:example.org?transport=udp":      {"turn", "example.org", 3478, "udp"},
		"turn:example.org?transport=tcp":      {"turn", "example.org", 3478, "tcp"},
		"turns:example.org?transport=tcp":     {"turns", "example.org", 5349, "tcp"},
		"turns:example.org:443?transport=udp": {"turns", "example.org", 443, "udp"},
		"TURN:Example.ORG":                    {"turn", "example.org", 3478, "udp"},
		"stun:[2001:db8::1]":                  {"stun", "2001:db8::1", 3478, "udp"},
		"turn:[2001:db8::1]:99?transport=tcp": {"turn", "2001:db8::1", 99, "tcp"},
		"stun:192.0.2.1:1":                    {"stun", "192.0.2.1", 1, "udp"},
	} {
		got, err := turn.ParseURI(s)
		if err != nil || got != want {
			t.Errorf("ParseURI(%q) = %+v, %v; want %+v", s, got, err, want)
			continue
		}
		if again, err := turn.ParseURI(got.String()); err != nil || again != want {
			t.Errorf("%q became %q, which is %+v, %v", s, got, again, err)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for _, s := range []string{
		"", "stun", "stun:", "turn:", "http://example.org", "stun://example.org", "turn:example.org:", "turn:example.org:0",
		"turn:example.org:65536", "turn:example.org:x", "turn:example.org:+1", "turn:example.org:-1", "stun:example.org?transport=udp",
		"turn:example.org?transport=sctp", "turn:example.org?transport=", "turn:example.org?", "turn:example.org?transport=udp&a=b",
		"turn:user@example.org", "turn:2001:db8::1", "turn:[example.org]", "turn:[::1", "turn:[::1]x", "turn:[fe80::1%eth0]",
		"turn:exa mple.org", "turn:example.org/path", "relay:example.org", "turn:[192.0.2.1]", " stun:example.org",
	} {
		if u, err := turn.ParseURI(s); !errors.Is(err, turn.ErrURI) {
			t.Errorf("ParseURI(%q) = %+v, %v", s, u, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"stun:example.org", "turns:[2001:db8::1]:443?transport=udp", "turn:a:1?transport=tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := turn.ParseURI(s)
		if err != nil {
			return
		}
		if again, err := turn.ParseURI(u.String()); err != nil || again != u {
			t.Errorf("%q is %+v, and written again %+v, %v", s, u, again, err)
		}
	})
}
