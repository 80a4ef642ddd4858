package sdp

import (
	"encoding/hex"
	"strings"
)

// A Fingerprint is the hash of a certificate (RFC 8122 section 5).
type Fingerprint struct {
	Hash  string // in lower case, as "sha-256"
	Value string // as it stands: bytes in hexadecimal with colons between
}

// ParseFingerprint reads the value of a=fingerprint.
func ParseFingerprint(value string) (Fingerprint, error) {
	c := cursor{text: value}
	f := Fingerprint{Hash: strings.ToLower(c.token("the hash function"))}
	c.space()
	at := c.at
	f.Value = c.word("the fingerprint")
	raw, err := hex.DecodeString(strings.ReplaceAll(f.Value, ":", ""))
	if c.err == nil && (err != nil || len(f.Value) != 3*len(raw)-1) {
		c.at = at
		c.fail("the fingerprint is not of bytes in hexadecimal with colons between")
	}
	return f, c.end()
}

func (f Fingerprint) String() string { return f.Hash + " " + f.Value }

// Fingerprints returns the a=fingerprint lines of this level.
func (s *Section) Fingerprints() ([]Fingerprint, error) {
	return all(s, "fingerprint", ParseFingerprint)
}

// A Setup is who opens the connection (RFC 4145 section 4).
type Setup string

// The values of a=setup.
const (
	Active   Setup = "active"
	Passive  Setup = "passive"
	ActPass  Setup = "actpass"
	HoldConn Setup = "holdconn"
)

// ParseSetup reads the value of a=setup.
func ParseSetup(value string) (Setup, error) {
	switch s := Setup(strings.ToLower(strings.TrimSpace(value))); s {
	case Active, Passive, ActPass, HoldConn:
		return s, nil
	}
	return "", &Error{Column: 1, Reason: "setup is active, passive, actpass or holdconn"}
}

// Setup returns the a=setup line of this level.
func (s *Section) Setup() (Setup, bool, error) { return one(s, "setup", ParseSetup) }

// ParseUfrag reads the value of a=ice-ufrag: 4 to 256 ice-chars (RFC 8839 section 5.4).
func ParseUfrag(value string) (string, error) { return iceChars("ice-ufrag", value, 4) }

// ParsePwd reads the value of a=ice-pwd: 22 to 256 ice-chars (RFC 8839 section 5.4).
func ParsePwd(value string) (string, error) { return iceChars("ice-pwd", value, 22) }

func iceChars(name, value string, shortest int) (string, error) {
	if len(value) < shortest || len(value) > 256 {
		return "", &Error{Column: 1, Reason: name + " is too short or too long"}
	}
	for i := range len(value) {
		// RFC 8839 has ALPHA, DIGIT, "+" and "/"; "-" and "_" are what others write, and harmless.
		if b := value[i]; !isAlphaNum(b) && !strings.ContainsRune("+/-_=", rune(b)) {
			return "", &Error{Column: i + 1, Reason: name + " has a character that is no ice-char"}
		}
	}
	return value, nil
}

func isAlphaNum(b byte) bool { return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' }

// Ufrag returns the a=ice-ufrag line of this level.
func (s *Section) Ufrag() (string, bool, error) { return one(s, "ice-ufrag", ParseUfrag) }

// Pwd returns the a=ice-pwd line of this level.
func (s *Section) Pwd() (string, bool, error) { return one(s, "ice-pwd", ParsePwd) }

// ICEOptions returns the tokens of all a=ice-options lines of this level (RFC 8839 section 5.6). libdatachannel, and so OBS, has a
// comma between them, which no token has in it.
func (s *Section) ICEOptions() []string {
	var options []string
	for v := range s.Attrs("ice-options") {
		options = append(options, strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' })...)
	}
	return options
}

// ParseTLSID reads the value of a=tls-id: 20 to 255 characters (RFC 8842 section 4).
func ParseTLSID(value string) (string, error) {
	if len(value) < 20 || len(value) > 255 {
		return "", &Error{Column: 1, Reason: "tls-id has 20 to 255 characters"}
	}
	for i := range len(value) {
		if b := value[i]; !isAlphaNum(b) && !strings.ContainsRune("+/-_", rune(b)) {
			return "", &Error{Column: i + 1, Reason: "tls-id has letters, digits, +, /, - and _ only"}
		}
	}
	return value, nil
}

// TLSID returns the a=tls-id line of this level.
func (s *Section) TLSID() (string, bool, error) { return one(s, "tls-id", ParseTLSID) }

// MID returns the a=mid line (RFC 5888 section 4).
func (m *Media) MID() (string, bool, error) {
	return one(&m.Section, "mid", func(value string) (string, error) {
		c := cursor{text: value}
		mid := c.token("the mid")
		return mid, c.end()
	})
}

// SCTPPort returns the port of a=sctp-port (RFC 8841 section 5) or of the legacy a=sctpmap.
func (m *Media) SCTPPort() (port uint16, ok bool, err error) {
	v, ok, err := one(&m.Section, "sctp-port", func(value string) (uint16, error) {
		c := cursor{text: value}
		n := c.number("the SCTP port", 65535)
		return uint16(n), c.end()
	})
	if ok || err != nil {
		return v, ok, err
	}
	s, ok, err := one(&m.Section, "sctpmap", ParseSCTPMap)
	return s.Port, ok, err
}

// An SCTPMap is the legacy a=sctpmap (draft-ietf-mmusic-sctp-sdp-03): "5000 webrtc-datachannel 1024".
type SCTPMap struct {
	Port    uint16
	App     string
	Streams uint16 // 0 if not given
}

// ParseSCTPMap reads the value of a=sctpmap.
func ParseSCTPMap(value string) (SCTPMap, error) {
	c := cursor{text: value}
	s := SCTPMap{Port: uint16(c.number("the SCTP port", 65535))}
	c.space()
	s.App = c.token("the application")
	if c.err == nil && strings.TrimSpace(c.rest()) != "" {
		c.space()
		s.Streams = uint16(c.number("the number of streams", 65535))
		c.remainder()
	}
	return s, c.end()
}

// MaxMessageSize returns a=max-message-size in bytes; 0 means any size (RFC 8841 section 6).
func (m *Media) MaxMessageSize() (size uint64, ok bool, err error) {
	return one(&m.Section, "max-message-size", func(value string) (uint64, error) {
		c := cursor{text: value}
		n := c.number("the size", 1<<63-1)
		return n, c.end()
	})
}
