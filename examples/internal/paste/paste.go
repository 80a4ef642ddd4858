// Package paste is signaling by hand: a description is one line of JSON that somebody copies from one program to the other.
// Each description holds every candidate, so one line each way is enough.
package paste

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/parley-rtc/parley/webrtc"
)

// Offer writes an offer to w and reads the answer from r. It says to the terminal what is to be done.
func Offer(ctx context.Context, pc *webrtc.PeerConnection, r *bufio.Reader, w io.Writer) error {
	if err := describe(ctx, pc, w); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "Copy that line to the other side, and paste its answer here:")
	return apply(pc, r)
}

// Answer reads an offer from r and writes the answer to w.
func Answer(ctx context.Context, pc *webrtc.PeerConnection, r *bufio.Reader, w io.Writer) error {
	fmt.Fprintln(os.Stderr, "Paste the other side's offer here:")
	if err := apply(pc, r); err != nil {
		return err
	}
	if err := describe(ctx, pc, w); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "Copy that line to the other side.")
	return nil
}

// describe makes the offer or answer that the state asks for, and writes it once all candidates are known.
func describe(ctx context.Context, pc *webrtc.PeerConnection, w io.Writer) error {
	if err := pc.SetLocalDescription(nil); err != nil {
		return err
	}
	if err := pc.GatheringComplete(ctx); err != nil {
		return err
	}
	line, err := json.Marshal(pc.LocalDescription())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// apply reads what describe or a browser has written.
func apply(pc *webrtc.PeerConnection, r *bufio.Reader) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	var d webrtc.SessionDescription
	if err := json.Unmarshal(line, &d); err != nil {
		return fmt.Errorf("that is not a description: %w", err)
	}
	return pc.SetRemoteDescription(d)
}
