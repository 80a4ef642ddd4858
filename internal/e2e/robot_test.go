package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// A robot is a Go program that goes into a room and does what the pages there ask of it, by the labels of the channels
// that they open:
//
//	echo     says everything again
//	sink     says the length and SHA-256 of what came, when it hears "end"
//	source   sends as many bytes as the first message asks for, and then says their SHA-256
//	path     says how it is connected
//	restart  restarts ICE
//	film     says how many frames of the page's film have come since the last message, and the longest wait for one in
//	         milliseconds
//	stats    says its statistics of the type that it is asked for
//
// It is this test binary, started again, so that it can run in a network namespace.
const robotVariable = "PARLEY_E2E_ROBOT"

// robotOptions are how a robot goes.
type robotOptions struct {
	Link string
	// Only, if set, is what the URL of a relay must have in it; then nothing but that relay is used. Also is one more URL
	// that has the room's credentials.
	Only, Also string
	// Clips is a file of clips that the robot plays; it then watches what the page films, too.
	Clips string
	// FlexFEC makes it speak VP8 with FlexFEC, and without retransmission.
	FlexFEC bool
}

// startRobot starts a robot and returns when it is in the room.
func startRobot(t *testing.T, o robotOptions, change func(*exec.Cmd) *exec.Cmd) *process {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	if change != nil {
		cmd = change(cmd)
	}
	cmd.Env = append(cmd.Environ(), robotVariable+"="+string(b))
	p := start(t, cmd)
	wait(t, "the robot is in the room", func() error {
		if err := p.ended(); err != nil {
			t.Fatalf("the robot: %v\n%s", err, p.output())
		}
		if !strings.Contains(p.output(), "in the room") {
			return errors.New("not yet")
		}
		return nil
	})
	return p
}

// robotMain is main for a robot.
func robotMain(options string) int {
	var o robotOptions
	err := json.Unmarshal([]byte(options), &o)
	if err == nil {
		err = runRobot(o)
	}
	fmt.Println("the robot ends:", err)
	return 1
}

func runRobot(o robotOptions) error {
	ctx := context.Background()
	room, err := signaling.Dial(ctx, o.Link, signaling.Options{Name: "robot"})
	if err != nil {
		return err
	}
	fmt.Println("in the room")
	return signaling.Meet(ctx, room, func(ctx context.Context, peer signaling.Peer) (*webrtc.PeerConnection, error) {
		context.AfterFunc(ctx, func() { fmt.Printf("it is over with %s: %v\n", peer.Name, context.Cause(ctx)) })
		return newRobotPeer(room, o)
	})
}

func newRobotPeer(room *signaling.Room, o robotOptions) (*webrtc.PeerConnection, error) {
	cfg := room.Configuration()
	if o.Only != "" {
		cfg.ICETransportPolicy = webrtc.ICETransportPolicyRelay
		given := cfg.ICEServers
		cfg.ICEServers = nil
		for _, s := range given {
			urls := s.URLs
			if o.Also != "" && s.Credential != "" {
				urls = append(urls, o.Also)
			}
			s.URLs = nil
			for _, u := range urls {
				if strings.HasPrefix(u, "turn") && strings.Contains(u, o.Only) {
					s.URLs = append(s.URLs, u)
				}
			}
			if s.URLs != nil {
				cfg.ICEServers = append(cfg.ICEServers, s)
			}
		}
		if cfg.ICEServers == nil {
			return nil, fmt.Errorf("no relay that was given has %q: %v", o.Only, given)
		}
	}
	pc, err := webrtc.NewPeerConnection(cfg)
	if err != nil {
		return nil, err
	}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { fmt.Println("connection:", s) })
	pc.OnICECandidateError(func(e *webrtc.ICECandidateError) { fmt.Println("candidate error:", e) })
	id := uint16(0)
	// The channel that every peer of the app has.
	if _, err := pc.CreateDataChannel("parley", &webrtc.DataChannelInit{Negotiated: true, ID: &id}); err != nil {
		return pc, err
	}
	film := new(watched)
	if o.Clips != "" {
		pc.OnTrack(func(track *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) { go film.watch(track) })
		if err := playFile(pc, o.Clips); err != nil {
			return pc, err
		}
		if o.FlexFEC {
			if err := preferFlexFEC(pc); err != nil {
				return pc, err
			}
		}
	}
	pc.OnDataChannel(func(ch *webrtc.DataChannel) {
		go func() {
			if err := serveChannel(pc, film, ch); err != nil && !errors.Is(err, io.EOF) {
				fmt.Printf("channel %s: %v\n", ch.Label(), err)
			}
		}()
	})
	return pc, nil
}

func serveChannel(pc *webrtc.PeerConnection, film *watched, ch *webrtc.DataChannel) error {
	ctx := context.Background()
	hash := sha256.New()
	length := 0
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return err
		}
		switch what, _, _ := strings.Cut(ch.Label(), " "); {
		case what == "echo" && m.IsText:
			err = ch.SendTextContext(ctx, m.Text())
		case what == "echo":
			err = ch.SendContext(ctx, m.Data)
		case what == "sink" && m.IsText:
			err = ch.SendTextContext(ctx, fmt.Sprintf("%d %s", length, hex.EncodeToString(hash.Sum(nil))))
		case what == "sink":
			length += len(m.Data)
			hash.Write(m.Data)
		case what == "source":
			var total int
			fmt.Sscan(m.Text(), &total)
			for sent, b := 0, make([]byte, 16<<10); sent < total && err == nil; sent += len(b) {
				b = b[:min(len(b), total-sent)]
				for i := range b {
					b[i] = byte((sent + i) >> 7 * 31)
				}
				hash.Write(b)
				err = ch.SendContext(ctx, b)
			}
			if err == nil {
				err = ch.SendTextContext(ctx, hex.EncodeToString(hash.Sum(nil)))
			}
		case what == "path":
			var b []byte
			if b, err = json.Marshal(pathOf(pc)); err == nil {
				err = ch.SendTextContext(ctx, string(b))
			}
		case what == "film":
			err = ch.SendTextContext(ctx, film.seen())
		case what == "stats":
			var b []byte
			if b, err = statsOf(pc, m.Text()); err == nil {
				err = ch.SendTextContext(ctx, string(b))
			}
		case what == "restart":
			pc.RestartICE()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A robotPath is what a robot says of its connection.
type robotPath struct {
	Type, RelayProtocol string // of the local candidate
	TLSVersion          string
	Group               string
	Cipher              string
	Role                string
}

func pathOf(pc *webrtc.PeerConnection) (p robotPath) {
	for _, s := range pc.GetStats() {
		if t, ok := s.(*webrtc.TransportStats); ok {
			p.TLSVersion, p.Cipher, p.Group, p.Role = t.TLSVersion, t.DTLSCipher, t.TLSGroup, t.DTLSRole
		}
	}
	if pair := pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair(); pair != nil {
		p.Type, p.RelayProtocol = pair.Local.Type(), pair.Local.RelayProtocol()
	}
	return p
}

// statsOf is a list of all statistics of a type.
func statsOf(pc *webrtc.PeerConnection, kind string) ([]byte, error) {
	list := []webrtc.Stats{}
	for _, s := range pc.GetStats() {
		if string(s.Base().Type) == kind {
			list = append(list, s)
		}
	}
	return json.Marshal(list)
}
