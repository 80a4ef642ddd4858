package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/webrtc"
)

// connect makes two peers with one channel.
func connect(t *testing.T) (a, b *webrtc.PeerConnection, x, y *webrtc.DataChannel) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var channels [2]*webrtc.DataChannel
	var pcs [2]*webrtc.PeerConnection
	open := make(chan struct{}, 2)
	for i := range pcs {
		pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
		check(err)
		t.Cleanup(func() { pc.Close() })
		pcs[i] = pc
		channels[i], err = pc.CreateDataChannel("file", &webrtc.DataChannelInit{Negotiated: true, ID: new(uint16(0))})
		check(err)
		channels[i].OnOpen(func() { open <- struct{}{} })
	}
	a, b = pcs[0], pcs[1]
	check(a.SetLocalDescription(nil))
	check(a.GatheringComplete(t.Context()))
	check(b.SetRemoteDescription(*a.LocalDescription()))
	check(b.SetLocalDescription(nil))
	check(b.GatheringComplete(t.Context()))
	check(a.SetRemoteDescription(*b.LocalDescription()))
	<-open
	<-open
	return a, b, channels[0], channels[1]
}

// A transfer that is cut goes on where it stopped.
func TestResume(t *testing.T) {
	data := make([]byte, 20<<20)
	rand.Read(data)
	file, folder := filepath.Join(t.TempDir(), "data.bin"), t.TempDir()
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), need.Patience)
	defer cancel()

	// The first attempt: the sender goes away when a part has come.
	a, _, x, y := connect(t)
	go send(ctx, x, file)
	done := make(chan int64, 1)
	go func() {
		n, err := receive(ctx, y, folder)
		if err == nil {
			t.Error("a transfer that was cut has ended well")
		}
		done <- n
	}()
	part := filepath.Join(folder, "data.bin.part")
	for {
		if info, err := os.Stat(part); err == nil && info.Size() > 1<<20 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("nothing comes")
		}
	}
	a.Close()
	first := <-done
	if first == 0 || first >= int64(len(data)) {
		t.Fatalf("%d bytes came of the first attempt", first)
	}

	_, _, x, y = connect(t)
	sent := make(chan int64, 1)
	go func() {
		n, err := send(ctx, x, file)
		if err != nil {
			t.Error(err)
		}
		sent <- n
	}()
	second, err := receive(ctx, y, folder)
	if err != nil {
		t.Fatal(err)
	}
	if n := <-sent; n != second || first+second != int64(len(data)) {
		t.Errorf("%d bytes came, then %d of %d that were sent", first, second, n)
	}
	if got, err := os.ReadFile(filepath.Join(folder, "data.bin")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file is another one: %v", err)
	}
}

// Both programs end as soon as they are done, and neither takes the other's end for a failure.
func TestBothEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data.bin")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_, b, x, y := connect(t)
		ended := make(chan error, 1)
		go func() {
			_, err := receive(t.Context(), y, t.TempDir())
			b.Close()
			ended <- err
		}()
		if _, err := send(t.Context(), x, file); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
