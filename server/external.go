package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/server/machine"
)

// findExternal finds the addresses that the internet knows this machine by, if it is to be served.
func (s *server) findExternal() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := s.lookExternal(ctx)
	s.external.Store(&found)
	switch {
	case err == nil:
		return nil
	case len(s.cfg.Public) > 0:
		return &ConfigError{&SettingError{"public", "none of this machine's network interfaces has an address on the internet, and no cloud told of one: " +
			"write the one that the internet knows it by, as --public=203.0.113.7"}}
	}
	s.log.Warn("no address on the internet is known, so calls are relayed on the local network only: write the one that the internet knows this machine by, as --external-address 203.0.113.7")
	return nil
}

// lookExternal looks for the external addresses.
func (s *server) lookExternal(ctx context.Context) ([]netip.Addr, error) {
	look := externalAddresses
	if s.cfg.lookExternal != nil {
		look = s.cfg.lookExternal
	}
	return look(ctx, &s.cfg, s.watch.Here())
}

// followExternal keeps up with the domain in DNS, and with what the cloud says.
func (s *server) followExternal(ctx context.Context) {
	ticker := time.NewTicker(lookupEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.updateExternal(ctx)
		}
	}
}

// updateExternal looks the external addresses up again and reports whether they have changed. New allocations have the new ones then;
// those that are there keep theirs, which their peers know. A look-up that finds nothing, as in a gap of the network, changes nothing.
func (s *server) updateExternal(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := s.lookExternal(limited)
	if err != nil || len(found) == 0 || sameAddrs(found, *s.external.Load()) {
		return false
	}
	s.external.Store(&found)
	s.log.Info("the external address has changed: new calls are relayed from it, those that are there keep the one they have", "addresses", found)
	s.updateRelay()
	s.checkRelay(ctx)
	return true
}

// externalAddresses are those that the internet knows this machine by: what the operator says, else the addresses of
// its domain, else a public address of an interface.
func externalAddresses(ctx context.Context, cfg *Config, here *machine.Here) ([]netip.Addr, error) {
	if len(cfg.External) > 0 || !cfg.public() {
		return parseAddrs(cfg.External), nil
	}
	var found []netip.Addr
	for _, p := range cfg.Public {
		if addr, err := netip.ParseAddr(p); err == nil {
			found = append(found, addr.Unmap())
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, d := range cfg.Domains {
		addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", canonical(d)) // no answer is no address
		for _, a := range addrs {
			if a = a.Unmap(); isPublic(a) {
				found = append(found, a)
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, a := range here.Addrs {
		if isPublic(a) {
			found = append(found, a)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return askCloud(ctx, cloudAddress)
}

func parseAddrs(texts []string) (list []netip.Addr) {
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil { // Validate has seen the others
			list = append(list, a.Unmap())
		}
	}
	return list
}

func isPublic(a netip.Addr) bool { return a.IsGlobalUnicast() && !machine.IsNear(a) }

// sameAddrs compares without order: DNS tells addresses in any.
func sameAddrs(a, b []netip.Addr) bool {
	sorted := func(list []netip.Addr) []netip.Addr {
		return slices.Compact(slices.SortedFunc(slices.Values(list), netip.Addr.Compare))
	}
	return slices.Equal(sorted(a), sorted(b))
}

var errNoExternal = errors.New("no address is known under which the internet reaches this machine")
