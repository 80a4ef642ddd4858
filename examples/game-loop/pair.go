package main

import (
	"context"

	"github.com/parley-rtc/parley/webrtc"
)

// pair connects two players in this program. A game would get descriptions and candidates across by its server.
func pair(ctx context.Context) (a, b *player, err error) {
	var players [2]*player
	var pcs [2]*webrtc.PeerConnection
	open := make(chan struct{}, 2)
	for i := range pcs {
		if pcs[i], err = webrtc.NewPeerConnection(webrtc.Configuration{}); err != nil {
			return nil, nil, err
		}
		ch, err := pcs[i].CreateDataChannel("state", &webrtc.DataChannelInit{
			Ordered: new(false), MaxRetransmits: new(uint16(0)), Negotiated: true, ID: new(uint16(0)),
		})
		if err != nil {
			return nil, nil, err
		}
		ch.OnOpen(func() { open <- struct{}{} })
		players[i] = &player{ch: ch}
	}
	if err := describe(ctx, pcs[0], pcs[1]); err != nil {
		return nil, nil, err
	}
	if err := describe(ctx, pcs[1], pcs[0]); err != nil {
		return nil, nil, err
	}
	for range 2 {
		select {
		case <-open:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return players[0], players[1], nil
}

// describe hands one side's description, with all candidates, to the other.
func describe(ctx context.Context, from, to *webrtc.PeerConnection) error {
	if err := from.SetLocalDescription(nil); err != nil {
		return err
	}
	if err := from.GatheringComplete(ctx); err != nil {
		return err
	}
	return to.SetRemoteDescription(*from.LocalDescription())
}
