package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/parley-rtc/parley/webrtc"
)

// A header is what the sender says first; the receiver answers with a start. Then the bytes from Offset on follow, and at
// the end the receiver closes the channel.
type header struct {
	Name string
	Size int64
}

type start struct{ Offset int64 }

func say(ctx context.Context, ch *webrtc.DataChannel, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ch.SendTextContext(ctx, string(text))
}

func hear(ctx context.Context, ch *webrtc.DataChannel, v any) error {
	m, err := ch.Receive(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, v)
}

// send sends a file and returns how many bytes of it the peer did not have yet.
func send(ctx context.Context, ch *webrtc.DataChannel, name string) (n int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := say(ctx, ch, header{filepath.Base(name), info.Size()}); err != nil {
		return 0, err
	}
	var from start
	if err := hear(ctx, ch, &from); err != nil {
		return 0, err
	}
	// SendContext waits for room, so the file never lies in memory.
	n, err = io.Copy(ch.ReadWriteCloser(), io.NewSectionReader(f, from.Offset, info.Size()-from.Offset))
	if err != nil {
		return n, err
	}
	if _, err := ch.Receive(ctx); !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("the peer has not got everything: %w", err)
	}
	return n, nil
}

// receive writes a file into a folder, behind what is there of it already, and returns how many bytes came.
func receive(ctx context.Context, ch *webrtc.DataChannel, folder string) (n int64, err error) {
	var h header
	if err := hear(ctx, ch, &h); err != nil {
		return 0, err
	}
	name := filepath.Join(folder, filepath.Base(filepath.Clean("/"+h.Name))) // never outside of the folder
	f, err := os.OpenFile(name+".part", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := say(ctx, ch, start{min(info.Size(), h.Size)}); err != nil {
		return 0, err
	}
	if n, err = io.CopyN(f, ch.ReadWriteCloser(), h.Size-min(info.Size(), h.Size)); err != nil {
		return n, err // what came is kept for the next time
	}
	if err := os.Rename(name+".part", name); err != nil {
		return n, err
	}
	// Whoever closes the connection at once takes back what is under way, so the end is waited for.
	closed := make(chan struct{})
	ch.OnClose(func() { close(closed) })
	if err := ch.Close(); err != nil {
		return n, err
	}
	select {
	case <-closed:
		return n, nil
	case <-ctx.Done():
		return n, ctx.Err()
	}
}
