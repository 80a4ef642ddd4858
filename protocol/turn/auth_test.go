package turn_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// signed writes a request with exactly the given attributes between REALM and integrity.
type signed struct {
	username, userhash, realm, nonce string
	algorithms, algorithm            []byte
	key                              []byte
	sha256                           bool
	method                           stun.Method
	plain                            bool
}

func (s signed) bytes(t testing.TB) []byte {
	t.Helper()
	if s.method == 0 {
		s.method = stun.Allocate
	}
	b := stun.NewBuilder(nil, stun.Request, s.method, stun.TransactionID{9})
	if s.method == stun.Allocate {
		udp(&b)
	}
	for _, a := range []struct {
		t stun.AttrType
		v string
	}{
		{stun.AttrUsername, s.username}, {stun.AttrUserhash, s.userhash}, {stun.AttrRealm, s.realm}, {stun.AttrNonce, s.nonce},
		{stun.AttrPasswordAlgorithms, string(s.algorithms)}, {stun.AttrPasswordAlgorithm, string(s.algorithm)},
	} {
		if a.v != "" {
			b.Text(a.t, a.v)
		}
	}
	switch {
	case s.plain:
	case s.sha256:
		b.IntegritySHA256(stun.NewHasher(), s.key)
	default:
		b.Integrity(stun.NewHasher(), s.key)
	}
	raw, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// nonce gets a nonce for a client.
func (c *client) nonce() string {
	c.t.Helper()
	m := c.exchange(signed{plain: true}.bytes(c.t))
	v, ok := m.Get(stun.AttrNonce)
	if !ok {
		c.t.Fatal("no NONCE")
	}
	return string(v)
}

// The checks of RFC 8489 section 9.2.4, one by one and in their order.
func TestChecksOfTheLongTermMechanism(t *testing.T) {
	h := stun.NewHasher()
	md5 := h.AppendLongTermKey(nil, stun.MD5, []byte("alice"), []byte("parley"), []byte("wonderland"))
	sha := h.AppendLongTermKey(nil, stun.SHA256, []byte("alice"), []byte("parley"), []byte("wonderland"))
	offered := stun.AppendPasswordAlgorithms(nil, stun.SHA256, stun.MD5)
	one := func(a stun.PasswordAlgorithm) []byte { return stun.AppendPasswordAlgorithms(nil, a) }
	hash := string(h.AppendUserhash(nil, []byte("alice"), []byte("parley")))
	for name, c := range map[string]struct {
		s    func(s signed) signed
		want stun.Code // 0: success
	}{
		"RFC 5389 client":                {func(s signed) signed { return s }, 0},
		"its SHA-256 without algorithms": {func(s signed) signed { s.sha256 = true; return s }, 0},
		"SHA-256": {func(s signed) signed {
			s.algorithms, s.algorithm, s.key, s.sha256 = offered, one(stun.SHA256), sha, true
			return s
		}, 0},
		"MD5 chosen from the list":        {func(s signed) signed { s.algorithms, s.algorithm, s.sha256 = offered, one(stun.MD5), true; return s }, 0},
		"userhash":                        {func(s signed) signed { s.username, s.userhash = "", hash; return s }, 0},
		"no username":                     {func(s signed) signed { s.username = ""; return s }, stun.CodeBadRequest},
		"no realm":                        {func(s signed) signed { s.realm = ""; return s }, stun.CodeBadRequest},
		"no nonce":                        {func(s signed) signed { s.nonce = ""; return s }, stun.CodeBadRequest},
		"algorithm without list":          {func(s signed) signed { s.algorithm, s.key = one(stun.SHA256), sha; return s }, stun.CodeBadRequest},
		"list without algorithm":          {func(s signed) signed { s.algorithms = offered; return s }, stun.CodeBadRequest},
		"another list than ours":          {func(s signed) signed { s.algorithms, s.algorithm = one(stun.MD5), one(stun.MD5); return s }, stun.CodeBadRequest},
		"an algorithm that is not listed": {func(s signed) signed { s.algorithms, s.algorithm = offered, one(7); return s }, stun.CodeBadRequest},
		"a malformed algorithm":           {func(s signed) signed { s.algorithms, s.algorithm = offered, []byte{0, 2}; return s }, stun.CodeBadRequest},
		"unknown user":                    {func(s signed) signed { s.username = "mallory"; return s }, stun.CodeUnauthenticated},
		"unknown userhash":                {func(s signed) signed { s.username, s.userhash = "", strings.Repeat("x", 32); return s }, stun.CodeUnauthenticated},
		"short userhash":                  {func(s signed) signed { s.username, s.userhash = "", "x"; return s }, stun.CodeUnauthenticated},
		"another realm":                   {func(s signed) signed { s.realm = "elsewhere"; return s }, stun.CodeUnauthenticated},
		"wrong key":                       {func(s signed) signed { s.key = sha; return s }, stun.CodeUnauthenticated},
		"wrong key, SHA-256":              {func(s signed) signed { s.algorithms, s.algorithm, s.sha256 = offered, one(stun.SHA256), true; return s }, stun.CodeUnauthenticated},
		"made-up nonce":                   {func(s signed) signed { s.nonce = "made up"; return s }, stun.CodeStaleNonce},
		"damaged nonce":                   {func(s signed) signed { s.nonce = s.nonce[:20] + "A" + s.nonce[21:] + "AAAA"; return s }, stun.CodeStaleNonce},
		// Bid-down: the nonce without its cookie is not one of ours.
		"nonce without features": {func(s signed) signed { s.nonce = s.nonce[stun.NonceCookieLen:]; return s }, stun.CodeStaleNonce},
		"features taken out":     {func(s signed) signed { s.nonce = strings.Replace(s.nonce, "gAAA", "AAAA", 1); return s }, stun.CodeStaleNonce},
		// The order: of several things wrong the first of the list counts.
		"no nonce and unknown user": {func(s signed) signed { s.nonce, s.username = "", "mallory"; return s }, stun.CodeBadRequest},
		"wrong key and stale nonce": {func(s signed) signed { s.nonce, s.key = "made up", sha; return s }, stun.CodeUnauthenticated},
	} {
		r := newRig(t)
		cl := r.client("5.9.0.1:1000", "nobody")
		s := c.s(signed{username: "alice", realm: "parley", nonce: cl.nonce(), key: md5})
		m := cl.exchange(s.bytes(t))
		code, _, _ := m.ErrorCode()
		if code != c.want {
			t.Errorf("%s: %v, want %v", name, code, c.want)
			continue
		}
		sha1, sha256 := m.HasIntegrity()
		switch code {
		case 0:
			// "Any response generated by the server MUST include the MESSAGE-INTEGRITY-SHA256 attribute ... unless the request
			// was processed as though PASSWORD-ALGORITHM was MD5 (because the request contained neither ...). In that case, the
			// MESSAGE-INTEGRITY attribute MUST be used instead".
			if listed := s.algorithms != nil; sha256 != listed || sha1 == listed || !h.Verify(&m, s.key) {
				t.Errorf("%s: the response has SHA-1 %v, SHA-256 %v", name, sha1, sha256)
			}
		case stun.CodeBadRequest:
			if m.Has(stun.AttrRealm) || m.Has(stun.AttrNonce) || sha1 || sha256 {
				t.Errorf("%s: a 400 with REALM, NONCE or integrity", name)
			}
		default:
			// "This response MUST include a REALM value. The response MUST include a NONCE ... MUST include a
			// PASSWORD-ALGORITHMS attribute."
			if !m.Has(stun.AttrRealm) || !m.Has(stun.AttrNonce) || !m.Has(stun.AttrPasswordAlgorithms) || m.Has(stun.AttrUsername) {
				t.Errorf("%s: a %v without REALM, NONCE or PASSWORD-ALGORITHMS, or with USERNAME", name, code)
			}
		}
	}
}

// RFC 8489 section 9.2.4: "The server MUST NOT choose the same NONCE for two requests unless they have the same source IP
// address and port." RFC 8656 section 5: the server "SHOULD expire the nonce at least once every hour".
func TestNonces(t *testing.T) {
	r := newRig(t)
	h := stun.NewHasher()
	key := h.AppendLongTermKey(nil, stun.MD5, []byte("alice"), []byte("parley"), []byte("wonderland"))
	code := func(from, nonce string) stun.Code {
		m := r.client(from, "nobody").exchange(signed{username: "alice", realm: "parley", nonce: nonce, key: key, method: stun.Refresh}.bytes(t))
		c, _, _ := m.ErrorCode()
		return c
	}
	nonce := r.client("5.9.0.1:1000", "nobody").nonce()
	if code("5.9.0.1:1000", nonce) != stun.CodeAllocationMismatch { // authenticated, and without an allocation
		t.Error("the client's own nonce is refused")
	}
	for _, other := range []string{"5.9.0.1:1001", "5.9.0.2:1000", "[2a01:4f8::1]:1000"} {
		if code(other, nonce) != stun.CodeStaleNonce || r.client(other, "nobody").nonce() == nonce {
			t.Errorf("%s may use the nonce of 5.9.0.1:1000", other)
		}
	}
	r.wait(time.Hour - 2*time.Second)
	if c := code("5.9.0.1:1000", nonce); c != stun.CodeAllocationMismatch {
		t.Errorf("before an hour is over: %v", c)
	}
	r.wait(2 * time.Second)
	if c := code("5.9.0.1:1000", nonce); c != stun.CodeStaleNonce {
		t.Errorf("after an hour: %v", c)
	}
	// "The NONCE attribute value MUST be valid": a client that goes on with the new one is served, and never notices.
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate(udp, living(3600))
	for range 5 {
		r.wait(50 * time.Minute)
		c.expect(0, stun.Refresh, living(3600))
	}
}

// The names of fixed users can stay private where no time-limited name needs to be read: the nonce then says so.
func TestUsernameAnonymity(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Secrets = nil })
	c := r.clientAs("5.9.0.1:1000", "alice", "wonderland")
	c.allocate()
	m := mustParse(t, c.build(stun.Refresh, nil))
	if m.Has(stun.AttrUsername) || !m.Has(stun.AttrUserhash) {
		t.Errorf("USERNAME %v, USERHASH %v", m.Has(stun.AttrUsername), m.Has(stun.AttrUserhash))
	}
	c.expect(0, stun.Refresh, nil)
	bob := r.clientAs("5.9.0.1:1000", "bob", "builder")
	bob.expect(stun.CodeWrongCredentials, stun.Refresh, nil)
}

// The password of a time-limited credential is base64(HMAC-SHA1(secret, username)), as other servers compute it.
func TestCredentialForm(t *testing.T) {
	expires := time.Unix(1_800_000_000, 0)
	username, password, err := turn.NewCredential(secret, "seat-7", expires, turn.Limits{Allocations: 4, Bandwidth: 250_000})
	if err != nil {
		t.Fatal(err)
	}
	if username != "1800000000:seat-7;a=4;b=250000" {
		t.Errorf("username %q", username)
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); password != want {
		t.Errorf("password %q, want %q", password, want)
	}
	for _, bad := range []string{"", "a;b", "line\nbreak", strings.Repeat("x", 401), "\xff"} {
		if _, _, err := turn.NewCredential(secret, bad, expires, turn.Limits{}); err == nil {
			t.Errorf("the name %q is accepted", bad)
		}
	}
	if _, _, err := turn.NewCredential(secret, "x", expires, turn.Limits{Allocations: -1}); err == nil {
		t.Error("negative limits are accepted")
	}
}

func TestTimeLimitedCredentials(t *testing.T) {
	soon := epoch.Add(time.Hour + time.Minute) // a minute after begin
	user, password, _ := turn.NewCredential(secret, "ada", soon, turn.Limits{})
	old, oldPassword, _ := turn.NewCredential("the secret before this one", "ada", soon, turn.Limits{})
	forged, forgedPassword, _ := turn.NewCredential("somebody else's secret", "ada", soon, turn.Limits{})
	spent, spentPassword, _ := turn.NewCredential(secret, "ada", epoch.Add(time.Hour), turn.Limits{})
	rotated := func(c *turn.Config) { c.Secrets = append(c.Secrets, "the secret before this one") }

	for name, c := range map[string]struct {
		user, password string
		want           stun.Code
	}{
		"current secret":      {user, password, 0},
		"secret before":       {old, oldPassword, 0},
		"other secret":        {forged, forgedPassword, stun.CodeUnauthenticated},
		"expired":             {spent, spentPassword, stun.CodeUnauthenticated},
		"expiry changed":      {"9" + user, password, stun.CodeUnauthenticated},
		"limit added":         {user + ";a=1000", password, stun.CodeUnauthenticated},
		"no expiry":           {"ada", password, stun.CodeUnauthenticated},
		"no name":             {"1800000000:", password, stun.CodeUnauthenticated},
		"signed minus":        {"-1:ada", password, stun.CodeUnauthenticated},
		"number of 40 digits": {strings.Repeat("9", 40) + ":ada", password, stun.CodeUnauthenticated},
	} {
		if got := newRig(t, rotated).clientAs("5.9.0.1:1000", c.user, c.password).code(stun.Allocate, udp); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}

	// The credential of a call expires and the call goes on; nobody can begin one with it.
	r := newRig(t)
	c := r.clientAs("5.9.0.1:1000", user, password)
	c.allocate()
	r.wait(5 * time.Minute)
	c.expect(0, stun.Refresh, nil)
	r.clientAs("5.9.0.1:1001", user, password).expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	// The clock was set back a day: the credential holds again.
	r.s.SetEpoch(epoch.Add(-24 * time.Hour))
	r.clientAs("5.9.0.1:1002", user, password).allocate()
}

// Limits in the credential lower those of the configuration and never raise them.
func TestLimitsInTheCredential(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Limits = turn.Limits{Allocations: 3, Bandwidth: 5000} })
	count := func(name string, l turn.Limits) (allocations, datagrams int) {
		user, password, err := turn.NewCredential(secret, name, epoch.Add(2*time.Hour), l)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			c := r.clientAs(fmt.Sprintf("5.9.%d.%d:1", len(name), i), user, password)
			if c.code(stun.Allocate, udp) != 0 {
				break
			}
			allocations++
			c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
			for range 20 {
				c.sendOn(0x4000, strings.Repeat("x", 500))
			}
			datagrams += len(r.take())
		}
		return allocations, datagrams
	}
	if a, d := count("a", turn.Limits{}); a != 3 || d != 10 {
		t.Errorf("without limits of its own: %d allocations, %d datagrams", a, d)
	}
	if a, d := count("bb", turn.Limits{Allocations: 1, Bandwidth: 2000}); a != 1 || d != 4 {
		t.Errorf("with lower limits: %d allocations, %d datagrams", a, d)
	}
	if a, d := count("ccc", turn.Limits{Allocations: 6, Bandwidth: 1 << 40}); a != 3 || d != 10 {
		t.Errorf("with higher limits: %d allocations, %d datagrams", a, d)
	}
}

// A credential dies with the seat that it was made for: its allocations end, and no credential of the name opens another.
func TestRevoke(t *testing.T) {
	r := newRig(t)
	until := epoch.Add(3 * time.Hour)
	a, b, other := r.client("5.9.0.1:1", "seat-1"), r.client("5.9.0.1:2", "seat-1"), r.client("5.9.0.1:3", "seat-10")
	for _, c := range []*client{a, b, other} {
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	}
	r.s.Revoke(r.now, "seat-1", until)
	r.settle()
	if n := r.s.Counters().Allocations; n != 1 || len(r.relays) != 1 {
		t.Errorf("%d allocations and %d sockets are left", n, len(r.relays))
	}
	r.dropped(turn.DropNoAllocation, func() { a.sendOn(0x4000, "x") })
	a.expect(stun.CodeUnauthenticated, stun.Refresh, nil)
	r.client("5.9.0.2:1", "seat-1").expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	renewed, password, _ := turn.NewCredential(secret, "seat-1", until.Add(-time.Minute), turn.Limits{})
	r.clientAs("5.9.0.2:2", renewed, password).expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	other.sendOn(0x4000, "still here")
	r.wantSent(r.one(), other.relayed, peer4, "still here")

	r.s.Revoke(r.now, "alice", epoch.Add(time.Hour+time.Minute)) // fixed users too
	alice := r.clientAs("5.9.0.3:1", "alice", "wonderland")
	alice.expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	r.wait(time.Minute)
	r.clientAs("5.9.0.3:1", "alice", "wonderland").allocate()
}

// What is remembered of the revoked is bounded, and the first to end is forgotten first.
func TestRevocationsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 1 << 16 {
		r.s.Revoke(r.now, fmt.Sprint("seat", i), epoch.Add(2*time.Hour+time.Duration(i)*time.Second))
	}
	r.s.Revoke(r.now, "last", epoch.Add(5*time.Hour))
	if n := r.s.Counters().Evicted; n != 1 {
		t.Errorf("%d evicted, want 1", n)
	}
	r.client("5.9.0.1:1", "seat0").allocate()
	r.client("5.9.0.1:2", "seat1").expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	r.client("5.9.0.1:3", "last").expect(stun.CodeUnauthenticated, stun.Allocate, udp)
	r.s.SetEpoch(epoch.Add(4 * time.Hour)) // most are over now, and make room
	r.s.Revoke(r.now, "another", epoch.Add(9*time.Hour))
	if n := r.s.Counters().Evicted; n != 1 {
		t.Errorf("%d evicted after many had ended, want 1", n)
	}
}

// STUN: Binding needs no credential (RFC 8489 section 12), and unknown attributes are named (section 6.3.1).
func TestBinding(t *testing.T) {
	r := newRig(t)
	for _, c := range []*client{r.client("5.9.0.1:1000", "nobody"), r.client("[2a01:4f8::1]:1000", "nobody"), r.stream("5.9.0.1:1000", "nobody")} {
		for _, fingerprint := range []bool{false, true} {
			c.fingerprint = fingerprint
			m := c.exchange(c.build(stun.Binding, func(b *stun.Builder) { b.Uint32(stun.AttrPriority, 1) }))
			if a, err := m.XORAddress(stun.AttrXORMappedAddress); err != nil || a != c.path.Remote || m.HasFingerprint() != fingerprint {
				t.Errorf("%v: mapped to %v, %v, FINGERPRINT %v", c.path.Remote, a, err, m.HasFingerprint())
			}
		}
		m := c.exchange(c.build(stun.Binding, func(b *stun.Builder) { b.Uint32(0x0003, 4) })) // CHANGE-REQUEST of RFC 3489
		code, _, _ := m.ErrorCode()
		for u := range m.UnknownAttributes() {
			if u != 3 {
				t.Errorf("UNKNOWN-ATTRIBUTES %04x", u)
			}
		}
		if code != stun.CodeUnknownAttribute || !m.Has(stun.AttrUnknownAttributes) {
			t.Errorf("an unknown attribute: %v", code)
		}
	}
	keepAlive := stun.NewBuilder(nil, stun.Indication, stun.Binding, stun.TransactionID{})
	raw, _ := keepAlive.Message()
	r.deliver(pkt.Path{Socket: listening, Local: server4, Remote: ap("5.9.0.1:1")}, raw)
	r.none("a Binding indication")
}

func TestConfigIsValidated(t *testing.T) {
	for name, change := range map[string]func(*turn.Config){
		"no entropy":         func(c *turn.Config) { c.Entropy = nil },
		"failing entropy":    func(c *turn.Config) { c.Entropy = failing{} },
		"long realm":         func(c *turn.Config) { c.Realm = strings.Repeat("r", 33) },
		"quoted realm":       func(c *turn.Config) { c.Realm = `a"b` },
		"long software":      func(c *turn.Config) { c.Software = strings.Repeat("s", 65) },
		"short secret":       func(c *turn.Config) { c.Secrets = []string{"short"} },
		"five secrets":       func(c *turn.Config) { c.Secrets = []string{secret, secret, secret, secret, secret} },
		"no time of day":     func(c *turn.Config) { c.Epoch = time.Time{} },
		"user twice":         func(c *turn.Config) { c.Users = append(c.Users, c.Users[0]) },
		"user without name":  func(c *turn.Config) { c.Users = []turn.User{{Password: "x"}} },
		"user like a ticket": func(c *turn.Config) { c.Users = []turn.User{{Name: "1:x", Password: "x"}} },
		"no password":        func(c *turn.Config) { c.Users = []turn.User{{Name: "x"}} },
		"control characters": func(c *turn.Config) { c.Users = []turn.User{{Name: "x", Password: "a\x00"}} },
		"two IPv4 relays":    func(c *turn.Config) { c.Relay = append(c.Relay, server4.Addr()) },
		"unspecified relay":  func(c *turn.Config) { c.Relay[0] = ap("0.0.0.0:0").Addr() },
		"ports reversed":     func(c *turn.Config) { c.MinPort, c.MaxPort = 50000, 49999 },
		"well-known ports":   func(c *turn.Config) { c.MinPort = 80 },
		"short life":         func(c *turn.Config) { c.MaxLifetime = time.Minute },
		"long life":          func(c *turn.Config) { c.MaxLifetime = 2 * time.Hour },
		"negative limits":    func(c *turn.Config) { c.Limits.Bandwidth = -1 },
		"negative bounds":    func(c *turn.Config) { c.PerAddress = -1 },
		"user's limits":      func(c *turn.Config) { c.Users[0].Limits.Allocations = -1 },
	} {
		cfg := config()
		change(&cfg)
		if _, err := turn.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "wonderland") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	if _, err := turn.New(turn.Config{Entropy: seeded(1)}); err != nil {
		t.Errorf("a Config with entropy alone: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// Nothing that an unauthenticated client can get has more than 128 bytes, whatever the configuration.
func TestLongestChallenge(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Realm, c.Software = strings.Repeat("r", 32), strings.Repeat("s", 64) })
	c := r.client("[2a01:4f8::1]:65535", "nobody")
	c.fingerprint = true
	m := c.exchange(c.build(stun.Allocate, udp))
	if n := len(m.Bytes()); n > 128 || !m.HasFingerprint() || !bytes.Contains(m.Bytes(), []byte("rrrr")) {
		t.Errorf("a challenge of %d bytes", n)
	}
}
