//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pionwebrtc "github.com/pion/webrtc/v4"
)

// pion makes Pion's connections, whose key agreement is X25519 in any case.
func pion(shared bool) (func() (connection, error), error) {
	var c pionwebrtc.Configuration
	if shared {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		certificate, err := pionwebrtc.GenerateCertificate(key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []pionwebrtc.Certificate{*certificate}
	}
	return func() (connection, error) {
		pc, err := pionwebrtc.NewPeerConnection(c)
		if err != nil {
			return nil, err
		}
		p := &pionConnection{pc: pc, open: make(chan struct{}), room: make(chan struct{}, 1)}
		pc.OnDataChannel(p.use)
		return p, nil
	}, nil
}

// Pion's channel takes whatever it is given; these bound what waits in it.
const (
	pionFull = 4 << 20
	pionLow  = 1 << 20
)

type pionConnection struct {
	pc   *pionwebrtc.PeerConnection
	ch   *pionwebrtc.DataChannel
	open chan struct{}
	room chan struct{}
	once sync.Once
	on   atomic.Pointer[func([]byte)]
}

func (p *pionConnection) use(ch *pionwebrtc.DataChannel) {
	p.ch = ch
	ch.OnMessage(func(m pionwebrtc.DataChannelMessage) {
		if f := p.on.Load(); f != nil {
			(*f)(m.Data)
		}
	})
	ch.SetBufferedAmountLowThreshold(pionLow)
	ch.OnBufferedAmountLow(func() {
		select {
		case p.room <- struct{}{}:
		default:
		}
	})
	ch.OnOpen(func() { p.once.Do(func() { close(p.open) }) })
}

func (p *pionConnection) offer(unordered bool) (string, error) {
	ordered := !unordered
	ch, err := p.pc.CreateDataChannel("bench", &pionwebrtc.DataChannelInit{Ordered: &ordered})
	if err != nil {
		return "", err
	}
	p.use(ch)
	d, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	return p.describe(d)
}

func (p *pionConnection) describe(d pionwebrtc.SessionDescription) (string, error) {
	gathered := pionwebrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(d); err != nil {
		return "", err
	}
	<-gathered
	return p.pc.LocalDescription().SDP, nil
}

func (p *pionConnection) answer(sdp string) (string, error) {
	if err := p.pc.SetRemoteDescription(pionwebrtc.SessionDescription{Type: pionwebrtc.SDPTypeOffer, SDP: sdp}); err != nil {
		return "", err
	}
	d, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return p.describe(d)
}

func (p *pionConnection) accept(sdp string) error {
	return p.pc.SetRemoteDescription(pionwebrtc.SessionDescription{Type: pionwebrtc.SDPTypeAnswer, SDP: sdp})
}

func (p *pionConnection) opened() error          { return within(p.open) }
func (p *pionConnection) receive(f func([]byte)) { p.on.Store(&f) }
func (p *pionConnection) close()                 { p.pc.Close() }

func (p *pionConnection) send(b []byte) error {
	for p.ch.BufferedAmount() > pionFull {
		<-p.room
	}
	return p.ch.Send(b)
}

// within waits for what should not take long.
func within(done chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("the channel did not open within 20 s")
	}
}
