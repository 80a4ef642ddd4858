package stun_test

import (
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/stun"
)

func TestNames(t *testing.T) {
	for m, want := range map[stun.Method]string{
		stun.Binding: "Binding", stun.Allocate: "Allocate", stun.Refresh: "Refresh", stun.Send: "Send", stun.Data: "Data",
		stun.CreatePermission: "CreatePermission", stun.ChannelBind: "ChannelBind", 0xABC: "method 0xabc",
	} {
		if m.String() != want {
			t.Errorf("method %x is called %q", uint16(m), m)
		}
	}
	for a, want := range map[stun.PasswordAlgorithm]string{stun.MD5: "MD5", stun.SHA256: "SHA-256", 9: "unknown password algorithm"} {
		if a.String() != want {
			t.Errorf("algorithm %d is called %q", uint16(a), a)
		}
	}
	for _, c := range []stun.Code{300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 487, 500, 508} {
		if r := c.Reason(); r == "" || !strings.Contains(c.String(), r) {
			t.Errorf("error %d has the reason %q and is called %q", uint16(c), r, c)
		}
	}
	if c := stun.Code(499); c.Reason() != "" || c.String() != "499" {
		t.Errorf("an unknown code is called %q", c)
	}
}
