package stun_test

import (
	"bytes"
	"testing"

	"github.com/parley-rtc/parley/protocol/stun"
)

// challenge builds a 401 or 438.
func challenge(t testing.TB, code stun.Code, realm, nonce string, algorithms ...stun.PasswordAlgorithm) stun.Message {
	t.Helper()
	return mustParse(t, answer(t, stun.Error, func(b *stun.Builder) {
		b.Error(code, "")
		if realm != "" {
			b.Text(stun.AttrRealm, realm)
		}
		if nonce != "" {
			b.Text(stun.AttrNonce, nonce)
		}
		if algorithms != nil {
			b.Bytes(stun.AttrPasswordAlgorithms, stun.AppendPasswordAlgorithms(nil, algorithms...))
		}
	}).Payload)
}

const (
	oldNonce       = "f//499k954d6OL34oL9FSTvy64sA"
	algorithmNonce = "obMatJos2gAAAxyz"
	anonymousNonce = "obMatJos2wAAAxyz"
)

// "the first request is sent as if there were no authentication or message integrity applied" (section 9.2.3.1)
func TestFirstRequestIsBare(t *testing.T) {
	c := stun.NewCredential("user", "pass")
	raw := message(t, func(b *stun.Builder) { c.Sign(b, stun.NewHasher()) })
	if len(raw) != stun.HeaderLen || c.Challenged() {
		t.Errorf("before a challenge %x is sent", raw)
	}
}

func TestAnswersToAChallenge(t *testing.T) { // section 9.2.5
	h := stun.NewHasher()
	for name, c := range map[string]struct {
		challenge stun.Message
		algorithm stun.PasswordAlgorithm
		listed    bool
		anonymous bool
	}{
		"RFC 5389 server":  {challenge(t, 401, "realm", oldNonce), stun.MD5, false, false},
		"SHA-256 first":    {challenge(t, 401, "realm", algorithmNonce, stun.SHA256, stun.MD5), stun.SHA256, true, false},
		"MD5 first":        {challenge(t, 401, "realm", algorithmNonce, stun.MD5, stun.SHA256), stun.MD5, true, false},
		"unknown first":    {challenge(t, 401, "realm", algorithmNonce, 99, stun.SHA256), stun.SHA256, true, false},
		"anonymous":        {challenge(t, 401, "realm", anonymousNonce, stun.SHA256), stun.SHA256, true, true},
		"unexpected stale": {challenge(t, 438, "realm", oldNonce), stun.MD5, false, false},
	} {
		cred := stun.NewCredential("user", "pass")
		if err := cred.Challenge(h, &c.challenge); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m := mustParse(t, message(t, func(b *stun.Builder) { cred.Sign(b, h) }))
		key := h.AppendLongTermKey(nil, c.algorithm, []byte("user"), []byte("realm"), []byte("pass"))
		if !h.Verify(&m, key) || !bytes.Equal(cred.Key(), key) {
			t.Errorf("%s: the integrity is not that of %v", name, c.algorithm)
		}
		for _, a := range []stun.AttrType{stun.AttrRealm, stun.AttrNonce, stun.AttrPasswordAlgorithms} {
			sent, _ := m.Get(a)
			got, _ := c.challenge.Get(a)
			if !bytes.Equal(sent, got) {
				t.Errorf("%s: attribute %04x goes back as %q, it came as %q", name, a, sent, got)
			}
		}
		// "all the subsequent requests MUST be authenticated using MESSAGE-INTEGRITY-SHA256 only"
		if sha1, sha256 := m.HasIntegrity(); sha256 != c.listed || sha1 == c.listed {
			t.Errorf("%s: MESSAGE-INTEGRITY %v, MESSAGE-INTEGRITY-SHA256 %v", name, sha1, sha256)
		}
		if m.Has(stun.AttrPasswordAlgorithm) != c.listed {
			t.Errorf("%s: PASSWORD-ALGORITHM %v", name, m.Has(stun.AttrPasswordAlgorithm))
		}
		if m.Has(stun.AttrUsername) == c.anonymous || m.Has(stun.AttrUserhash) != c.anonymous {
			t.Errorf("%s: USERNAME %v, USERHASH %v", name, m.Has(stun.AttrUsername), m.Has(stun.AttrUserhash))
		}
	}
}

func TestChallengesThatMustNotBeAnswered(t *testing.T) { // section 9.2.5
	h := stun.NewHasher()
	for name, c := range map[string]struct {
		challenge stun.Message
		want      error
	}{
		"algorithms taken out": {challenge(t, 401, "realm", algorithmNonce), stun.ErrBidDown},
		"no known algorithm":   {challenge(t, 401, "realm", algorithmNonce, 98, 99), stun.ErrNoAlgorithm},
		"no nonce":             {challenge(t, 401, "realm", ""), stun.ErrChallenge},
		"no realm":             {challenge(t, 401, "", oldNonce), stun.ErrChallenge},
		"another error":        {challenge(t, 403, "realm", oldNonce), stun.ErrChallenge},
	} {
		cred := stun.NewCredential("user", "pass")
		if err := cred.Challenge(h, &c.challenge); err != c.want || cred.Challenged() {
			t.Errorf("%s: %v, challenged %v", name, err, cred.Challenged())
		}
	}
}

func TestSecondChallenge(t *testing.T) {
	h := stun.NewHasher()
	cred := stun.NewCredential("user", "pass")
	first := challenge(t, 401, "realm", oldNonce)
	sign := func() { message(t, func(b *stun.Builder) { cred.Sign(b, h) }) }
	if err := cred.Challenge(h, &first); err != nil {
		t.Fatal(err)
	}
	sign()
	// "the client MUST retry the request, using the new NONCE attribute supplied in the 438 (Stale Nonce) response"
	stale := challenge(t, 438, "", "fresh")
	if err := cred.Challenge(h, &stale); err != nil {
		t.Fatal(err)
	}
	m := mustParse(t, message(t, func(b *stun.Builder) { cred.Sign(b, h) }))
	if nonce, _ := m.Get(stun.AttrNonce); string(nonce) != "fresh" {
		t.Errorf("after a 438 the nonce is %q", nonce)
	}
	// "The client MUST NOT perform this retry if it is not changing the USERNAME, USERHASH, REALM, or its associated
	// password from the previous attempt."
	if err := cred.Challenge(h, &first); err != stun.ErrRejected {
		t.Errorf("a 401 to a signed request: %v, want ErrRejected", err)
	}
	other := challenge(t, 401, "other realm", oldNonce)
	if err := cred.Challenge(h, &other); err != nil {
		t.Errorf("a 401 with another realm: %v", err)
	}
	if want := h.AppendLongTermKey(nil, stun.MD5, []byte("user"), []byte("other realm"), []byte("pass")); !bytes.Equal(cred.Key(), want) {
		t.Error("the key does not follow the realm")
	}
}
