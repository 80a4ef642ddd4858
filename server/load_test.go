package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// load loads what the arguments, the environment and a file (none if "") say.
func load(t *testing.T, file string, environ []string, args ...string) *Loaded {
	t.Helper()
	t.Setenv("CONFIGURATION_DIRECTORY", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // whoever runs the tests may have none
	if file != "" {
		path := filepath.Join(t.TempDir(), "parley.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ)
}

func (l *Loaded) value(name string) Value {
	for _, v := range l.Values {
		if v.Setting.Name == name {
			return v
		}
	}
	return Value{}
}

func noProblems(t *testing.T, l *Loaded) {
	t.Helper()
	for _, p := range l.Problems {
		t.Errorf("unexpected problem: %s", p)
	}
}

func TestPrecedence(t *testing.T) {
	file := "https: :1001\ndrain: 11s\nname: a.lan\n"
	environ := []string{"PARLEY_HTTPS=:2002", "PARLEY_DRAIN=12s", "PATH=/bin"}

	l := load(t, file, environ, "--https", ":3003")
	noProblems(t, l)
	if l.Config.HTTPS != ":3003" || l.Config.Drain != 12*time.Second || !slices.Equal(l.Config.Names, []string{"a.lan"}) || l.Config.HTTP != "" {
		t.Errorf("got %+v", l.Config)
	}
	for name, want := range map[string]string{
		"https": ":3003 flag --https",
		"drain": "12s environment PARLEY_DRAIN",
		"name":  "a.lan " + l.File + ":3",
		"http":  ":8080 default",
	} {
		if v := l.value(name); v.Text+" "+v.Origin != want {
			t.Errorf("%s is %q from %q, want %q", name, v.Text, v.Origin, want)
		}
	}

	l = load(t, file, environ)
	if l.Config.HTTPS != ":2002" {
		t.Errorf("without the flag https is %s", l.Config.HTTPS)
	}
	if l = load(t, file, nil); l.Config.HTTPS != ":1001" {
		t.Errorf("with the file alone https is %s", l.Config.HTTPS)
	}
	if l = load(t, file, []string{"PARLEY_HTTPS="}); l.Config.HTTPS != ":1001" {
		t.Errorf("an empty variable sets https to %s", l.Config.HTTPS)
	}
	l = load(t, "", nil)
	noProblems(t, l)
	if l.File != "" || l.Config.public() {
		t.Errorf("with nothing said: file %q, %+v", l.File, l.Config)
	}
}

// Every setting can be said in each of the three ways, and they say the same.
func TestThreeWaysSayTheSame(t *testing.T) {
	samples := map[string]string{
		"http": ":1", "https": "off", "name": "a.lan,b.lan", "trusted-proxy": "10.0.0.0/8,192.168.1.5", "domain": "call.example",
		"public": "203.0.113.7", "passphrase": "correct horse", "open": "true", "tls-cert": "c.pem", "tls-key": "k.pem",
		"acme-email": "a@b.example", "acme-directory": "https://ca.example/dir", "acme-ca-file": "ca.pem",
		"turn": ":3479", "turns": "off", "external-address": "203.0.113.7,2001:db8::7", "relay-ports": "50000-50999",
		"relay-allow": "10.1.0.0/16", "turn-user": "ada:lovelace,bob:builder",
		"state-dir": "/srv/parley", "drain": "5m", "open-browser": "true", "log-format": "json", "log-level": "debug",
	}
	for _, s := range Settings() {
		sample, ok := samples[s.Name]
		if !ok {
			t.Errorf("no sample for %s", s.Name)
			continue
		}
		byFlag := load(t, "", nil, "--"+s.Name+"="+sample)
		byVariable := load(t, "", []string{s.Variable() + "=" + sample})
		byFile := load(t, s.Name+`: "`+sample+`"`, nil)
		want := s.text(&byFlag.Config)
		if want == s.text(new(Config)) {
			t.Errorf("--%s=%s changes nothing", s.Name, sample)
		}
		if got := s.text(&byVariable.Config); got != want {
			t.Errorf("%s=%s gives %q, the flag %q", s.Variable(), sample, got, want)
		}
		if got := s.text(&byFile.Config); got != want {
			t.Errorf("%s: %s gives %q, the flag %q", s.Name, sample, got, want)
		}
	}
}

func TestFile(t *testing.T) {
	l := load(t, `# what this machine serves
domain: [call.example, other.example]
trusted-proxy:
  - 10.0.0.2
  - fd00::/64
https: :8443   # plain scalars as people write them
drain: 0
open: true
`, nil)
	noProblems(t, l)
	c := l.Config
	if !slices.Equal(c.Domains, []string{"call.example", "other.example"}) || c.HTTPS != ":8443" || !c.Open || c.drain() != 0 ||
		!slices.Equal(c.Proxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("fd00::/64")}) {
		t.Errorf("got %+v", c)
	}
	noProblems(t, load(t, "# only a comment\n", nil))
	noProblems(t, load(t, "\n", nil))
}

func TestProblems(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		args    []string
		want    string // in a problem
		warning bool
	}{
		{"a key with a slip", "htps: :1\n", nil, nil, `parley.yaml:1: there is no setting "htps": did you mean https?`, false},
		{"a key of nothing", "http: :1\nzzzzzzzzzzzz: 1\n", nil, nil, `parley.yaml:2: there is no setting "zzzzzzzzzzzz": `, false},
		{"a key twice", "http: :1\nhttp: :2\n", nil, nil, "parley.yaml", false},
		{"not YAML", "http: [\n", nil, nil, "is not YAML", false},
		{"not even text", strings.Repeat("#", maxFile+1), nil, nil, "is larger than", false},
		{"not a mapping", "- http\n", nil, nil, "is not a list of settings", false},
		{"no value", "http:\n", nil, nil, "parley.yaml:1: http has no value", false},
		{"a nested value", "http:\n  port: 80\n", nil, nil, "takes a value or a list", false},
		{"a variable with a slip", "", []string{"PARLEY_HTPS=:1"}, nil, "environment PARLEY_HTPS: there is no such setting: did you mean PARLEY_HTTPS?", true},
		{"a value of the wrong kind", "", []string{"PARLEY_DRAIN=soon"}, nil, `environment PARLEY_DRAIN: "soon" is not a length of time`, false},
		{"a switch that is neither", "open: perhaps\n", nil, nil, `"perhaps" is neither true nor false`, false},
		{"a file that is not there", "", nil, []string{"--config", missing}, "flag --config: the configuration file cannot be read", false},
		{"a variable that names a file that is not there", "", []string{"PARLEY_CONFIG=" + missing}, nil, "environment PARLEY_CONFIG", false},
		{"a bad address", "https: localhost\n", nil, nil, `parley.yaml:1: https "localhost" is not a place to listen at`, false},
		{"a port out of range", "", nil, []string{"--http", ":70000"}, "flag --http: http", false},
		{"both off", "", nil, []string{"--http", "off", "--https", "off"}, "both off", false},
		{"the internet without https", "", nil, []string{"--domain", "call.example", "--https", "off"}, "could not be served securely", false},
		{"an address as domain", "", nil, []string{"--domain", "203.0.113.7"}, "use --public", false},
		{"an address with scheme", "", nil, []string{"--domain", "https://call.example"}, "leave scheme", false},
		{"a wildcard", "", nil, []string{"--domain", "*.example.org"}, "wildcard", false},
		{"a name that is not on the internet", "", nil, []string{"--domain", "kitchen.local"}, "not a name on the internet", false},
		{"a private address", "", nil, []string{"--public=192.168.1.5"}, "not an address on the internet", false},
		{"no address", "", nil, []string{"--public=here"}, "is not an address", false},
		{"a proxy that is everyone", "", nil, []string{"--trusted-proxy", "0.0.0.0/0"}, "would let everyone say who they are", false},
		{"a key without certificate", "", nil, []string{"--tls-key", "x"}, "tls-cert is missing", false},
		{"a certificate without key", "", nil, []string{"--tls-cert", "x"}, "tls-key is missing", false},
		{"a certificate that is not there", "", nil, []string{"--tls-cert", missing, "--tls-key", missing}, "no such file", false},
		{"a weak passphrase", "", nil, []string{"--passphrase", "short"}, "shorter than 8", false},
		{"a passphrase that does nothing", "", nil, []string{"--passphrase", "long enough", "--open"}, "choose one", false},
		{"a directory without TLS", "", nil, []string{"--acme-directory", "http://ca.example"}, "begins with https://", false},
		{"authorities that are not there", "", nil, []string{"--acme-ca-file", missing}, "acme-ca-file", false},
		{"no e-mail address", "", nil, []string{"--acme-email", "me"}, "not an e-mail", false},
		{"too long a drain", "", nil, []string{"--drain", "48h"}, "too long", false},
		{"a format of nothing", "", nil, []string{"--log-format", "xml"}, "none of auto, text, json", false},
		{"a level of nothing", "", nil, []string{"--log-level", "loud"}, "none of debug", false},
	} {
		l := load(t, c.file, c.environ, c.args...)
		if len(l.Problems) != 1 || !strings.Contains(l.Problems[0].String(), c.want) {
			t.Errorf("%s: %q, want one with %q", c.name, l.Problems, c.want)
			continue
		}
		err := l.Err()
		wrong, isConfig := errors.AsType[*ConfigError](err)
		if c.warning != (err == nil) || !c.warning && (!isConfig || wrong == nil) {
			t.Errorf("%s: starting gives %v", c.name, err)
		}
	}
}

// Names that others give to variables are not taken for slips.
func TestVariablesOfOthers(t *testing.T) {
	noProblems(t, load(t, "", []string{"PARLEY_DISABLE_GSO=1", "PARLEY_LONG=1", "PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_PORT=tcp://10.0.0.1:80", "PARLEY_PORT_80_TCP=x"}))
}

func TestFlagsRefuseBadValues(t *testing.T) {
	for _, arg := range []string{"--drain=soon", "--open=perhaps", "--trusted-proxy=x", "--trusted-proxy=::ffff:10.0.0.0/104", "--drain=-1s"} {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlags(flags)
		if err := flags.Parse([]string{arg}); err == nil {
			t.Errorf("%s was taken", arg)
		}
	}
}

func TestPublicWithoutValue(t *testing.T) {
	l := load(t, "", nil, "--public")
	noProblems(t, l)
	if !slices.Equal(l.Config.Public, []string{auto}) || l.value("https").Text != ":443" || l.value("http").Text != ":80" {
		t.Errorf("public %q, https %q, http %q", l.Config.Public, l.value("https").Text, l.value("http").Text)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	l := load(t, "", []string{"PARLEY_PASSPHRASE=correct horse"})
	noProblems(t, l)
	var text, asJSON bytes.Buffer
	if err := l.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteJSON(&asJSON); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String()+asJSON.String(), "horse") {
		t.Errorf("the passphrase is shown: %s%s", text.String(), asJSON.String())
	}
	if !strings.Contains(text.String(), "environment PARLEY_PASSPHRASE") || !strings.Contains(text.String(), "Nothing is wrong.") {
		t.Errorf("text is %s", text.String())
	}
	var out struct {
		Settings []struct{ Name, Value, Origin string }
		Problems []struct{ Origin, Message string }
	}
	if err := json.Unmarshal(asJSON.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Settings) != len(Settings()) || out.Problems == nil || len(out.Problems) != 0 {
		t.Errorf("JSON is %s", asJSON.String())
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"htps": "https", "state_dir": "state-dir", "domains": "domain", "trustedproxy": "trusted-proxy", "loglevel": "log-level",
	} {
		if got := nearest(word, settingNames()); !strings.Contains(got, "did you mean "+want+"?") {
			t.Errorf("%s: %s", word, got)
		}
	}
	if got := nearest("qqqqqqqqqq", settingNames()); strings.Contains(got, "did you mean") {
		t.Errorf("nothing is near qqqqqqqqqq, but: %s", got)
	}
}

func TestListenAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		":80": true, "localhost:8080": true, "127.0.0.1:0": true, "[::1]:8443": true, "[::]:443": true, "kitchen.local:80": true,
		"192.168.1.5:443,[fd00::5]:443": true, "192.168.1.5:443, localhost:443": true, "192.168.1.5:443,[fd00::5]:444": false, "192.168.1.5:443,": false,
		"": false, "80": false, "localhost": false, ":": false, ":x": false, ":080": false, ":65536": false, "::1:80": false,
		"[::1]": false, "[::1:80": false, "[1.2.3.4]:80": false, "a b:80": false, "http://localhost:80": false,
	} {
		if isListenAddress(address) != ok {
			t.Errorf("isListenAddress(%q) = %v", address, !ok)
		}
	}
}

// Whatever is in the file, loading ends with settings or with a problem that names a place.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"https: :8443\n", "domain: [a, b]\n", "http:\n  - x\n", "a: &x 1\nb: *x\n", "drain: |\n  30s\n", "? http\n: x\n", "<<: {http: x}\n", "---\nhttp: x\n---\nhttp: y\n", "{", "\t", "!!str http: x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &Loaded{}
		said := make(map[string]source)
		l.readFile("parley.yaml", data, said)
		for name, src := range said {
			if settingNamed(name) == nil || len(src.texts) == 0 {
				t.Fatalf("%q says %q for %q", data, src.texts, name)
			}
		}
		for _, p := range l.Problems {
			if !strings.HasPrefix(p.Origin, "parley.yaml") || p.Message == "" {
				t.Fatalf("%q: problem %q", data, p)
			}
		}
	})
}
