package server

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Setting is one thing that can be said about a server, in any of three ways: as --name, as PARLEY_NAME, or as name:
// in the configuration file. The table in [Settings] is all there is to each; flags, help, documentation, loading and
// `parley config` are made from it.
type Setting struct {
	Name    string                 // as in --name
	Value   string                 // what the documentation calls its value; "" for a switch
	Bare    string                 // the value that the flag has when none is written behind it
	Help    string                 // one sentence, without a full stop
	Group   string                 // heading under which it is documented
	Secret  bool                   // its value is never shown
	field   func(c *Config) any    // pointer to the field it sets
	inForce func(c *Config) string // what applies where the field is not set; nil: nothing
}

// Variable is the name of the environment variable that says the same.
func (s *Setting) Variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

const variablePrefix = "PARLEY_"

// Settings returns the table, in the order of the documentation.
func Settings() []*Setting { return settings }

var settings = []*Setting{
	{Name: "http", Value: "address", Group: "Where it listens",
		Help:    "where plain http listens: :port, host:port (several of one port with commas), or off. The app is served there to this machine; everyone else is sent to https",
		field:   func(c *Config) any { return &c.HTTP },
		inForce: (*Config).httpAddress},
	{Name: "https", Value: "address", Group: "Where it listens",
		Help:    "where https listens: :port, host:port (several of one port with commas), or off",
		field:   func(c *Config) any { return &c.HTTPS },
		inForce: (*Config).httpsAddress},
	{Name: "name", Value: "name", Group: "Where it listens",
		Help:  "another name or address of this machine on the local network, beside those it knows by itself; may be repeated",
		field: func(c *Config) any { return &c.Names }},
	{Name: "trusted-proxy", Value: "network", Group: "Where it listens",
		Help:  "a reverse proxy's address or network (CIDR): Forwarded and X-Forwarded-* are taken from there and from nobody else; may be repeated",
		field: func(c *Config) any { return &c.Proxies }},

	{Name: "domain", Value: "name", Group: "On the internet",
		Help:  "serve the internet under this name, with a certificate from an ACME authority (its terms are agreed to by this); may be repeated",
		field: func(c *Config) any { return &c.Domains }},
	{Name: "public", Value: "address", Bare: auto, Group: "On the internet",
		Help:  "serve the internet under a bare address (--public=203.0.113.7), or without a value under those of the network interfaces; may be repeated",
		field: func(c *Config) any { return &c.Public }},
	{Name: "passphrase", Value: "words", Secret: true, Group: "On the internet",
		Help:    "what a host on the internet must say to open a room; made at first start if not given. Other users of the machine can see flags: say it in the environment or the file",
		field:   func(c *Config) any { return &c.Passphrase },
		inForce: func(*Config) string { return "made at first start and kept in the state folder" }},
	{Name: "open", Group: "On the internet",
		Help:  "let anyone on the internet open rooms, without a passphrase",
		field: func(c *Config) any { return &c.Open }},

	{Name: "turn", Value: "address", Group: "Relay",
		Help:    "where STUN and TURN listen, udp and tcp: :port, host:port (several of one port with commas), or off for no relay",
		field:   func(c *Config) any { return &c.TURN },
		inForce: (*Config).turnAddress},
	{Name: "turns", Value: "address", Group: "Relay",
		Help:    "where TURN over TLS (tcp) and over DTLS (udp) listens, beside the https port: :port, host:port (several of one port with commas), or off",
		field:   func(c *Config) any { return &c.TURNS },
		inForce: (*Config).turnsAddress},
	{Name: "external-address", Value: "address", Group: "Relay",
		Help:  "the address that the internet knows this machine by, where it cannot find out by itself; one of each kind, IPv4 and IPv6",
		field: func(c *Config) any { return &c.External }},
	{Name: "relay-ports", Value: "first-last", Group: "Relay",
		Help:    "the udp ports that relayed calls use",
		field:   func(c *Config) any { return &c.RelayPorts },
		inForce: (*Config).relayPortText},
	{Name: "relay-allow", Value: "network", Group: "Relay",
		Help:  "a private network (CIDR) that may be relayed to; without it, none may. Whoever has a credential then reaches what is there; may be repeated",
		field: func(c *Config) any { return &c.RelayAllow }},
	{Name: "turn-user", Value: "name:password", Secret: true, Group: "Relay",
		Help:  "an account on the relay for other programs; may be repeated",
		field: func(c *Config) any { return &c.TURNUsers }},

	{Name: "tls-cert", Value: "file", Group: "Certificates",
		Help:  "use this certificate chain (PEM) instead of ACME; a renewed file is picked up by itself",
		field: func(c *Config) any { return &c.TLSCert }},
	{Name: "tls-key", Value: "file", Group: "Certificates",
		Help:  "the key of --tls-cert (PEM)",
		field: func(c *Config) any { return &c.TLSKey }},
	{Name: "acme-email", Value: "address", Group: "Certificates",
		Help:  "where the ACME authority may write to",
		field: func(c *Config) any { return &c.ACMEEmail }},
	{Name: "acme-directory", Value: "url", Group: "Certificates",
		Help:    "the ACME authority to use",
		field:   func(c *Config) any { return &c.ACMEDirectory },
		inForce: (*Config).acmeDirectory},
	{Name: "acme-ca-file", Value: "file", Group: "Certificates",
		Help:  "trust these authorities (PEM) when talking to --acme-directory, instead of the system's",
		field: func(c *Config) any { return &c.ACMECAFile }},

	{Name: "state-dir", Value: "folder", Group: "Running",
		Help:    "folder for keys and certificates, for this user alone (mode 0700)",
		field:   func(c *Config) any { return &c.StateDir },
		inForce: (*Config).stateDir},
	{Name: "drain", Value: "duration", Group: "Running",
		Help:    "how long calls may go on after the order to stop; 0 stops at once",
		field:   func(c *Config) any { return &c.Drain },
		inForce: func(c *Config) string { return c.drain().String() }},
	{Name: "open-browser", Group: "Running",
		Help:  "open the app in this machine's browser once ready",
		field: func(c *Config) any { return &c.OpenBrowser }},
	{Name: "log-format", Value: "format", Group: "Running",
		Help:    "text, json, or auto: text on a terminal, json elsewhere",
		field:   func(c *Config) any { return &c.LogFormat },
		inForce: func(*Config) string { return auto }},
	{Name: "log-level", Value: "level", Group: "Running",
		Help:    "debug, info, warn or error; debug has a line for each request, without addresses",
		field:   func(c *Config) any { return &c.LogLevel },
		inForce: func(*Config) string { return "info" }},
}

func settingNamed(name string) *Setting {
	for _, s := range settings {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// set parses texts into c's field. A setting that is not a list takes the last one.
func (s *Setting) set(c *Config, texts []string) error {
	last := texts[len(texts)-1]
	switch f := s.field(c).(type) {
	case *string:
		*f = last
	case *bool:
		v, err := strconv.ParseBool(last)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", last)
		}
		*f = v
	case *time.Duration:
		v, err := time.ParseDuration(last)
		switch {
		case last == "0":
			v = 0
		case err != nil || v < 0:
			return fmt.Errorf("%q is not a length of time: write 30s, 5m or 0", last)
		}
		if v == 0 {
			v = -1 // in a Config, zero is "not said"
		}
		*f = v
	case *[]string:
		*f = splitList(texts)
	case *[]netip.Prefix:
		list := []netip.Prefix{}
		for _, t := range splitList(texts) {
			p, err := parsePrefix(t)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		*f = list
	default:
		panic(fmt.Sprintf("setting %s has a field of type %T", s.Name, f))
	}
	return nil
}

// text is the value in force, as it would be written; "" if there is none.
func (s *Setting) text(c *Config) string {
	var t string
	switch f := s.field(c).(type) {
	case *string:
		t = *f
	case *bool:
		return strconv.FormatBool(*f)
	case *time.Duration:
		if *f != 0 {
			t = max(*f, 0).String()
		}
	case *[]string:
		t = strings.Join(*f, ", ")
	case *[]netip.Prefix:
		var list []string
		for _, p := range *f {
			list = append(list, p.String())
		}
		t = strings.Join(list, ", ")
	}
	if t == "" && s.inForce != nil {
		return s.inForce(c)
	}
	return t
}

// isSwitch reports whether the setting is on or off.
func (s *Setting) isSwitch() bool {
	_, ok := s.field(new(Config)).(*bool)
	return ok
}

func splitList(texts []string) []string {
	list := []string{}
	for _, t := range texts {
		for part := range strings.SplitSeq(t, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network: write 10.0.0.2 or 10.0.0.0/24", s)
	}
	if p.Addr().Is4In6() {
		return p, errors.New("write an IPv4 network as such, not mapped into IPv6")
	}
	return p.Masked(), nil
}
