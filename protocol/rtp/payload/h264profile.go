package payload

import (
	"cmp"
	"encoding/hex"
)

// An H264Profile is a sub-profile that profile-level-id can name (RFC 6184 section 8.1, table 5).
type H264Profile uint8

// The profiles of H.264 that are in use, from the one with the fewest tools on.
const (
	ConstrainedBaseline H264Profile = 1 + iota
	Baseline
	Main
	Extended
	ConstrainedHigh
	High
	High10
	High422
	High444
	High10Intra
	High422Intra
	High444Intra
	CAVLC444Intra
)

// An H264Level is a level in tenths: 31 is 3.1.
type H264Level uint8

// Level1b lies between 1.0 and 1.1; it is the level_idc that most profiles give it.
const Level1b H264Level = 9

// Compare orders levels.
func (l H264Level) Compare(m H264Level) int {
	rank := func(l H264Level) int {
		if l == Level1b {
			return 2*10 + 1
		}
		return 2 * int(l)
	}
	return cmp.Compare(rank(l), rank(m))
}

// A ProfileLevel is what profile-level-id says.
type ProfileLevel struct {
	Profile H264Profile
	Level   H264Level
}

// h264Profiles is table 5 of RFC 6184, with Constrained High, which the table does not have yet. The first line of a profile is
// the one that is written.
var h264Profiles = [...]struct {
	idc, mask, iop byte
	profile        H264Profile
}{
	{0x42, 0x4f, 0x40, ConstrainedBaseline},
	{0x4d, 0x8f, 0x80, ConstrainedBaseline},
	{0x58, 0xcf, 0xc0, ConstrainedBaseline},
	{0x42, 0x4f, 0x00, Baseline},
	{0x58, 0xcf, 0x80, Baseline},
	{0x4d, 0xaf, 0x00, Main},
	{0x58, 0xcf, 0x00, Extended},
	{0x64, 0xff, 0x00, High},
	{0x64, 0xff, 0x0c, ConstrainedHigh},
	{0x6e, 0xff, 0x00, High10},
	{0x7a, 0xff, 0x00, High422},
	{0xf4, 0xff, 0x00, High444},
	{0x6e, 0xff, 0x10, High10Intra},
	{0x7a, 0xff, 0x10, High422Intra},
	{0xf4, 0xff, 0x10, High444Intra},
	{0x2c, 0xff, 0x10, CAVLC444Intra},
}

// constraintSet3 is bit 4 of profile-iop: with level_idc 11 it means level 1b, of three profiles.
const constraintSet3 = 0x10

// ParseProfileLevelID reads a value of profile-level-id: six digits. The value "" is that of a description without one.
func ParseProfileLevelID(s string) (p ProfileLevel, ok bool) {
	if s == "" { // "the Baseline profile, without additional constraints at Level 1, MUST be inferred"
		return ProfileLevel{Baseline, 10}, true
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 3 {
		return p, false
	}
	for _, row := range h264Profiles {
		if b[0] != row.idc || b[1]&row.mask != row.iop {
			continue
		}
		p = ProfileLevel{row.profile, H264Level(b[2])}
		if has1b(row.idc) && b[2] == 11 && b[1]&constraintSet3 != 0 {
			p.Level = Level1b
		}
		return p, p.Level != 0
	}
	return p, false
}

// has1b reports whether a profile writes level 1b as 1.1 with a bit: Baseline, Main and Extended.
func has1b(idc byte) bool { return idc == 0x42 || idc == 0x4d || idc == 0x58 }

// String writes the value of profile-level-id; "" of what is no profile.
func (p ProfileLevel) String() string {
	for _, row := range h264Profiles {
		if row.profile != p.Profile {
			continue
		}
		iop, level := row.iop, byte(p.Level)
		if row.profile == ConstrainedBaseline {
			iop |= 0xa0 // what obeys Main and Baseline obeys Extended, too: 42e0 is what everybody writes
		}
		if p.Level == Level1b && has1b(row.idc) {
			iop, level = iop|constraintSet3, 11
		}
		return hex.EncodeToString([]byte{row.idc, iop, level})
	}
	return ""
}

// Answer returns what to answer to an offer, when ours is what we are able to receive (RFC 6184 section 8.2.2). It is false if
// the profiles differ: "the answerer MUST either maintain all configuration parameters or remove the media format". Asymmetric
// says that both have level-asymmetry-allowed=1; else "the default level in the answer MUST be equal to or lower than the
// default level in the offer", and both directions have it.
func (ours ProfileLevel) Answer(offered ProfileLevel, asymmetric bool) (ProfileLevel, bool) {
	if ours.Profile != offered.Profile {
		return ProfileLevel{}, false
	}
	if !asymmetric && offered.Level.Compare(ours.Level) < 0 {
		return offered, true
	}
	return ours, true
}
