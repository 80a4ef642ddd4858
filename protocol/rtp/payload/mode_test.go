package payload

import "testing"

func TestParseMode(t *testing.T) {
	for name, want := range map[string]Mode{
		"L1T1": {1, 1, predictAlways}, "L1T3": {1, 3, predictAlways}, "L3T3": {3, 3, predictAlways}, "L2T1h": {2, 1, predictAlways},
		"L2T2_KEY": {2, 2, predictKeys}, "L3T2h_KEY": {3, 2, predictKeys}, "L3T3_KEY_SHIFT": {3, 3, predictKeys},
		"S2T1": {2, 1, predictNever}, "S3T3h": {3, 3, predictNever},
	} {
		if m, ok := ParseMode(name); !ok || *m != want {
			t.Errorf("%s: %+v, %v", name, m, ok)
		}
	}
	for _, name := range []string{"", "L1", "L0T1", "L1T4", "L4T1", "M1T1", "L1T1h", "L1T2_KEY", "S1T1", "S2T1_KEY", "L2T1_KEY_SHIFT", "L2T1_key", "L2T1 "} {
		if m, ok := ParseMode(name); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
