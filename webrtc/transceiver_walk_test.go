package webrtc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A walker calls what there is of transceivers in any order, and lets descriptions be made and rolled back at any time.
type walker struct {
	*world
	r    *rand.Rand
	ends [2]*PeerConnection
	log  []string
}

func (x *walker) note(format string, args ...any) {
	x.log = append(x.log, fmt.Sprintf(format, args...))
}

// must has an error be one of these, or none.
func (x *walker) must(err error, allowed ...ErrorName) {
	x.Helper()
	if name := errorName(err); name != "" && !slices.Contains(allowed, name) {
		x.fail("%v", err)
	}
}

func (x *walker) fail(format string, args ...any) {
	x.Helper()
	x.Fatalf("%s, after\n%s", fmt.Sprintf(format, args...), strings.Join(x.log, "\n"))
}

func (x *walker) track() Track {
	codecs := []RTPCodec{Opus, VP8}
	return x.sampleTrack(codecs[x.r.IntN(2)])
}

func (x *walker) streams() (list []*MediaStream) {
	for range x.r.IntN(3) {
		list = append(list, NewMediaStream(fmt.Sprint("s", x.r.IntN(4))))
	}
	return list
}

func (x *walker) direction() RTPTransceiverDirection {
	return []RTPTransceiverDirection{RTPTransceiverDirectionSendRecv, RTPTransceiverDirectionSendOnly, RTPTransceiverDirectionRecvOnly, RTPTransceiverDirectionInactive}[x.r.IntN(4)]
}

// change does something to a connection's transceivers.
func (x *walker) change(who int) {
	pc := x.ends[who]
	all := pc.GetTransceivers()
	var t *RTPTransceiver
	if len(all) > 0 {
		t = all[x.r.IntN(len(all))]
	}
	switch n := x.r.IntN(12); {
	case n == 0 || t == nil:
		track := x.track()
		x.note("%d addTrack %s", who, track.Kind())
		_, err := pc.AddTrack(track, x.streams()...)
		x.must(err)
	case n == 1 && len(all) < 8:
		init := &RTPTransceiverInit{Direction: x.direction(), Streams: x.streams()}
		if x.r.IntN(3) == 0 {
			init.SendEncodings = []RTPEncodingParameters{{RID: "q"}, {RID: "h"}, {RID: "f"}}
		}
		kind := []string{"audio", "video"}[x.r.IntN(2)]
		x.note("%d addTransceiver %s %s %d", who, kind, init.Direction, len(init.SendEncodings))
		_, err := pc.AddTransceiver(kind, init)
		x.must(err)
	case n == 2:
		x.note("%d removeTrack %s", who, t.MID())
		x.must(pc.RemoveTrack(t.Sender()))
	case n == 3 && x.r.IntN(2) == 0:
		x.note("%d stop %s", who, t.MID())
		x.must(t.Stop())
	case n == 4:
		x.note("%d setStreams %s", who, t.MID())
		x.must(t.Sender().SetStreams(x.streams()...))
	case n == 5:
		track := x.track()
		x.note("%d replaceTrack %s", who, t.MID())
		x.must(t.Sender().ReplaceTrack(track), TypeError, InvalidStateError, InvalidModificationError)
	case n == 6:
		var list []RTPCodec
		if x.r.IntN(2) == 0 {
			list = RTPReceiverCapabilities(t.kind).Codecs
			x.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		x.note("%d setCodecPreferences %s %d", who, t.MID(), len(list))
		x.must(t.SetCodecPreferences(list))
	case n == 7:
		x.note("%d setParameters %s", who, t.MID())
		p := t.Sender().GetParameters()
		p.Encodings[0].MaxBitrate = new(uint64(100_000))
		x.must(t.Sender().SetParameters(p), InvalidStateError)
	case n == 8 && pc.SCTP() == nil:
		x.note("%d createDataChannel", who)
		_, err := pc.CreateDataChannel("x", nil)
		x.must(err)
	case n == 9:
		x.note("%d restartIce", who)
		pc.RestartICE()
	default:
		d := x.direction()
		x.note("%d direction %s %s", who, t.MID(), d)
		x.must(t.SetDirection(d), InvalidStateError)
	}
}

// negotiate is an offer of one's and the other's answer, with changes in between, and at times a rollback or glare instead.
func (x *walker) negotiate(who int, changes int) {
	a, b := x.ends[who], x.ends[1-who]
	between := func() {
		for range x.r.IntN(changes + 1) {
			x.change(x.r.IntN(2))
		}
	}
	x.note("%d offers", who)
	x.must(a.SetLocalDescription(nil))
	between()
	if changes > 0 && x.r.IntN(6) == 0 {
		x.note("%d rolls back", who)
		x.must(a.SetLocalDescription(new(rollback())))
		return
	}
	if changes > 0 && x.r.IntN(6) == 0 {
		x.note("%d offers too, and gives in", 1-who)
		x.must(b.SetLocalDescription(nil))
	}
	x.must(b.SetRemoteDescription(*a.LocalDescription()))
	between()
	if changes > 0 && x.r.IntN(6) == 0 {
		x.note("%d rolls the offer back, and takes it again", 1-who)
		x.must(b.SetRemoteDescription(rollback()))
		between()
		x.must(b.SetRemoteDescription(*a.PendingLocalDescription()))
	}
	if changes > 0 && x.r.IntN(6) == 0 {
		x.note("%d answers provisionally", 1-who)
		d, err := b.CreateAnswer()
		x.must(err)
		d.Type = SDPTypePranswer
		x.must(b.SetLocalDescription(&d))
		x.must(a.SetRemoteDescription(d))
		between()
	}
	x.note("%d answers", 1-who)
	x.must(b.SetLocalDescription(nil))
	between()
	x.must(a.SetRemoteDescription(*b.LocalDescription()))
}

// check holds both sides against each other after an answer.
func (x *walker) check() {
	x.Helper()
	type side struct {
		kind          string
		sends, recvs  bool
		encodings     int
		remoteTracks  int
		remoteStreams []string
	}
	var views [2]map[string]side
	for i, pc := range x.ends {
		views[i] = map[string]side{}
		mids := map[string]bool{}
		for _, t := range pc.GetTransceivers() {
			mid, d := t.MID(), t.CurrentDirection()
			if mid == "" {
				continue
			}
			if mids[mid] {
				x.fail("%d has two transceivers of %q", i, mid)
			}
			mids[mid] = true
			if d == "" || d == RTPTransceiverDirectionStopped || t.Sender().Transport() == nil || t.Receiver().Transport() == nil {
				x.fail("%d: after the answer %q is %q, transport %v", i, mid, d, t.Sender().Transport())
			}
			views[i][mid] = side{
				kind: t.kind, sends: d.sends(), recvs: d == RTPTransceiverDirectionSendRecv || d == RTPTransceiverDirectionRecvOnly,
				encodings: len(t.Sender().GetParameters().Encodings), remoteTracks: len(t.Receiver().Track().Encodings()),
				remoteStreams: names(t.Receiver().Streams()),
			}
			for _, s := range t.Receiver().Streams() {
				if !slices.Contains(s.GetTracks(), t.Receiver().Track()) {
					x.fail("%d: the stream %s is without the track of %q", i, s.ID(), mid)
				}
			}
			if n := len(t.Sender().GetParameters().Codecs); n == 0 {
				x.fail("%d: no codecs of %q", i, mid)
			}
		}
	}
	for mid, mine := range views[0] {
		yours, ok := views[1][mid]
		if !ok {
			x.fail("the transceiver %q is there on one side\n%s\n%s", mid, listed(x.ends[0]), listed(x.ends[1]))
		}
		if mine.kind != yours.kind || mine.sends != yours.recvs || mine.recvs != yours.sends {
			x.fail("%q: %+v and %+v", mid, mine, yours)
		}
		if mine.sends && mine.encodings != yours.remoteTracks || yours.sends && yours.encodings != mine.remoteTracks {
			x.fail("%q: encodings %+v and %+v", mid, mine, yours)
		}
		if !mine.recvs && len(mine.remoteStreams) > 0 || !yours.recvs && len(yours.remoteStreams) > 0 {
			x.fail("%q: streams of what is not received: %+v, %+v", mid, mine, yours)
		}
		delete(views[1], mid)
	}
	if len(views[1]) > 0 {
		x.fail("transceivers on one side alone: %v", views[1])
	}
}

// Whatever is called in whatever order, each negotiation comes to its end, both sides then say the same, and a few negotiations
// without changes leave nothing to be negotiated.
func TestTransceiverWalk(t *testing.T) {
	seeds := 25
	if os.Getenv("PARLEY_LONG") != "" {
		seeds = 1000
	}
	for seed := range seeds {
		inWorld(t, func(w *world) {
			x := &walker{world: w, r: rand.New(rand.NewPCG(uint64(seed), 7))}
			x.note("seed %d", seed)
			policy := []BundlePolicy{BundlePolicyBalanced, BundlePolicyMaxBundle, BundlePolicyMaxCompat}[x.r.IntN(3)]
			x.ends[0], x.ends[1] = w.pair(Configuration{BundlePolicy: policy})
			for _, pc := range x.ends {
				pc.OnTrack(func(*RemoteTrack, *RTPReceiver) {})
			}
			for range 8 {
				for range x.r.IntN(4) {
					x.change(x.r.IntN(2))
				}
				x.negotiate(x.r.IntN(2), 2)
				if x.ends[0].SignalingState() == SignalingStateStable && x.ends[1].SignalingState() == SignalingStateStable && x.ends[0].CurrentLocalDescription() != nil {
					x.check()
				}
			}
			for range 2 {
				x.negotiate(0, 0)
				x.check()
				x.negotiate(1, 0)
				x.check()
			}
			for i, pc := range x.ends {
				var needed bool
				pc.call(func(mono.Time) { needed = pc.session.NegotiationNeeded() })
				if needed {
					x.fail("%d still needs a negotiation\n%s\n%s", i, listed(x.ends[0]), listed(x.ends[1]))
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
