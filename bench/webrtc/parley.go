//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// parley makes Parley's connections.
func parley(shared bool) (func() (connection, error), error) {
	var cfg webrtc.NetworkConfig
	var c webrtc.Configuration
	if shared {
		cfg.Groups = []tls.CurveID{tls.X25519}
		certificate, err := webrtc.GenerateCertificate(webrtc.KeygenAlgorithm{})
		if err != nil {
			return nil, err
		}
		c.Certificates = []*webrtc.Certificate{certificate}
	}
	network, err := webrtc.NewNetwork(cfg)
	if err != nil {
		return nil, err
	}
	return func() (connection, error) {
		pc, err := network.NewPeerConnection(c)
		if err != nil {
			return nil, err
		}
		p := &parleyConnection{pc: pc, open: make(chan struct{})}
		pc.OnDataChannel(p.use)
		return p, nil
	}, nil
}

type parleyConnection struct {
	pc   *webrtc.PeerConnection
	ch   *webrtc.DataChannel
	open chan struct{}
	once sync.Once
	on   atomic.Pointer[func([]byte)]
}

func (p *parleyConnection) use(ch *webrtc.DataChannel) {
	p.ch = ch
	ch.OnMessage(func(m webrtc.Message) {
		if f := p.on.Load(); f != nil {
			(*f)(m.Data)
		}
	})
	ch.OnOpen(func() { p.once.Do(func() { close(p.open) }) })
}

func (p *parleyConnection) offer(unordered bool) (string, error) {
	ordered := !unordered
	ch, err := p.pc.CreateDataChannel("bench", &webrtc.DataChannelInit{Ordered: &ordered})
	if err != nil {
		return "", err
	}
	p.use(ch)
	return p.describe()
}

func (p *parleyConnection) describe() (string, error) {
	if err := p.pc.SetLocalDescription(nil); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.pc.GatheringComplete(ctx); err != nil {
		return "", err
	}
	return p.pc.LocalDescription().SDP, nil
}

func (p *parleyConnection) answer(sdp string) (string, error) {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp}); err != nil {
		return "", err
	}
	return p.describe()
}

func (p *parleyConnection) accept(sdp string) error {
	return p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp})
}

func (p *parleyConnection) opened() error          { return within(p.open) }
func (p *parleyConnection) receive(f func([]byte)) { p.on.Store(&f) }
func (p *parleyConnection) close()                 { p.pc.Close() }
func (p *parleyConnection) send(b []byte) error    { return p.ch.SendContext(context.Background(), b) }
