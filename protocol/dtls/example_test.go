package dtls_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Two ends in one program: each one's datagrams are handed to the other. Over a network the same calls stand around a
// socket, and HandleTimeout is called at NextTimeout: the program in examples/dtls-echo does that.
func Example() {
	newEnd := func(role dtls.Role) *dtls.Conn {
		cert, err := dtls.GenerateCertificate(rand.Reader, time.Now(), time.Now().AddDate(0, 1, 0))
		if err != nil {
			panic(err)
		}
		conn, err := dtls.New(role, &dtls.Config{Entropy: rand.Reader, Certificate: cert, SRTPProfiles: dtls.DefaultSRTPProfiles()})
		if err != nil {
			panic(err)
		}
		return conn
	}
	client, server := newEnd(dtls.Client), newEnd(dtls.Server)
	now := mono.Time(1) // nanoseconds of a monotonic clock

	turn := func(from, to *dtls.Conn) {
		from.RunJobs(now)
		for ev, ok := from.NextEvent(); ok; ev, ok = from.NextEvent() {
			switch ev.Kind {
			case dtls.PeerCertificate:
				// Here the caller compares dtls.MatchFingerprint(ev.Certificates[0], promised).
				from.Accept(now)
			case dtls.Connected:
				s := from.State()
				fmt.Println("connected by", s.Version, s.CipherSuite, s.Group, s.SRTPProfile)
				if from == client {
					record, _ := from.AppendRecord(nil, []byte("hello"))
					to.HandleDatagram(now, record)
				}
			case dtls.Data:
				fmt.Printf("received %q\n", ev.Data)
			}
		}
		for b := from.AppendDatagram(nil, now); len(b) > 0; b = from.AppendDatagram(nil, now) {
			to.HandleDatagram(now, b)
		}
	}
	for range 6 {
		turn(client, server)
		turn(server, client)
	}
	// Output:
	// connected by DTLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768 SRTP_AEAD_AES_128_GCM
	// connected by DTLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768 SRTP_AEAD_AES_128_GCM
	// received "hello"
}
