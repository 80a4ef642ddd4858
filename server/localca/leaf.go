package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/state"
)

const leafFile = "local.pem"

// A Leaf is the certificate that the local network sees. It is kept across restarts, so that who has accepted it once
// is not asked again, and made anew when the machine's names change or its time is nearly over. It is safe for
// concurrent use.
type Leaf struct {
	authority *Authority
	dir       *state.Dir
	current   atomic.Pointer[tls.Certificate]
}

// OpenLeaf takes the certificate kept in dir or makes one for here; see [Leaf.Update].
func OpenLeaf(dir *state.Dir, authority *Authority, here *machine.Here, names []string, now time.Time) (*Leaf, []string, error) {
	l := &Leaf{authority: authority, dir: dir}
	data, err := dir.Read(leafFile)
	switch {
	case err == nil:
		if pair, err := tls.X509KeyPair(data, data); err == nil {
			l.current.Store(&pair) // a broken one is made anew: nobody but this machine had it
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("localca: %w", err)
	}
	left, _, err := l.Update(here, names, now)
	return l, left, err
}

// Update makes the certificate anew if it does not fit here and the further names, was signed by another authority or is
// near its end, and reports whether it did. Names that the authority may not certify are left out and returned.
func (l *Leaf) Update(here *machine.Here, names []string, now time.Time) (left []string, made bool, err error) {
	want, left := l.wanted(here, names)
	old := l.current.Load()
	if old != nil && l.fits(old, want, now) {
		return left, false, nil
	}
	var key *ecdsa.PrivateKey
	if old != nil {
		key, _ = old.PrivateKey.(*ecdsa.PrivateKey)
	}
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return left, false, fmt.Errorf("localca: %w", err)
		}
	}
	der, err := l.authority.sign(want, key, now)
	if err != nil {
		return left, false, fmt.Errorf("localca: %w", err)
	}
	data, err := encode(der, key)
	if err != nil {
		return left, false, fmt.Errorf("localca: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return left, false, fmt.Errorf("localca: %w", err)
	}
	l.current.Store(&pair)
	if err := l.dir.Write(leafFile, data); err != nil {
		return left, true, fmt.Errorf("localca: the certificate is in use but could not be kept: %w", err)
	}
	return left, true, nil
}

// wanted returns what the certificate should be for, and what it cannot be for.
func (l *Leaf) wanted(here *machine.Here, names []string) (want, left []string) {
	all := []string{"localhost", "127.0.0.1", "::1"}
	all = append(all, here.Names()...)
	for _, addr := range here.Addrs {
		if machine.IsNear(addr) {
			all = append(all, addr.String())
		}
	}
	all = append(all, names...)
	for _, name := range all {
		switch {
		case slices.Contains(want, name):
		case l.authority.Permits(name):
			want = append(want, name)
		default:
			left = append(left, name)
		}
	}
	slices.Sort(want)
	return want, left
}

func (l *Leaf) fits(pair *tls.Certificate, want []string, now time.Time) bool {
	cert := pair.Leaf
	if cert.CheckSignatureFrom(l.authority.cert) != nil || now.Before(cert.NotBefore) || now.After(cert.NotAfter.Add(-renewBefore)) {
		return false
	}
	has := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			has = append(has, addr.Unmap().String())
		}
	}
	slices.Sort(has)
	return slices.Equal(has, want)
}

// Certificate is the one to show now.
func (l *Leaf) Certificate() *tls.Certificate { return l.current.Load() }
