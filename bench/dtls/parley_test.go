//go:build unix

package dtls_test

import (
	"crypto/rand"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

// parley makes handshakes of one version between two of Parley's connections, which offer these groups and choose the first.
func parley(version dtls.Version, groups ...dtls.Group) func(*dtls.Certificate) func() error {
	return func(own *dtls.Certificate) func() error {
		cfg := &dtls.Config{Entropy: rand.Reader, Certificate: own, SRTPProfiles: dtls.DefaultSRTPProfiles(),
			MinVersion: version, MaxVersion: version, Groups: groups}
		return func() error {
			client, err := dtls.New(dtls.Client, cfg)
			if err != nil {
				return err
			}
			server, err := dtls.New(dtls.Server, cfg)
			if err != nil {
				return err
			}
			return shake(client, server, version, groups[0])
		}
	}
}

// shake lets the ends take turns until both are connected.
func shake(client, server *dtls.Conn, version dtls.Version, group dtls.Group) error {
	const now = mono.Time(1)
	connected := 0
	for range 20 {
		for _, pair := range [][2]*dtls.Conn{{client, server}, {server, client}} {
			end, other := pair[0], pair[1]
			end.RunJobs(now)
			for ev, ok := end.NextEvent(); ok; ev, ok = end.NextEvent() {
				switch ev.Kind {
				case dtls.PeerCertificate:
					end.Accept(now)
				case dtls.Connected:
					if s := end.State(); s.Version == version && s.Group == group {
						connected++
					}
				case dtls.Closed:
					return ev.Err
				}
			}
			for d := end.AppendDatagram(nil, now); len(d) > 0; d = end.AppendDatagram(nil, now) {
				other.HandleDatagram(now, d)
			}
		}
		if connected == 2 {
			return nil
		}
	}
	return errUnfinished
}
