package sctp_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	pion "github.com/pion/sctp"

	"github.com/parley-rtc/parley/protocol/sctp"
)

// Both directions at once, on two streams each: with interleaving and without, and with SNAP.
func TestPion(t *testing.T) {
	for _, c := range []struct{ interleaved, snap bool }{{true, false}, {false, false}, {true, true}} {
		t.Run(fmt.Sprintf("interleaved %v, SNAP %v", c.interleaved, c.snap), func(t *testing.T) {
			size := volume()
			ours, theirs := pair(t)
			options := []pion.ClientOption{
				pion.WithNetConn(theirs), pion.WithEnableInterleaving(c.interleaved), pion.WithMaxReceiveBufferSize(4 << 20),
				pion.WithMaxMessageSize(messageSize), pion.WithBlockWrite(true),
			}
			var cfg sctp.Config
			if c.snap {
				cfg = snap(t, cfg, &options)
			}
			e := begin(t, ours, size, cfg)
			a, err := pion.ClientWithOptions(options...)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			done := make(chan error, 2*len(streams))
			for _, id := range streams {
				s, err := a.OpenStream(uint16(id), pion.PayloadTypeWebRTCBinary)
				if err != nil {
					t.Fatal(err)
				}
				go func() { done <- send(s, id, size) }()
				go func() { done <- receive(s, id, size) }()
			}
			e.wait(c.interleaved, sctp.DefaultBasePacket) // Pion throws away packets with a PAD
			for range cap(done) {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func send(s *pion.Stream, id sctp.StreamID, size int) error {
	g := generator(id)
	for size > 0 {
		b := make([]byte, min(size, messageSize))
		g.fill(b)
		if _, err := s.WriteSCTP(b, pion.PayloadTypeWebRTCBinary); err != nil {
			return err
		}
		size -= len(b)
	}
	return nil
}

func receive(s *pion.Stream, id sctp.StreamID, size int) error {
	h := newFNV()
	b := make([]byte, messageSize)
	for got := 0; got < size; {
		n, _, err := s.ReadSCTP(b)
		if err != nil {
			return err
		}
		h.add(b[:n])
		got += n
	}
	if h != expected(id, size) {
		return fmt.Errorf("stream %d: Pion got other bytes than those that were sent", id)
	}
	return nil
}

// snap gives both ends the INIT chunks of both.
func snap(t *testing.T, cfg sctp.Config, options *[]pion.ClientOption) sctp.Config {
	t.Helper()
	cfg.Rand = rand.Reader
	mine, err := sctp.NewInit(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pions, err := pion.GenerateOutOfBandToken(*options...)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LocalInit, cfg.RemoteInit = mine, pions
	*options = append(*options, pion.WithSNAP(pions, mine))
	return cfg
}
